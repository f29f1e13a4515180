//! Tokens. Owns the trait for their records; a store holds only hashes, so its contents are useless for signing in.
//! Implemented by every backend, called by `chat::auth`.

use std::fmt;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::clock::unix_ms;
use super::error::BackendError;
use crate::protocol::UserName;

/// SHA-256 of a token's UUID. A token has 122 random bits, so nobody can guess it from a plain hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Hashes a token.
    pub fn of(token: Uuid) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
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

/// Tokens of the whole cluster, by hash.
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
}
