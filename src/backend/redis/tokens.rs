//! Tokens in Redis. Owns their records by hash and an index for each user; never sees a token itself. Called by `chat`
//! through [`Tokens`].

use async_trait::async_trait;

use super::error::ConnectionRole;
use super::keys::Keys;
use super::pool::Pool;
use super::script::TOKEN;
use crate::backend::{BackendError, TokenHash, TokenLookup, TokenRecord, Tokens, unix_ms};
use crate::protocol::UserName;

/// Number of tokens that one command reads or removes.
const TOKENS_PER_CALL: usize = 500;

/// Tokens of the cluster.
pub(super) struct RedisTokens {
    pub(super) pool: Pool,
    pub(super) keys: Keys,
}

/// Parses a record of the form `<expiry or -> <user>`.
fn parse(record: &[u8]) -> Option<TokenRecord> {
    let (expires, user) = std::str::from_utf8(record).ok()?.split_once(' ')?;
    let expires_at = if expires == "-" { None } else { Some(expires.parse().ok()?) };
    Some(TokenRecord { user: UserName::parse(user).ok()?, expires_at })
}

#[async_trait]
impl Tokens for RedisTokens {
    async fn insert(&self, hash: TokenHash, record: &TokenRecord) -> Result<(), BackendError> {
        let now = unix_ms();
        let expires = record.expires_at.map(|at| at.to_string()).unwrap_or_default();
        self.pool
            .script(&TOKEN, 2, |cmd| {
                cmd.arg(self.keys.tokens(&record.user)).arg(self.keys.token(&hash));
                cmd.arg(hash.to_string()).arg(record.user.as_str()).arg(&expires).arg(now);
            })
            .await
    }

    async fn look_up(&self, hashes: &[TokenHash]) -> Result<Vec<TokenLookup>, BackendError> {
        let mut found = Vec::with_capacity(hashes.len());
        for hashes in hashes.chunks(TOKENS_PER_CALL) {
            let mut get = redis::cmd("MGET");
            for hash in hashes {
                get.arg(self.keys.token(hash));
            }
            // As bytes: as text, a single record that is not UTF-8 would make the whole reply invalid.
            let records: Vec<Option<Vec<u8>>> = self.pool.command(&get).await?;
            found.extend(records.into_iter().map(|record| {
                let record = record
                    .map(|bytes| parse(&bytes))
                    .map(|record| record.ok_or_else(|| ConnectionRole::Pool.malformed_reply()));
                Ok(record.transpose()?.filter(TokenRecord::is_current))
            }));
        }
        Ok(found)
    }

    async fn remove(&self, hash: TokenHash) -> Result<bool, BackendError> {
        let mut remove = redis::pipe();
        remove.atomic();
        remove.cmd("DEL").arg(self.keys.token(&hash));
        match self.look_up(&[hash]).await?.pop() {
            Some(Ok(Some(record))) => {
                remove.cmd("ZREM").arg(self.keys.tokens(&record.user)).arg(hash.to_string()).ignore();
            }
            // The owner of a corrupt record is unknown. The record is removed all the same; its entry in an index stays and
            // does no harm.
            Some(Err(_)) => {}
            Some(Ok(None)) | None => return Ok(false),
        }
        let (removed,): (bool,) = self.pool.pipeline(&remove).await?;
        Ok(removed)
    }

    async fn remove_all(&self, user: &UserName) -> Result<(), BackendError> {
        let index = self.keys.tokens(user);
        loop {
            let mut range = redis::cmd("ZRANGE");
            range.arg(&index).arg(0).arg(TOKENS_PER_CALL - 1);
            let hashes: Vec<String> = self.pool.command(&range).await?;
            if hashes.is_empty() {
                return Ok(());
            }
            let mut remove = redis::pipe();
            remove.atomic();
            for hash in &hashes {
                remove.cmd("DEL").arg(self.keys.token_of(hash)).ignore();
            }
            remove.cmd("ZREM").arg(&index).arg(&hashes).ignore();
            self.pool.pipeline::<()>(&remove).await?;
        }
    }
}
