//! One connection's session. Owns its user, its rooms and what it has used of its limits; the rules of single requests
//! are in `requests`. Called by the connection's read loop, one frame at a time; queues exactly one answer per request
//! that has an id.

mod rooms;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;
use metrics::counter;
use tokio::time::{Instant, sleep, timeout};

use super::activity::{Activity, ClientKind};
use super::arrival::{Answer, Arrival};
use super::auth::Credential;
use super::connections::ConnectionGuard;
use super::error::RequestError;
use super::join::ReplayFrom;
use super::limits::{InvalidFrames, TokenBucket, TypingPace, read_cost};
use super::membership::{BoundUser, MemberGuard, Membership};
use super::node::Node;
use super::outbox::Outbox;
use super::seats;
use crate::backend::Asker;
use crate::failpoints::{self, Failpoint};
use crate::metrics as names;
use crate::protocol::{
    AnyRequest, ClientMessage, CloseReason, ConnectionId, ErrorBody, ErrorCode, Grant, Position, RequestId,
    RoomName, Since, Token, UserName, encode,
};
use crate::traces::{Arrived, ConnectionTrace, Ending, RequestSpan};

/// What happens to the connection after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It stays open.
    Continue,
    /// It has to be closed.
    Close(CloseReason),
}

/// One connection's state.
pub struct Session {
    pub(super) node: Arc<Node>,
    pub(super) connection: ConnectionGuard,
    pub(super) bound: Option<BoundUser>,
    /// In the order in which they were entered; the last is the current one.
    pub(super) rooms: IndexMap<RoomName, Membership>,
    /// The connection was taken out of the current room: there is none until it enters one, so that what was meant for that room is not
    /// said in another.
    pub(super) is_current_lost: bool,
    pub(super) typing: TypingPace,
    /// The client's address, unless many clients share it.
    pub(super) address: Option<IpAddr>,
    credential: Option<Credential>,
    /// Authenticated at the handshake: requests need no token.
    by_handshake: bool,
    bucket: TokenBucket,
    is_over_rate: bool,
    /// What the request under way has cost, beyond what it is charged at its start.
    pub(super) owed: u32,
    invalid: InvalidFrames,
    arrival: Arrival,
    activity: Activity,
    /// The trace of requests that bring none.
    trace: ConnectionTrace,
    /// That of the request under way.
    pub(super) span: RequestSpan,
}

/// The result of a request that succeeded.
pub(super) enum Reply {
    /// An `Ack` to queue.
    Ack(Bytes),
    /// The request has no id, or its `Ack` is queued already, in its place between other frames.
    Done,
}

impl Session {
    /// A new connection from an address, unless many clients share it; with its credential if it authenticated at the
    /// handshake.
    pub fn new(
        node: Arc<Node>,
        connection: ConnectionGuard,
        address: Option<IpAddr>,
        kind: ClientKind,
        credential: Option<Credential>,
    ) -> Self {
        let limits = &node.config().limits;
        let bucket = TokenBucket::new(limits.messages_per_second, limits.burst, Instant::now());
        Self {
            connection,
            bound: None,
            rooms: IndexMap::new(),
            is_current_lost: false,
            typing: TypingPace::default(),
            address,
            by_handshake: credential.is_some(),
            credential,
            bucket,
            is_over_rate: false,
            owed: 0,
            invalid: InvalidFrames::default(),
            arrival: Arrival::new(kind),
            activity: Activity::new(kind),
            trace: ConnectionTrace::default(),
            span: RequestSpan::default(),
            node,
        }
    }

    /// The same, in the trace of its upgrade.
    #[must_use]
    pub fn with_trace(self, trace: ConnectionTrace) -> Self {
        Self { trace, ..self }
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
            let body = ErrorBody {
                code: ErrorCode::RateLimited.into(),
                message,
                retry_after_ms,
                outcome: None,
                current: None,
            };
            self.outbox().reply(encode::error(None, &body));
        }
        sleep(wait).await;
    }

    /// Handles one text frame, and queues its answer.
    pub async fn handle(&mut self, text: &str) -> Flow {
        let arrived = Arrived::now();
        self.charge(1).await;
        let message = match ClientMessage::decode(text, self.node.config().limits.max_content_bytes) {
            Ok(message) => message,
            Err(rejected) => {
                let id = rejected.id.clone();
                self.span = RequestSpan::begin(arrived, "invalid", self.trace(), None);
                return self.reject(id.as_ref(), &rejected.into());
            }
        };
        let extra = self.cost(&message.request) - 1;
        if extra > 0 {
            self.charge(extra).await;
        }
        let deadline = self.node.config().limits.request_timeout;
        let ClientMessage { id, token, received, traceparent, request } = message;
        self.leave_removed();
        self.span = RequestSpan::begin(arrived, request.kind(), self.trace(), traceparent);
        let answer = timeout(deadline, self.carry_out(id.as_ref(), token, received, request));
        match answer.await.unwrap_or_else(|_| Err(RequestError::timed_out())) {
            Ok(Reply::Ack(frame)) if id.is_some() => self.outbox().reply(frame),
            Ok(Reply::Ack(_) | Reply::Done) => {}
            Err(error) => return self.reject(id.as_ref(), &error),
        }
        std::mem::take(&mut self.span).end(Ending::Done);
        let limits = &self.node.config().limits;
        let owed = read_cost(self.outbox().take_owed(), limits) + std::mem::take(&mut self.owed);
        if owed > 0 {
            self.charge(owed).await;
        }
        Flow::Continue
    }

    fn trace(&self) -> (Option<ConnectionId>, &ConnectionTrace) {
        (Some(self.outbox().id()), &self.trace)
    }

    /// Queues the error of a request.
    pub(super) fn queue_error(&mut self, id: Option<&RequestId>, error: &RequestError) {
        std::mem::take(&mut self.span).end(Ending::Failed(error.code(), error.outcome()));
        self.outbox().reply(encode::error(id, &error.body()));
    }

    /// Whose rights count for what this user asks for, in a room if it is about one.
    pub(super) fn asker(&self, user: &UserName, room: Option<&RoomName>) -> Asker {
        if self.node.config().auth.enabled {
            Asker::User(user.clone(), self.grant_in(room))
        } else {
            Asker::Unproven(user.clone())
        }
    }

    /// What the connection's token grants in a room.
    pub(super) fn grant_in(&self, room: Option<&RoomName>) -> Grant {
        let credential = self.credential.as_ref().zip(room);
        credential.map_or_else(Grant::default, |(credential, room)| credential.in_room(room))
    }

    /// Queues an error, and counts it.
    pub fn reject(&mut self, id: Option<&RequestId>, error: &RequestError) -> Flow {
        self.queue_error(id, error);
        let scope = match error.code() {
            ErrorCode::Unauthorized | ErrorCode::IdentityMismatch => "auth",
            ErrorCode::Forbidden => "forbidden",
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
        received: Option<Since>,
        request: AnyRequest,
    ) -> Result<Reply, RequestError> {
        let newer = self.authorise(token).await?;
        if let Some(sender) = request.sender() {
            let user = newer.as_ref().or(self.credential.as_ref()).map(Credential::user).or(self.user());
            check_identity(user, sender)?;
            self.check_names(&request, Some(sender).filter(|_| user.is_none())).await?;
        }
        // Only now: a request that is refused changes nothing, not even the user of the connection.
        if let Some(newer) = newer {
            self.take_seat()?;
            self.renew(newer).await?;
        }
        let proved = self.arrival.request(received.is_some());
        self.advance_cursor(proved.or_else(|| self.believed(received?)));
        let is_regular = received.is_some() || matches!(request, AnyRequest::Ping(_));
        if self.activity.request(Instant::now(), is_regular) {
            Box::pin(self.return_to_rooms()).await;
        }
        self.dispatch(id, request).await
    }

    /// Takes a seat, for a connection whose user is known. If none is free, the connection is closed after the answer.
    fn take_seat(&mut self) -> Result<(), RequestError> {
        if self.connection.take_seat() {
            return Ok(());
        }
        counter!(names::REJECTIONS, "scope" => "overload").increment(1);
        let close = seats::close_as_full();
        self.outbox().close(close);
        Err(RequestError::no_seat(close.retry_after_ms))
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
        if self.credential.as_ref().is_some_and(|credential| credential.is(&token)) {
            return Ok(None);
        }
        let credential = Box::pin(self.node.authenticate(&token, self.outbox(), self.address)).await?;
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
        since: Option<Since>,
        ack: impl FnOnce(&super::join::Joined),
    ) -> Result<(), RequestError> {
        self.take_seat()?;
        let asked = std::time::Instant::now();
        let hold = self.node.registry.hold(&crate::protocol::Topic::User(user.clone()));
        let (ready, markers) = (self.node.registry.ready(&hold.topic), &self.node.backend.markers);
        // At the same time: a cursor that is older than the top only means that more is sent again.
        let past = match since {
            Some(since) => ready.await.map(|()| ReplayFrom::Since(since, None))?,
            None => ReplayFrom::Cursor(tokio::try_join!(ready, markers.cursor(user))?.1),
        };
        let inbox = MemberGuard::begin(hold, self.outbox(), false);
        self.node.joins.complete(&inbox.hold.topic, self.outbox(), past, asked, ack).await?;
        tracing::debug!("bound to a user");
        self.outbox().bind(user);
        self.bound = Some(BoundUser { user: user.clone(), inbox });
        Ok(())
    }

    /// A ping with this payload is about to be queued. Its pong will prove that everything queued before it arrived.
    pub fn ping_queued(&mut self, payload: u64) {
        let id = self.outbox().id();
        let sent = self.bound.as_ref().and_then(|bound| bound.inbox.hold.topic.sent_to(id));
        let given_up_at = Instant::now() + self.node.config().server.pong_timeout;
        self.arrival.ping_queued(payload, sent, given_up_at);
    }

    /// A pong came: the user's cursor moves to what it proves.
    pub fn pong(&mut self, payload: &[u8]) {
        match self.arrival.pong(payload, Instant::now()) {
            Answer::Nothing => {}
            Answer::Arrived(position) => self.advance_cursor(Some(position)),
            Answer::AskAgain => self.outbox().want_ping(),
        }
    }

    /// Moves the cursor of the connection's user to what is proved to have arrived.
    fn advance_cursor(&self, proved: Option<Position>) {
        if let (Some(bound), Some(position)) = (&self.bound, proved) {
            self.node.cursors.advance(&bound.user, position);
        }
    }

    /// The position that the client says it has, if the connection was sent the message there. Else it proves nothing: it may
    /// be forged, or of a log that was rolled back.
    fn believed(&self, received: Since) -> Option<Position> {
        let topic = &self.bound.as_ref()?.inbox.hold.topic;
        received.position().filter(|position| topic.was_sent(self.outbox().id(), position))
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
