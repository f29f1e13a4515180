//! Tokens and bans in Redis. Owns their records by hash and an index for each user; never sees a token itself. Called by `chat`
//! through [`Tokens`].

use async_trait::async_trait;
use redis::{Cmd, Pipeline, Value, from_redis_value};

use super::error::ConnectionRole;
use super::keys::{Keys, Layout};
use super::router::Router;
use super::script::{REVOKE, TOKEN};
use super::server::Lane;
use crate::backend::{
    BackendError, FOREVER, SignedToken, TokenHash, TokenLookup, TokenRecord, Tokens, unix_ms,
};
use crate::protocol::UserName;

/// How much longer than it lasts a ban is kept: nodes judge by their own clocks, and Redis expires keys by its own. As in `token.lua`.
const KEPT_MS: u64 = 4 * 3_600_000;

/// Number of tokens that one command reads or removes.
const TOKENS_PER_CALL: usize = 500;

/// Tokens of the cluster.
pub(super) struct RedisTokens {
    pub(super) router: Router,
    pub(super) keys: Keys,
}

/// Parses a record of the form `<expiry or -> <user>`.
fn parse(record: &[u8]) -> Option<TokenRecord> {
    let (expires, user) = std::str::from_utf8(record).ok()?.split_once(' ')?;
    let expires_at = if expires == "-" { None } else { Some(expires.parse().ok()?) };
    Some(TokenRecord { user: UserName::parse(user).ok()?, expires_at })
}

/// A record that was read. As bytes: as text, a single record that is not UTF-8 would make a whole reply invalid.
fn record(record: Option<Vec<u8>>) -> TokenLookup {
    let record = record.map(|bytes| parse(&bytes).ok_or_else(|| ConnectionRole::Pool.malformed_reply()));
    Ok(record.transpose()?.filter(TokenRecord::is_current))
}

/// A time that was read, Unix ms.
fn parse_time(time: Option<&[u8]>) -> Result<Option<u64>, BackendError> {
    let parse = |time: &[u8]| std::str::from_utf8(time).ok()?.parse().ok();
    time.map(|time| parse(time).ok_or_else(|| ConnectionRole::Pool.malformed_reply())).transpose()
}

/// Whether a token was revoked, by what its two keys hold.
fn is_revoked(
    token: &SignedToken,
    of_token: Option<&[u8]>,
    of_user: Option<&[u8]>,
) -> Result<bool, BackendError> {
    let before = parse_time(of_user)?;
    Ok(of_token.is_some() || before.is_some_and(|before| token.is_issued_before(before)))
}

impl RedisTokens {
    /// Reads strings, wherever they are. A server that does not answer fails only its own.
    async fn read(
        &self,
        keys: &[String],
    ) -> Result<Vec<Result<Option<Vec<u8>>, BackendError>>, BackendError> {
        if self.keys.layout() == Layout::Single {
            let mut get = redis::cmd("MGET");
            get.arg(keys);
            let values: Vec<Option<Vec<u8>>> = self.router.command((Lane::Long, &keys[0]), &get).await?;
            return Ok(values.into_iter().map(Ok).collect());
        }
        let get = |pipeline: &mut Pipeline, key: &str| {
            pipeline.cmd("GET").arg(key);
        };
        let malformed = || ConnectionRole::Pool.malformed_reply();
        let replies = self.router.for_each_key(Lane::Long, keys, 1, get).await;
        let value = |reply: Result<Vec<Value>, BackendError>| {
            from_redis_value(reply?.pop().ok_or_else(malformed)?).map_err(|_| malformed())
        };
        Ok(replies.into_iter().map(value).collect())
    }

    async fn revoke(&self, key: &str, value: u64, until: Option<u64>) -> Result<(), BackendError> {
        let until = until.map(|until| until.to_string()).unwrap_or_default();
        let fill = |cmd: &mut Cmd| {
            cmd.arg(key).arg(value).arg(&until);
        };
        self.router.script::<()>((Lane::Long, key), &REVOKE, 1, fill).await
    }

    /// Deletes records and their entries in the index of a user. In a cluster, they are in several slots: first the records, so
    /// that what is left after a failure can be revoked once more.
    async fn delete(&self, index: Option<&str>, hashes: &[String]) -> Result<u64, BackendError> {
        let keys: Vec<String> = hashes.iter().map(|hash| self.keys.token_of(hash)).collect();
        let mut remove_entries = redis::cmd("ZREM");
        remove_entries.arg(index).arg(hashes);
        if self.keys.layout() == Layout::Single {
            let mut delete = redis::pipe();
            delete.atomic().cmd("DEL").arg(&keys);
            if index.is_some() {
                delete.add_command(remove_entries);
            }
            let replies: Vec<u64> = self.router.pipeline((Lane::Long, &keys[0]), &delete).await?;
            return Ok(replies.first().copied().unwrap_or(0));
        }
        let delete = |pipeline: &mut Pipeline, key: &str| {
            pipeline.cmd("DEL").arg(key);
        };
        let mut deleted = 0;
        for reply in self.router.for_each_key(Lane::Long, &keys, 1, delete).await {
            deleted += u64::from(reply?.first() == Some(&Value::Int(1)));
        }
        if let Some(index) = index {
            self.router.command::<()>((Lane::Long, index), &remove_entries).await?;
        }
        Ok(deleted)
    }
}

#[async_trait]
impl Tokens for RedisTokens {
    async fn insert(&self, hash: TokenHash, record: &TokenRecord) -> Result<(), BackendError> {
        let now = unix_ms();
        let expires = record.expires_at.map(|at| at.to_string()).unwrap_or_default();
        let (index, token, text) = (self.keys.tokens(&record.user), self.keys.token(&hash), hash.to_string());
        // The keys, and what is written to them.
        let calls: &[(&[&str], &str)] = match self.keys.layout() {
            Layout::Single => &[(&[&index, &token], "both")],
            Layout::Cluster => &[(&[&index], "index"), (&[&token], "record")],
        };
        for (keys, what) in calls {
            let fill = |cmd: &mut Cmd| {
                cmd.arg(keys).arg(&text).arg(record.user.as_str()).arg(&expires).arg(now).arg(what);
            };
            self.router.script::<()>((Lane::Long, keys[0]), &TOKEN, keys.len(), fill).await?;
        }
        if self.keys.layout() == Layout::Single {
            return Ok(());
        }
        // All tokens of the user may have been revoked in between.
        let mut score = redis::cmd("ZSCORE");
        score.arg(&index).arg(&text);
        if self.router.command::<Option<String>>((Lane::Long, &index), &score).await?.is_some() {
            return Ok(());
        }
        self.delete(None, std::slice::from_ref(&text)).await?;
        Err(BackendError::Refused("the tokens of the user were revoked at the same time".into()))
    }

    async fn look_up(&self, hashes: &[TokenHash]) -> Result<Vec<TokenLookup>, BackendError> {
        let mut found = Vec::with_capacity(hashes.len());
        for hashes in hashes.chunks(TOKENS_PER_CALL) {
            let keys: Vec<String> = hashes.iter().map(|hash| self.keys.token(hash)).collect();
            found.extend(self.read(&keys).await?.into_iter().map(|value| record(value?)));
        }
        Ok(found)
    }

    async fn remove(&self, hash: TokenHash) -> Result<bool, BackendError> {
        let index = match self.look_up(&[hash]).await?.pop() {
            Some(Ok(Some(record))) => Some(self.keys.tokens(&record.user)),
            // The owner of a corrupt record is unknown. The record is removed all the same; its entry in an index stays and
            // does no harm.
            Some(Err(BackendError::Corrupt(_))) => None,
            Some(Err(error)) => return Err(error),
            Some(Ok(None)) | None => return Ok(false),
        };
        Ok(self.delete(index.as_deref(), &[hash.to_string()]).await? > 0)
    }

    async fn remove_all(&self, user: &UserName) -> Result<(), BackendError> {
        let index = self.keys.tokens(user);
        loop {
            let mut range = redis::cmd("ZRANGE");
            range.arg(&index).arg(0).arg(TOKENS_PER_CALL - 1);
            let hashes: Vec<String> = self.router.command((Lane::Long, &index), &range).await?;
            if hashes.is_empty() {
                return Ok(());
            }
            self.delete(Some(&index), &hashes).await?;
        }
    }

    async fn are_revoked(
        &self,
        tokens: &[SignedToken],
    ) -> Result<Vec<Result<bool, BackendError>>, BackendError> {
        let mut found = Vec::with_capacity(tokens.len());
        // Two keys for each token.
        for tokens in tokens.chunks(TOKENS_PER_CALL / 2) {
            let of_tokens = tokens.iter().map(|token| self.keys.revoked_token(&token.id));
            let of_users = tokens.iter().map(|token| self.keys.revoked_before(&token.user));
            let keys: Vec<String> = of_tokens.chain(of_users).collect();
            let mut of_tokens = self.read(&keys).await?;
            let of_users = of_tokens.split_off(tokens.len());
            let both = of_tokens.into_iter().zip(of_users);
            found.extend(tokens.iter().zip(both).map(|(token, (of_token, of_user))| {
                is_revoked(token, of_token?.as_deref(), of_user?.as_deref())
            }));
        }
        Ok(found)
    }

    async fn revoke_signed(&self, id: TokenHash, until: Option<u64>) -> Result<(), BackendError> {
        self.revoke(&self.keys.revoked_token(&id), 1, until).await
    }

    async fn revoke_issued_before(
        &self,
        user: &UserName,
        before: u64,
        until: Option<u64>,
    ) -> Result<(), BackendError> {
        self.revoke(&self.keys.revoked_before(user), before, until).await
    }

    async fn ban(&self, user: &UserName, until: u64) -> Result<(), BackendError> {
        let key = self.keys.banned(user);
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(until);
        if until != FOREVER {
            set.arg("PXAT").arg(until.saturating_add(KEPT_MS));
        }
        self.router.command((Lane::Long, &key), &set).await
    }

    async fn unban(&self, user: &UserName) -> Result<(), BackendError> {
        let key = self.keys.banned(user);
        let mut delete = redis::cmd("DEL");
        delete.arg(&key);
        self.router.command((Lane::Long, &key), &delete).await
    }

    async fn bans(&self, users: &[UserName]) -> Result<Vec<Result<Option<u64>, BackendError>>, BackendError> {
        let (mut found, now) = (Vec::with_capacity(users.len()), unix_ms());
        for users in users.chunks(TOKENS_PER_CALL) {
            let keys: Vec<String> = users.iter().map(|user| self.keys.banned(user)).collect();
            let ends = self.read(&keys).await?.into_iter().map(|value| parse_time(value?.as_deref()));
            found.extend(ends.map(|end| Ok(end?.filter(|until| *until > now))));
        }
        Ok(found)
    }
}
