//! The requests of the protocol, one file with one handler each. Owns the list of handlers, and what several of them
//! need; called by the session once the sender has proved who it is.
//!
//! To add a request, write its file and add it to `dispatch`.

mod auth;
mod enter;
mod history;
mod leave;
mod members;
mod ping;
mod publish;
mod read;
mod typing;

use bytes::Bytes;

use super::error::RequestError;
use super::join::{Joined, ResumeOutcome};
use super::session::{Reply, Session};
use crate::protocol::requests::{self, Features};
use crate::protocol::{
    AnyRequest, ErrorCode, Outcome, Request, RequestId, RoomName, Topic, UserName, encode,
};

type Result<T> = std::result::Result<T, RequestError>;
type Id<'a> = Option<&'a RequestId>;

/// Carries one kind of request out.
trait Handle: Request {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply>;
}

impl Session {
    pub(super) async fn dispatch(&mut self, id: Id<'_>, request: AnyRequest) -> Result<Reply> {
        match request {
            AnyRequest::GroupChat(request) => request.handle(self, id).await,
            AnyRequest::PrivateChat(request) => request.handle(self, id).await,
            AnyRequest::Enter(request) => request.handle(self, id).await,
            AnyRequest::Leave(request) => request.handle(self, id).await,
            AnyRequest::Auth(request) => request.handle(self, id).await,
            AnyRequest::Typing(request) => request.handle(self, id).await,
            AnyRequest::History(request) => request.handle(self, id).await,
            AnyRequest::Members(request) => request.handle(self, id).await,
            AnyRequest::Read(request) => request.handle(self, id).await,
            AnyRequest::Ping(request) => request.handle(self, id).await,
        }
    }

    /// The room that a request is about, if the connection is in it; the current one if none is named.
    fn membership(&self, room: Option<RoomName>) -> Result<RoomName> {
        let not_in_room = |message: String| RequestError::new(ErrorCode::NotInRoom, message);
        match room {
            Some(room) if self.rooms.contains_key(&room) => Ok(room),
            Some(room) => Err(not_in_room(format!("not in room {:?}: send `Enter` first", room.as_str()))),
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

    async fn bind_quietly(&mut self, user: &UserName) -> Result<()> {
        if self.bound.is_some() { Ok(()) } else { self.bind(user, None, |_| {}).await }
    }

    async fn announce(&self, topic: &Topic, event: Bytes) -> Result<()> {
        let origin = Some(self.outbox().id());
        Ok(self.node.backend.broker.announce(topic, origin, event).await?)
    }

    /// What the `Ack` of `Enter` and `Auth` says of the log; `already` where nothing changes.
    fn joined(dedupe_ms: u64, joined: &Joined, already: bool) -> requests::Joined {
        let (recovered, reason, next_seq) = match joined.recovery {
            None => (None, None, None),
            Some(ResumeOutcome::Recovered) => (Some(true), None, None),
            Some(ResumeOutcome::Broken { reason, next_seq }) => {
                (Some(false), Some(reason.into()), Some(next_seq))
            }
        };
        let (position, features) = (joined.top, Features::all());
        requests::Joined { position, dedupe_ms, recovered, reason, next_seq, already, features }
    }

    fn dedupe_ms(&self) -> u64 {
        self.node.config().history.dedupe_window.as_millis() as u64
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
