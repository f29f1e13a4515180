//! Tokens in use on this node. Owns which connection relies on which token, so that a message costs no round trip and
//! a revocation finds its connections; what makes a token valid is the matter of `token_check`. Called by the handshake and by
//! sessions. A background task warns connections whose token is about to expire, closes them when it has, and has every token
//! checked again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::error::RequestError;
use super::outbox::Outbox;
use super::token_check::{TokenCheck, ValidToken, hash_of, unauthorized};
use crate::backend::{BackendError, SignedToken, TokenHash, unix_ms};
use crate::jwt::RoomGrants;
use crate::protocol::events::TokenExpiring;
use crate::protocol::{CloseReason, ConnectionId, Grant, RoomName, Token, UserName, encode};

/// How long before the end of its token a connection is warned.
const WARN_BEFORE_MS: u64 = 60_000;

/// A connection that relies on a token.
struct Reliance {
    outbox: Arc<Outbox>,
    /// Whether it was warned that the token is about to expire.
    is_warned: bool,
}

/// One token that connections rely on, with those connections.
struct InUse {
    token: ValidToken,
    connections: HashMap<ConnectionId, Reliance>,
}

impl InUse {
    fn is_current(&self) -> bool {
        self.token.record.is_current()
    }

    fn is_of(&self, user: &UserName) -> bool {
        self.token.record.user == *user
    }

    /// What revokes it besides its own hash.
    fn is_signed_as(&self, id: TokenHash) -> bool {
        self.token.signed.as_ref().is_some_and(|signed| signed.id == id)
    }

    /// Warns the connections that were not warned yet, if the token ends soon.
    fn warn(&mut self, now: u64) {
        let Some(expires_at) = self.token.record.expires_at else { return };
        if expires_at.saturating_sub(now) > WARN_BEFORE_MS {
            return;
        }
        for reliance in self.connections.values_mut().filter(|reliance| !reliance.is_warned) {
            reliance.is_warned = true;
            reliance.outbox.write_now(encode::event(&TokenExpiring { expires_at }));
        }
    }
}

/// Tokens in use.
pub(super) struct TokensInUse {
    check: TokenCheck,
    in_use: Mutex<HashMap<TokenHash, InUse>>,
    /// Grows with each revocation that this node receives. A look-up that was overtaken by a revocation is repeated.
    revocations: AtomicU64,
}

/// A connection's reliance on a token; dropping it ends that.
pub struct Credential {
    hash: TokenHash,
    user: UserName,
    rooms: RoomGrants,
    connection: ConnectionId,
    owner: Arc<TokensInUse>,
}

impl Credential {
    /// The user of the token.
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// What it grants in a room. Looks through what the token lists.
    pub(super) fn in_room(&self, room: &RoomName) -> Grant {
        self.rooms.in_room(room)
    }

    /// Whether it is this token.
    pub(super) fn is(&self, token: &Token) -> bool {
        hash_of(token) == Some(self.hash)
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
    pub(super) fn new(check: TokenCheck) -> Self {
        Self { check, in_use: Mutex::default(), revocations: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenHash, InUse>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a token and lets the connection rely on it: two round trips, and for a JWT one verification, for a token that no
    /// connection of this node has yet, none otherwise.
    ///
    /// # Errors
    /// `unauthorized` if the token is not valid, `forbidden` if its user is banned; `unavailable` if that can't be found out.
    pub(super) async fn authenticate(
        self: &Arc<Self>,
        token: &Token,
        outbox: &Arc<Outbox>,
    ) -> Result<Credential, RequestError> {
        let hash = hash_of(token).ok_or_else(unauthorized)?;
        let mut known =
            self.lock().get(&hash).filter(|known| known.is_current()).map(|known| known.token.clone());
        loop {
            let seen = self.revocations.load(Ordering::Acquire);
            let valid = match known.take() {
                Some(known) => known,
                None => self.check.check(token, hash).await?,
            };
            let mut in_use = self.lock();
            // A revocation came during the look-up, and found no connection to close.
            if self.revocations.load(Ordering::Acquire) != seen {
                continue;
            }
            let (user, rooms) = (valid.record.user.clone(), valid.rooms.clone());
            let token =
                in_use.entry(hash).or_insert_with(|| InUse { token: valid, connections: HashMap::new() });
            token.connections.insert(outbox.id(), Reliance { outbox: outbox.clone(), is_warned: false });
            let connection = outbox.id();
            return Ok(Credential { hash, user, rooms, connection, owner: self.clone() });
        }
    }

    /// Closes the connections that rely on a token: one with this hash, or a signed one with this identity.
    pub(super) fn revoke(&self, hash: TokenHash) {
        let closed = CloseReason::TokenRevoked;
        self.revoke_where(closed, |known, token| *known == hash || token.is_signed_as(hash));
    }

    /// Closes the connections that rely on any token of a user.
    pub(super) fn revoke_user(&self, user: &UserName) {
        self.revoke_where(CloseReason::TokenRevoked, |_, token| token.is_of(user));
    }

    /// Closes the connections of a user that was banned from the whole server.
    pub(super) fn ban_user(&self, user: &UserName) {
        self.revoke_where(CloseReason::Removed, |_, token| token.is_of(user));
    }

    /// The connections that authenticated as a user, bound to it or not.
    pub(super) fn connections_of(&self, user: &UserName) -> Vec<Arc<Outbox>> {
        let in_use = self.lock();
        let tokens = in_use.values().filter(|token| token.is_of(user));
        tokens.flat_map(|token| token.connections.values().map(|reliance| reliance.outbox.clone())).collect()
    }

    fn revoke_where(&self, reason: CloseReason, is_revoked: impl Fn(&TokenHash, &InUse) -> bool) {
        let mut in_use = self.lock();
        self.revocations.fetch_add(1, Ordering::AcqRel);
        in_use.retain(|hash, token| {
            let revoked = is_revoked(hash, token);
            if revoked {
                let outboxes = token.connections.values().map(|reliance| &reliance.outbox);
                outboxes.for_each(|outbox| outbox.close(reason.into()));
            }
            !revoked
        });
    }

    /// Warns connections whose token is about to expire, closes them within a second after it has, and has every token in use
    /// checked again once per `recheck`, since a notice can be lost. Ends when the node stops.
    pub(super) async fn watch(&self, recheck: Duration, stop: CancellationToken) {
        let mut tick = interval(Duration::from_millis(500));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut checked_at = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let has_expired = {
                let (mut in_use, now) = (self.lock(), unix_ms());
                in_use.values_mut().for_each(|token| token.warn(now));
                in_use.values().any(|token| !token.is_current())
            };
            if has_expired {
                self.revoke_where(CloseReason::TokenRevoked, |_, token| !token.is_current());
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
        let in_use: Vec<(TokenHash, Option<SignedToken>)> =
            self.lock().iter().map(|(hash, token)| (*hash, token.token.signed.clone())).collect();
        for hash in self.check.find_revoked(in_use).await? {
            self.revoke(hash);
        }
        let users: HashSet<UserName> =
            self.lock().values().map(|token| token.token.record.user.clone()).collect();
        for user in self.check.find_banned(&Vec::from_iter(users)).await? {
            self.ban_user(&user);
        }
        Ok(())
    }
}
