//! The requests of the protocol, one file with one handler each. Owns the list of handlers, and what several of them
//! need; called by the session once the sender has proved who it is.
//!
//! To add a request, write its file and add it to `dispatch`.

mod auth;
mod block;
mod change;
mod enter;
mod history;
mod leave;
mod markers;
mod members;
mod names;
mod ping;
mod publish;
mod read;
mod room;
mod rooms;
mod typing;
mod unread;

use std::sync::Arc;

use bytes::Bytes;

use super::error::RequestError;
use super::join::{Joined, ResumeOutcome};
use super::limits::read_cost;
use super::session::{Reply, Session};
use super::topic::LocalTopic;
use crate::backend::{Owner, Payer};
use crate::protocol::encode::ACK_BYTES;
use crate::protocol::requests::{self, Features};
use crate::protocol::{
    AnyRequest, ErrorCode, Outcome, Request, RequestId, RoomName, Topic, UserName, encode,
};

type Result<T> = std::result::Result<T, RequestError>;
type Id<'a> = Option<&'a RequestId>;

/// What a client is told of the node's times.
#[derive(Clone, Copy)]
struct Durations {
    /// For how long a repeated publish is recognised.
    dedupe_ms: u64,
    /// For how long the client may send nothing.
    idle_timeout_ms: u64,
}

/// Carries one kind of request out.
trait Handle: Request {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply>;
}

impl Session {
    pub(super) async fn dispatch(&mut self, id: Id<'_>, request: AnyRequest) -> Result<Reply> {
        match request {
            AnyRequest::GroupChat(request) => request.handle(self, id).await,
            AnyRequest::PrivateChat(request) => request.handle(self, id).await,
            // Boxed: their states are large, and each publish would have to allocate as much.
            AnyRequest::Enter(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Leave(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Auth(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Typing(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::History(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Members(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Read(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Ping(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Markers(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Edit(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Retract(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::React(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Rooms(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Unread(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Room(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Moderate(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Block(request) => Box::pin(request.handle(self, id)).await,
            AnyRequest::Blocked(request) => Box::pin(request.handle(self, id)).await,
        }
    }

    /// What a request costs of the connection's rate. A position that comes late has the log read, as an `Enter` has.
    pub(super) fn cost(&self, request: &AnyRequest) -> u32 {
        match request {
            AnyRequest::Auth(auth) if auth.since.is_some() && self.bound.is_some() => requests::Enter::COST,
            _ => request.cost(),
        }
    }

    /// The room that a request is about, if the connection is in it; the current one if none is named.
    fn membership(&self, room: Option<RoomName>) -> Result<RoomName> {
        let not_in_room = |message: String| RequestError::new(ErrorCode::NotInRoom, message);
        match room {
            Some(room) if self.rooms.contains_key(&room) => Ok(room),
            Some(room) => Err(not_in_room(format!("not in room {:?}: send `Enter` first", room.as_str()))),
            None if self.is_current_lost => {
                let message = "you were taken out of the current room: name a room, or send `Enter`";
                Err(not_in_room(message.into()))
            }
            None => match self.rooms.last() {
                Some((room, _)) => Ok(room.clone()),
                None => Err(not_in_room("in no room: send `Enter` first".into())),
            },
        }
    }

    /// What a request is about: a room that the connection is in, the current one if none is named, or a user.
    fn addressed(&self, topic: Option<Topic>) -> Result<Topic> {
        match topic {
            Some(Topic::User(user)) => Ok(Topic::User(user)),
            Some(Topic::Room(room)) => self.membership(Some(room)).map(Topic::Room),
            None => self.membership(None).map(Topic::Room),
        }
    }

    /// Whom the messages of this user are charged to: the address where anyone can use any name.
    fn payer(&self, user: &UserName) -> Payer {
        match self.address {
            Some(address) if !self.node.config().auth.enabled => Payer::Address(address),
            _ => Payer::User(user.clone()),
        }
    }

    /// The same, as this node counts it.
    fn owner(&self, user: &UserName) -> Owner {
        Owner::from(&self.payer(user))
    }

    /// The request has read so many bytes: its connection pays for them once it has its answer.
    fn owe(&mut self, bytes: usize) {
        self.owed = read_cost(bytes, &self.node.config().limits);
    }

    /// How many bytes the list in an answer may have, without the `Ack` around it. Clients may ask for another size of frames.
    fn list_bytes(&self, max_bytes: Option<u32>) -> usize {
        let max_bytes = max_bytes.map(|bytes| bytes as usize);
        max_bytes.unwrap_or(self.node.config().limits.delivery_bytes()).saturating_sub(ACK_BYTES)
    }

    /// This node's part of a log: of a room that the connection is in, or of its user.
    fn local_log(&self, topic: &Topic) -> Option<Arc<LocalTopic>> {
        let member = match topic {
            Topic::Room(room) => self.rooms.get(room).map(|membership| &membership.member),
            Topic::User(_) => self.bound.as_ref().map(|bound| &bound.inbox),
        };
        member.map(|member| member.hold.topic.clone())
    }

    /// The `Ack` of a request that reads a page, counted among the pages that wait for the sockets of the node.
    fn page(&self, frame: Option<Bytes>) -> Reply {
        frame.map_or(Reply::Done, |frame| Reply::Ack(self.node.registry.queued().answer(frame)))
    }

    /// The same, queued at once.
    fn queue_page(&self, frame: Option<Bytes>) {
        if let Reply::Ack(frame) = self.page(frame) {
            self.outbox().reply(frame);
        }
    }

    async fn bind_quietly(&mut self, user: &UserName) -> Result<()> {
        if self.bound.is_some() { Ok(()) } else { Box::pin(self.bind(user, None, |_| {})).await }
    }

    async fn announce(&self, topic: &Topic, event: Bytes) -> Result<()> {
        let origin = Some(self.outbox().id());
        Ok(self.node.backend.broker.announce(topic, origin, event).await?)
    }

    /// What the `Ack` of `Enter` and `Auth` says of the log; `already` where nothing changes.
    fn joined(durations: Durations, joined: &Joined, already: bool) -> requests::Joined {
        let Durations { dedupe_ms, idle_timeout_ms } = durations;
        let idle_timeout_ms = Some(idle_timeout_ms);
        let (recovered, reason, next_seq) = match joined.recovery {
            None => (None, None, None),
            Some(ResumeOutcome::Recovered) => (Some(true), None, None),
            Some(ResumeOutcome::Broken { reason, next_seq }) => {
                (Some(false), Some(reason.into()), Some(next_seq))
            }
        };
        let (position, features) = (joined.top, Features::all());
        requests::Joined {
            position,
            dedupe_ms,
            idle_timeout_ms,
            recovered,
            reason,
            next_seq,
            already,
            features,
        }
    }

    fn durations(&self) -> Durations {
        let config = self.node.config();
        Durations {
            dedupe_ms: config.history.dedupe_window.as_millis() as u64,
            idle_timeout_ms: config.server.idle_timeout().as_millis() as u64,
        }
    }
}

/// The `Ack` of a request that has an id.
fn ack<R: Request>(id: Id<'_>, body: &R::Ack) -> Reply {
    id.map_or(Reply::Done, |id| Reply::Ack(encode::ack::<R>(id, body)))
}

/// The topic's log has not been read yet.
fn unready() -> RequestError {
    RequestError::unavailable(Outcome::Refused)
}
