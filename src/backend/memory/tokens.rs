//! Tokens in memory. Owns the map of their records. Called by `chat` through [`Tokens`].

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::lock::lock;
use crate::backend::{BackendError, TokenHash, TokenLookup, TokenRecord, Tokens};
use crate::protocol::UserName;

/// All tokens of the process.
#[derive(Default)]
pub(super) struct MemoryTokens {
    records: Mutex<HashMap<TokenHash, TokenRecord>>,
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
}
