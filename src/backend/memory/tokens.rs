//! Tokens and bans in memory. Owns the maps of their records. Called by `chat` through [`Tokens`].

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::lock::lock;
use crate::backend::{BackendError, SignedToken, TokenHash, TokenLookup, TokenRecord, Tokens, unix_ms};
use crate::protocol::UserName;

/// All tokens of the process.
#[derive(Default)]
pub(super) struct MemoryTokens {
    records: Mutex<HashMap<TokenHash, TokenRecord>>,
    revoked: Mutex<HashMap<Revocation, Revoked>>,
    /// When the bans of users end.
    banned: Mutex<HashMap<UserName, u64>>,
}

/// What is revoked.
#[derive(PartialEq, Eq, Hash)]
enum Revocation {
    Token(TokenHash),
    User(UserName),
}

/// Since when, and until when that matters.
struct Revoked {
    /// For a user: tokens that were issued before.
    before: u64,
    until: Option<u64>,
}

impl MemoryTokens {
    fn revoke(&self, what: Revocation, before: u64, until: Option<u64>) {
        let mut revoked = lock(&self.revoked);
        // Before the map grows, what nothing needs any more is removed.
        if revoked.len() == revoked.capacity() {
            let now = unix_ms();
            revoked.retain(|_, revoked| revoked.until.is_none_or(|until| until > now));
        }
        let record = revoked.entry(what).or_insert(Revoked { before, until });
        *record = Revoked { before: record.before.max(before), until };
    }
}

#[async_trait]
impl Tokens for MemoryTokens {
    async fn insert(&self, hash: TokenHash, record: &TokenRecord) -> Result<(), BackendError> {
        let mut records = lock(&self.records);
        // Before the map grows, expired records are removed.
        if records.len() == records.capacity() {
            records.retain(|_, record| record.is_current());
        }
        records.insert(hash, record.clone());
        Ok(())
    }

    async fn look_up(&self, hashes: &[TokenHash]) -> Result<Vec<TokenLookup>, BackendError> {
        let records = lock(&self.records);
        let current = |hash| records.get(hash).filter(|record| record.is_current()).cloned();
        Ok(hashes.iter().map(|hash| Ok(current(hash))).collect())
    }

    async fn remove(&self, hash: TokenHash) -> Result<bool, BackendError> {
        Ok(lock(&self.records).remove(&hash).is_some_and(|record| record.is_current()))
    }

    async fn remove_all(&self, user: &UserName) -> Result<(), BackendError> {
        lock(&self.records).retain(|_, record| record.user != *user);
        Ok(())
    }

    async fn are_revoked(
        &self,
        tokens: &[SignedToken],
    ) -> Result<Vec<Result<bool, BackendError>>, BackendError> {
        let revoked = lock(&self.revoked);
        let is_revoked = |token: &SignedToken| {
            let of_user = revoked.get(&Revocation::User(token.user.clone()));
            revoked.contains_key(&Revocation::Token(token.id))
                || of_user.is_some_and(|revoked| token.is_issued_before(revoked.before))
        };
        Ok(tokens.iter().map(|token| Ok(is_revoked(token))).collect())
    }

    async fn revoke_signed(&self, id: TokenHash, until: Option<u64>) -> Result<(), BackendError> {
        self.revoke(Revocation::Token(id), 0, until);
        Ok(())
    }

    async fn revoke_issued_before(
        &self,
        user: &UserName,
        before: u64,
        until: Option<u64>,
    ) -> Result<(), BackendError> {
        self.revoke(Revocation::User(user.clone()), before, until);
        Ok(())
    }

    async fn ban(&self, user: &UserName, until: u64) -> Result<(), BackendError> {
        let mut banned = lock(&self.banned);
        // Before the map grows, ended bans are removed.
        if banned.len() == banned.capacity() {
            let now = unix_ms();
            banned.retain(|_, until| *until > now);
        }
        banned.insert(user.clone(), until);
        Ok(())
    }

    async fn unban(&self, user: &UserName) -> Result<(), BackendError> {
        lock(&self.banned).remove(user);
        Ok(())
    }

    async fn bans(&self, users: &[UserName]) -> Result<Vec<Result<Option<u64>, BackendError>>, BackendError> {
        let (banned, now) = (lock(&self.banned), unix_ms());
        let end = |user| banned.get(user).copied().filter(|until| *until > now);
        Ok(users.iter().map(|user| Ok(end(user))).collect())
    }
}
