//! Tokens. Owns the seam to where they are kept: only their hashes are, so that whoever reads the store can't sign in.
//! Called by `chat::auth`.

use std::fmt;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::clock::unix_ms;
use super::error::BackendError;
use crate::protocol::UserName;

/// SHA-256 of a token's UUID. A token has 122 random bits, so a plain hash can't be guessed back.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: Uuid) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Reads the form that `Display` writes: 64 hexadecimal digits.
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

/// What is known of a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Whose it is.
    pub user: UserName,
    /// When it ends, Unix ms; none: never.
    pub expires_at: Option<u64>,
}

impl TokenRecord {
    /// It has not expired, by this process's clock.
    pub(crate) fn is_current(&self) -> bool {
        self.expires_at.is_none_or(|at| at > unix_ms())
    }
}

/// What is known of one token of several.
pub type TokenLookup = Result<Option<TokenRecord>, BackendError>;

/// Tokens of the whole cluster, by hash.
#[async_trait]
pub trait Tokens: Send + Sync + 'static {
    /// Keeps a new token until `expires_at`.
    async fn insert(&self, hash: TokenHash, record: &TokenRecord) -> Result<(), BackendError>;

    /// The records of tokens that are valid now, in the order asked; none for what is unknown, revoked or expired. One
    /// that no node wrote is `Corrupt` by itself: the others asked for with it are still good.
    async fn look_up(&self, hashes: &[TokenHash]) -> Result<Vec<TokenLookup>, BackendError>;

    /// Removes one, whatever stands there. False if there was none.
    async fn remove(&self, hash: TokenHash) -> Result<bool, BackendError>;

    /// Removes all of a user's.
    async fn remove_all(&self, user: &UserName) -> Result<(), BackendError>;
}
