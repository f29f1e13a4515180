//! Tokens over Redis. Owns their records by hash and each user's index; never sees a token itself. Called by `chat`
//! through [`Tokens`].

use async_trait::async_trait;

use super::failure::Role;
use super::keys::Keys;
use super::pool::Pool;
use super::script::TOKEN;
use crate::backend::{BackendError, TokenHash, TokenRecord, Tokens, unix_ms};
use crate::protocol::UserName;

/// Tokens that are read, or removed, in one command.
const AT_ONCE: usize = 500;

/// The tokens of the cluster.
pub(super) struct RedisTokens {
    pub(super) pool: Pool,
    pub(super) keys: Keys,
}

/// Reads `<expiry or -> <user>`.
fn parse(record: &str) -> Option<TokenRecord> {
    let (expires, user) = record.split_once(' ')?;
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

    async fn look_up(&self, hashes: &[TokenHash]) -> Result<Vec<Option<TokenRecord>>, BackendError> {
        let mut found = Vec::with_capacity(hashes.len());
        for hashes in hashes.chunks(AT_ONCE) {
            let mut get = redis::cmd("MGET");
            for hash in hashes {
                get.arg(self.keys.token(hash));
            }
            let records: Vec<Option<String>> = self.pool.command(&get).await?;
            for record in records {
                let record = record.map(|text| parse(&text).ok_or_else(|| Role::Pool.garbled()));
                found.push(record.transpose()?);
            }
        }
        Ok(found)
    }

    async fn remove(&self, hash: TokenHash) -> Result<bool, BackendError> {
        let Some(record) = self.look_up(&[hash]).await?.pop().flatten() else { return Ok(false) };
        let mut remove = redis::pipe();
        remove.atomic();
        remove.cmd("DEL").arg(self.keys.token(&hash));
        remove.cmd("ZREM").arg(self.keys.tokens(&record.user)).arg(hash.to_string()).ignore();
        let (removed,): (bool,) = self.pool.pipeline(&remove).await?;
        Ok(removed)
    }

    async fn remove_all(&self, user: &UserName) -> Result<(), BackendError> {
        let index = self.keys.tokens(user);
        loop {
            let mut range = redis::cmd("ZRANGE");
            range.arg(&index).arg(0).arg(AT_ONCE - 1);
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
