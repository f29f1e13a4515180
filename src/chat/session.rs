//! One connection's session. Owns its user, its rooms and what it has used of its limits; the rules of single requests
//! are in `requests`. Called by the connection's read loop, one frame at a time; queues exactly one answer per request
//! that has an id.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;
use metrics::counter;
use tokio::time::{Instant, sleep, timeout};

use super::arrival::Arrival;
use super::auth::Credential;
use super::connections::ConnectionGuard;
use super::error::RequestError;
use super::join::ReplayFrom;
use super::limits::{InvalidFrames, TokenBucket, TypingPace};
use super::node::Node;
use super::outbox::Outbox;
use super::presence::PresenceGuard;
use super::registry::TopicGuard;
use crate::failpoints::{self, Failpoint};
use crate::metrics as names;
use crate::protocol::{
    AnyRequest, ClientMessage, CloseReason, ErrorBody, ErrorCode, RequestId, RoomName, Token, UserName,
    encode,
};

/// What happens to the connection after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It stays open.
    Continue,
    /// It has to be closed.
    Close(CloseReason),
}

/// Membership of one room. Dropping it leaves the room.
pub(super) struct Membership {
    pub(super) member: MemberGuard,
    pub(super) present: PresenceGuard,
}

/// A member of a topic's fan-out; dropping it removes the member at once.
pub(super) struct MemberGuard {
    pub(super) hold: TopicGuard,
    outbox: Arc<Outbox>,
}

impl MemberGuard {
    /// Adds the connection to a topic that is ready.
    pub(super) fn begin(hold: TopicGuard, outbox: &Arc<Outbox>) -> Self {
        hold.topic.begin_join(outbox);
        Self { hold, outbox: outbox.clone() }
    }
}

impl Drop for MemberGuard {
    fn drop(&mut self) {
        self.hold.topic.remove(self.outbox.id());
    }
}

/// The user of this connection, as a member of its private topic.
pub(super) struct BoundUser {
    pub(super) user: UserName,
    pub(super) inbox: MemberGuard,
}

/// One connection's state.
pub struct Session {
    pub(super) node: Arc<Node>,
    pub(super) connection: ConnectionGuard,
    pub(super) bound: Option<BoundUser>,
    /// In the order in which they were entered; the last is the current one.
    pub(super) rooms: IndexMap<RoomName, Membership>,
    pub(super) typing: TypingPace,
    credential: Option<Credential>,
    /// Authenticated at the handshake: requests need no token.
    by_handshake: bool,
    bucket: TokenBucket,
    is_over_rate: bool,
    invalid: InvalidFrames,
    arrival: Arrival,
}

/// The result of a request that succeeded.
pub(super) enum Reply {
    /// An `Ack` to queue.
    Ack(Bytes),
    /// The request has no id, or its `Ack` is queued already, in its place between other frames.
    Done,
}

impl Session {
    /// A new connection, with its credential if it authenticated at the handshake.
    pub fn new(node: Arc<Node>, connection: ConnectionGuard, credential: Option<Credential>) -> Self {
        let limits = &node.config().limits;
        let bucket = TokenBucket::new(limits.messages_per_second, limits.burst, Instant::now());
        Self {
            connection,
            bound: None,
            rooms: IndexMap::new(),
            typing: TypingPace::default(),
            by_handshake: credential.is_some(),
            credential,
            bucket,
            is_over_rate: false,
            invalid: InvalidFrames::default(),
            arrival: Arrival::default(),
            node,
        }
    }

    /// The connection's queue.
    pub fn outbox(&self) -> &Arc<Outbox> {
        self.connection.outbox()
    }

    /// The user of the token that the connection relies on.
    pub(super) fn token_owner(&self) -> Option<&UserName> {
        self.credential.as_ref().map(Credential::user)
    }

    /// Leaves every room at once; the queue stays until the guard is dropped.
    pub fn end(self) -> ConnectionGuard {
        self.connection
    }

    /// Whether the connection may stay beyond the deadline for authentication.
    pub fn is_authenticated(&self) -> bool {
        !self.node.config().auth.enabled || self.credential.is_some()
    }

    /// The user that the connection is bound to.
    pub fn user(&self) -> Option<&UserName> {
        self.bound.as_ref().map(|bound| &bound.user)
    }

    /// Takes a frame's cost from the connection's rate, and waits while the rate is exceeded. The socket is not read
    /// meanwhile, so TCP slows the client down. The client receives one error per episode. An episode ends when the
    /// bucket is full, not when a frame passes without a wait: a wait that took a little too long leaves something for
    /// the next frame.
    pub async fn charge(&mut self, cost: u32) {
        let now = Instant::now();
        self.is_over_rate &= !self.bucket.is_full(now);
        let wait = self.bucket.take(cost, now);
        if wait.is_zero() {
            return;
        }
        if !std::mem::replace(&mut self.is_over_rate, true) {
            counter!(names::REJECTIONS, "scope" => "rate").increment(1);
            let message = "too many requests; they are delayed".to_owned();
            let retry_after_ms = Some(wait.as_millis() as u64);
            let body =
                ErrorBody { code: ErrorCode::RateLimited.into(), message, retry_after_ms, outcome: None };
            self.outbox().reply(encode::error(None, &body));
        }
        sleep(wait).await;
    }

    /// Handles one text frame, and queues its answer.
    pub async fn handle(&mut self, text: &str) -> Flow {
        self.charge(1).await;
        let message = match ClientMessage::decode(text, self.node.config().limits.max_content_bytes) {
            Ok(message) => message,
            Err(rejected) => {
                let id = rejected.id.clone();
                return self.reject(id.as_ref(), &rejected.into());
            }
        };
        let extra = message.request.cost() - 1;
        if extra > 0 {
            self.charge(extra).await;
        }
        let deadline = self.node.config().limits.request_timeout;
        let ClientMessage { id, token, request } = message;
        let answer = timeout(deadline, self.carry_out(id.as_ref(), token, request));
        match answer.await.unwrap_or_else(|_| Err(RequestError::timed_out())) {
            Ok(Reply::Ack(frame)) if id.is_some() => self.outbox().reply(frame),
            Ok(Reply::Ack(_) | Reply::Done) => {}
            Err(error) => return self.reject(id.as_ref(), &error),
        }
        Flow::Continue
    }

    /// Queues an error, and counts it.
    pub fn reject(&mut self, id: Option<&RequestId>, error: &RequestError) -> Flow {
        self.outbox().reply(encode::error(id, &error.body()));
        let scope = match error.code() {
            ErrorCode::Unauthorized | ErrorCode::IdentityMismatch | ErrorCode::Forbidden => "auth",
            ErrorCode::MessageTooLarge => "size",
            ErrorCode::InvalidJson | ErrorCode::InvalidMessage | ErrorCode::UnknownType => "invalid",
            _ => return Flow::Continue,
        };
        counter!(names::REJECTIONS, "scope" => scope).increment(1);
        if scope == "invalid" && self.invalid.is_too_many(Instant::now()) {
            return Flow::Close(CloseReason::TooManyInvalid);
        }
        Flow::Continue
    }

    async fn carry_out(
        &mut self,
        id: Option<&RequestId>,
        token: Option<Token>,
        request: AnyRequest,
    ) -> Result<Reply, RequestError> {
        let newer = self.authorise(token).await?;
        if let Some(sender) = request.sender() {
            let user = newer.as_ref().or(self.credential.as_ref()).map(Credential::user);
            check_identity(user.or(self.user()), sender)?;
        }
        // Only now: a request that is refused changes nothing, not even the user of the connection.
        if newer.is_some() {
            self.credential = newer;
        }
        self.dispatch(id, request).await
    }

    /// Checks the request's token. Returns its credential if it is not the connection's present token.
    async fn authorise(&self, token: Option<Token>) -> Result<Option<Credential>, RequestError> {
        if !self.node.config().auth.enabled {
            return Ok(None);
        }
        let Some(token) = token else {
            return if self.by_handshake {
                Ok(None)
            } else {
                Err(RequestError::new(
                    ErrorCode::Unauthorized,
                    "`token` is missing; this node requires a token in each request",
                ))
            };
        };
        let is_current = |credential: &Credential| token.uuid().is_some_and(|uuid| credential.is(uuid));
        if self.credential.as_ref().is_some_and(is_current) {
            return Ok(None);
        }
        let credential = self.node.authenticate(&token, self.outbox()).await?;
        if self.bound.as_ref().is_some_and(|bound| bound.user != *credential.user()) {
            return Err(RequestError::new(
                ErrorCode::IdentityMismatch,
                "the token belongs to a different user",
            ));
        }
        Ok(Some(credential))
    }

    /// Binds the connection to its user, and starts to deliver the user's private messages. `ack` queues the answer of an
    /// `Auth` before them.
    pub(super) async fn bind(
        &mut self,
        user: &UserName,
        since: Option<crate::protocol::Since>,
        ack: impl FnOnce(&super::join::Joined),
    ) -> Result<(), RequestError> {
        let name = crate::protocol::Topic::User(user.clone());
        let asked = std::time::Instant::now();
        let hold = self.node.registry.hold(&name);
        self.node.registry.ready(&hold.topic).await?;
        let past = match since {
            Some(since) => ReplayFrom::Since(since, None),
            None => ReplayFrom::Cursor(self.node.backend.markers.cursor(user).await?),
        };
        let inbox = MemberGuard::begin(hold, self.outbox());
        self.node.joins.complete(&inbox.hold.topic, self.outbox(), past, asked, ack).await?;
        tracing::debug!("bound to a user");
        self.bound = Some(BoundUser { user: user.clone(), inbox });
        Ok(())
    }

    /// A ping with this payload is about to be queued. Its pong will prove that everything queued before it arrived.
    pub fn ping_queued(&mut self, payload: u64) {
        let id = self.outbox().id();
        let sent = self.bound.as_ref().and_then(|bound| bound.inbox.hold.topic.sent_to(id));
        if let Some(position) = sent {
            self.arrival.ping_queued(payload, position);
        }
    }

    /// A pong came: the user's cursor moves to what it proves.
    pub fn pong(&mut self, payload: &[u8]) {
        for position in self.arrival.pong(payload) {
            if let Some(bound) = &self.bound {
                self.node.cursors.advance(&bound.user, position);
            }
        }
    }

    /// How long the connection may stay without authenticating.
    pub fn auth_deadline(&self) -> Duration {
        self.node.config().auth.deadline
    }
}

fn check_identity(user: Option<&UserName>, sender: &UserName) -> Result<(), RequestError> {
    match user {
        Some(user) if user != sender && !failpoints::is(Failpoint::TrustName) => Err(RequestError::new(
            ErrorCode::IdentityMismatch,
            "`sender_username` does not match this connection's user; open a separate connection",
        )),
        _ => Ok(()),
    }
}
