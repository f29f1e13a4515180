//! Tokens in use on this node. Owns which connection relies on which token, so that a message costs no round trip and
//! a revocation finds its connections; the backend owns the tokens. Called by the handshake and by sessions. A background
//! task closes connections whose token has expired, and asks the store about every token again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::error::RequestError;
use super::outbox::Outbox;
use crate::backend::{BackendError, TokenHash, TokenRecord, Tokens};
use crate::protocol::{CloseReason, ConnectionId, ErrorCode, Token, UserName};

/// Tokens checked again in one call.
const CHECK_AT_ONCE: usize = 500;

/// One token that connections rely on, with those connections.
struct InUse {
    record: TokenRecord,
    connections: HashMap<ConnectionId, Arc<Outbox>>,
}

/// Tokens in use.
pub(super) struct TokensInUse {
    tokens: Arc<dyn Tokens>,
    in_use: Mutex<HashMap<TokenHash, InUse>>,
    /// Grows with each revocation that this node receives. A look-up that was overtaken by a revocation is repeated.
    revocations: AtomicU64,
}

/// A connection's reliance on a token; dropping it ends that.
pub struct Credential {
    hash: TokenHash,
    user: UserName,
    connection: ConnectionId,
    owner: Arc<TokensInUse>,
}

impl Credential {
    /// The user of the token.
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// Whether it is this token.
    pub(super) fn is(&self, token: Uuid) -> bool {
        self.hash == TokenHash::of(token)
    }
}

impl Drop for Credential {
    fn drop(&mut self) {
        let mut in_use = self.owner.lock();
        if let Some(token) = in_use.get_mut(&self.hash) {
            token.connections.remove(&self.connection);
            if token.connections.is_empty() {
                in_use.remove(&self.hash);
            }
        }
    }
}

impl TokensInUse {
    pub(super) fn new(tokens: Arc<dyn Tokens>) -> Self {
        Self { tokens, in_use: Mutex::default(), revocations: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenHash, InUse>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a token and lets the connection rely on it: one round trip for a token that no connection of this node
    /// has yet, none otherwise.
    ///
    /// # Errors
    /// `unauthorized` if the token is not valid; `unavailable` if that can't be found out.
    pub(super) async fn authenticate(
        self: &Arc<Self>,
        token: &Token,
        outbox: &Arc<Outbox>,
    ) -> Result<Credential, RequestError> {
        let unauthorized =
            || RequestError::new(ErrorCode::Unauthorized, "the token is not valid; get a new one");
        let hash = token.uuid().map(TokenHash::of).ok_or_else(unauthorized)?;
        let known = self.lock().get(&hash).map(|token| token.record.clone());
        let mut record = known.filter(TokenRecord::is_current);
        loop {
            let seen = self.revocations.load(Ordering::Acquire);
            let record = match record.take() {
                Some(record) => record,
                None => {
                    let found = self.tokens.look_up(&[hash]).await?;
                    let found = found.into_iter().next().transpose()?.flatten();
                    found.filter(TokenRecord::is_current).ok_or_else(unauthorized)?
                }
            };
            let mut in_use = self.lock();
            // A revocation came during the look-up, and found no connection to close.
            if self.revocations.load(Ordering::Acquire) != seen {
                continue;
            }
            let user = record.user.clone();
            let token = in_use.entry(hash).or_insert_with(|| InUse { record, connections: HashMap::new() });
            token.connections.insert(outbox.id(), outbox.clone());
            let connection = outbox.id();
            return Ok(Credential { hash, user, connection, owner: self.clone() });
        }
    }

    /// Closes the connections that rely on a token.
    pub(super) fn revoke(&self, hash: TokenHash) {
        self.revoke_where(|known, _| *known == hash);
    }

    /// Closes the connections that rely on any token of a user.
    pub(super) fn revoke_user(&self, user: &UserName) {
        self.revoke_where(|_, token| token.record.user == *user);
    }

    /// The connections that authenticated as a user, bound to it or not.
    pub(super) fn connections_of(&self, user: &UserName) -> Vec<Arc<Outbox>> {
        let in_use = self.lock();
        let tokens = in_use.values().filter(|token| token.record.user == *user);
        tokens.flat_map(|token| token.connections.values().cloned()).collect()
    }

    fn revoke_where(&self, is_revoked: impl Fn(&TokenHash, &InUse) -> bool) {
        let mut in_use = self.lock();
        self.revocations.fetch_add(1, Ordering::AcqRel);
        in_use.retain(|hash, token| {
            let revoked = is_revoked(hash, token);
            if revoked {
                token.connections.values().for_each(|outbox| outbox.close(CloseReason::TokenRevoked.into()));
            }
            !revoked
        });
    }

    /// Closes connections within a second after their token has expired, and asks the store about every token in use once
    /// per `recheck`, since a notice can be lost. Ends when the node stops.
    pub(super) async fn watch(&self, recheck: Duration, stop: CancellationToken) {
        let mut tick = interval(Duration::from_millis(500));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut checked_at = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let has_expired = self.lock().values().any(|token| !token.record.is_current());
            if has_expired {
                self.revoke_where(|_, token| !token.record.is_current());
            }
            if checked_at.elapsed() >= recheck {
                checked_at = Instant::now();
                if let Err(error) = self.check_again().await {
                    tracing::warn!(%error, "tokens in use could not be checked; a lost revocation notice stays unnoticed meanwhile");
                }
            }
        }
    }

    async fn check_again(&self) -> Result<(), BackendError> {
        let hashes: Vec<TokenHash> = self.lock().keys().copied().collect();
        for hashes in hashes.chunks(CHECK_AT_ONCE) {
            let records = self.tokens.look_up(hashes).await?;
            for (hash, record) in hashes.iter().zip(records) {
                match record {
                    Ok(Some(_)) => {}
                    Ok(None) => self.revoke(*hash),
                    // No proof of a revocation: its connections stay open, and this line is repeated until an operator
                    // has removed the cause.
                    Err(error) => tracing::error!(%error, "a token in use can't be checked"),
                }
            }
        }
        Ok(())
    }
}
