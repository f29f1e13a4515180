//! Tokens, and the bans of users, whose tokens open nothing. Owns the trait for their records; a store holds only hashes, so its contents are useless for signing in.
//! Implemented by every backend, called by `chat::auth`.

use std::fmt;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::clock::unix_ms;
use super::error::BackendError;
use crate::protocol::UserName;

/// SHA-256 of a token: of a UUID, which has 122 random bits, or of the text of a JWT. Nobody can guess either from a plain hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Hashes a token.
    pub fn of(token: Uuid) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Hashes a token that is not a UUID.
    pub fn of_text(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// The identity of a signed token, which is a hash already.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Parses the format of `Display`: 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// Record of a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Owner of the token.
    pub user: UserName,
    /// Time of expiry, Unix ms; `None` if the token does not expire.
    pub expires_at: Option<u64>,
}

impl TokenRecord {
    /// True if the token has not expired by this process's clock.
    pub(crate) fn is_current(&self) -> bool {
        self.expires_at.is_none_or(|at| at > unix_ms())
    }
}

/// Result for one token of a lookup.
pub type TokenLookup = Result<Option<TokenRecord>, BackendError>;

/// A token that was signed elsewhere, as far as revocations concern it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedToken {
    /// Its identity: of the token, not of its text.
    pub id: TokenHash,
    /// Its user.
    pub user: UserName,
    /// When it was issued, Unix ms; `None` counts as before everything.
    pub issued_at: Option<u64>,
}

impl SignedToken {
    /// Whether it was issued before this time, Unix ms.
    pub(crate) fn is_issued_before(&self, before: u64) -> bool {
        self.issued_at.is_none_or(|issued| issued < before)
    }
}

/// Tokens of the whole cluster, by hash, and the revocations of those that were signed elsewhere.
#[async_trait]
pub trait Tokens: Send + Sync + 'static {
    /// Stores a new token until `expires_at`.
    async fn insert(&self, hash: TokenHash, record: &TokenRecord) -> Result<(), BackendError>;

    /// Returns the records of tokens in the given order; `None` for a token that is unknown, revoked or expired. A record
    /// that no node wrote is `Corrupt` and does not affect the others.
    async fn look_up(&self, hashes: &[TokenHash]) -> Result<Vec<TokenLookup>, BackendError>;

    /// Removes a token, even if its record is corrupt. False if there was no record.
    async fn remove(&self, hash: TokenHash) -> Result<bool, BackendError>;

    /// Removes all tokens of a user.
    async fn remove_all(&self, user: &UserName) -> Result<(), BackendError>;

    /// Whether signed tokens were revoked, in the given order. A record that no node wrote is `Corrupt` and does not affect
    /// the others.
    async fn are_revoked(
        &self,
        tokens: &[SignedToken],
    ) -> Result<Vec<Result<bool, BackendError>>, BackendError>;

    /// Revokes a signed token by its identity. Nothing needs the record after `until` (Unix ms; `None`: never).
    async fn revoke_signed(&self, id: TokenHash, until: Option<u64>) -> Result<(), BackendError>;

    /// Revokes a user's signed tokens that were issued before a time, Unix ms. An earlier time changes nothing. Nothing needs the
    /// record after `until` (Unix ms; `None`: never).
    async fn revoke_issued_before(
        &self,
        user: &UserName,
        before: u64,
        until: Option<u64>,
    ) -> Result<(), BackendError>;

    /// Bans a user from the whole server until a time (Unix ms, or [`super::FOREVER`]), whatever tokens it has.
    async fn ban(&self, user: &UserName, until: u64) -> Result<(), BackendError>;

    /// Ends the ban of a user, if there is one.
    async fn unban(&self, user: &UserName) -> Result<(), BackendError>;

    /// When the bans of users end, in the given order; `None` for who is not banned. A record that no node wrote is `Corrupt` and does
    /// not affect the others.
    async fn bans(&self, users: &[UserName]) -> Result<Vec<Result<Option<u64>, BackendError>>, BackendError>;
}
