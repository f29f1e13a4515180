//! The requests of the protocol, one function each. Owns what each needs, does and answers; called by the session once
//! the sender is who it says.

use bytes::Bytes;
use tokio::time::Instant;

use super::error::RequestError;
use super::join::{Joined, ReplayFrom, ResumeOutcome};
use super::session::{MemberGuard, Membership, Reply, Session, ack};
use crate::protocol::server_message::{
    self, Done, JoinAck, LeaveAck, MembersAck, PingAck, PublishAck, RoomMarker,
};
use crate::protocol::{
    Before, ErrorCode, MessageId, ReadTarget, Request, RequestId, RoomName, Since, Topic, UserName,
};

type Result<T> = std::result::Result<T, RequestError>;
type Id<'a> = Option<&'a RequestId>;

impl Session {
    pub(super) async fn dispatch(&mut self, id: Id<'_>, request: Request) -> Result<Reply> {
        match request {
            Request::Ping { .. } => Ok(ack(id, PingAck { sender_username: self.token_owner() })),
            Request::Auth { sender, since } => self.authenticate(id, &sender, since).await,
            Request::Enter { sender, room, since, history } => {
                self.enter(id, sender, room, since, history).await
            }
            Request::Leave { room, .. } => self.leave(id, room).await,
            Request::GroupChat { sender, room, content } => {
                let room = self.membership(room)?;
                self.node.rooms.check_may_speak(&room)?;
                self.publish(id, sender, Topic::Room(room), &content).await
            }
            Request::PrivateChat { sender, target, content } => {
                self.bind_quietly(&sender).await?;
                self.publish(id, sender, Topic::User(target), &content).await
            }
            Request::Typing { sender, topic } => self.typing(id, sender, topic).await,
            Request::History { sender, topic, before, limit } => {
                self.history(id, sender, topic, before, limit).await
            }
            Request::Members { room, after, limit, .. } => {
                let room = self.membership(room)?;
                let page = self.node.backend.presence.members(&room, after.as_ref(), limit).await?;
                let (count, more) = (page.count, page.more);
                Ok(ack(id, MembersAck { room: &room, members: &page.members, count, more }))
            }
            Request::Read { sender, target: ReadTarget::Room(room, seq) } => {
                self.read_room(id, sender, room, seq).await
            }
            Request::Read { sender, target: ReadTarget::User(peer, message_id) } => {
                self.read_private(id, sender, peer, message_id).await
            }
        }
    }

    /// The room that a request is about, if the connection is in it.
    fn membership(&self, room: Option<RoomName>) -> Result<RoomName> {
        let not_in_room = |message: String| RequestError::new(ErrorCode::NotInRoom, message);
        match room {
            Some(room) if self.rooms.contains_key(&room) => Ok(room),
            Some(room) => Err(not_in_room(format!("not in room {:?}: `Enter` it first", room.as_str()))),
            None => match self.rooms.last() {
                Some((room, _)) => Ok(room.clone()),
                None => Err(not_in_room("in no room: `Enter` one first".into())),
            },
        }
    }

    /// What a request is about: a room that the connection is in (the current one if none is named), or a user.
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

    async fn authenticate(&mut self, id: Id<'_>, user: &UserName, since: Option<Since>) -> Result<Reply> {
        let markers = self.node.backend.markers.private_markers(user).await?;
        let read: serde_json::Map<String, serde_json::Value> =
            markers.into_iter().map(|(peer, id)| (peer.as_str().into(), id.to_string().into())).collect();
        let dedupe_ms = self.node.config().history.dedupe_window.as_millis() as u64;
        let outbox = self.outbox().clone();
        if let Some(bound) = &self.bound {
            let position = bound.inbox.hold.topic.top().ok_or_else(unready)?;
            let joined = Joined { top: position, recovery: None };
            return Ok(ack(id, join_ack(None, &joined, &read, dedupe_ms, true)));
        }
        let queue_ack = |joined: &Joined| {
            if let Some(id) = id {
                outbox.reply(server_message::ack(id, join_ack(None, joined, &read, dedupe_ms, false)));
            }
        };
        self.bind(user, since, queue_ack).await?;
        Ok(Reply::Done)
    }

    async fn enter(
        &mut self,
        id: Id<'_>,
        user: UserName,
        room: Option<RoomName>,
        since: Option<Since>,
        history: Option<u32>,
    ) -> Result<Reply> {
        let room = room.unwrap_or_else(|| self.node.rooms.default().clone());
        let dedupe_ms = self.node.config().history.dedupe_window.as_millis() as u64;
        self.bind_quietly(&user).await?;
        if let Some(index) = self.rooms.get_index_of(&room) {
            let read = self.node.backend.markers.room_marker(&user, &room).await?;
            self.rooms.move_index(index, self.rooms.len() - 1);
            let top = self.rooms[&room].member.hold.topic.top().ok_or_else(unready)?;
            return Ok(ack(
                id,
                join_ack(Some(&room), &Joined { top, recovery: None }, read, dedupe_ms, true),
            ));
        }
        let most = self.node.config().limits.max_rooms_per_connection;
        if self.rooms.len() >= most {
            let message = format!("in {most} rooms, which is the most: leave one first");
            return Err(RequestError::new(ErrorCode::TooManyRooms, message));
        }
        let hold = self.node.registry.hold(&Topic::Room(room.clone()));
        self.node.registry.ready(&hold.topic).await?;
        // From here on events are held for the member, so that it sees its own `Enter`, after its `Ack`.
        let member = MemberGuard::begin(hold, self.outbox());
        let markers = &self.node.backend.markers;
        let (present, read) =
            tokio::try_join!(self.node.presence.enter(&room, &user), markers.room_marker(&user, &room))?;
        let past = match (since, history) {
            (Some(since), history) => ReplayFrom::Since(since, history),
            (None, Some(count)) if count > 0 => ReplayFrom::Newest(count),
            (None, _) => ReplayFrom::None,
        };
        let outbox = self.outbox().clone();
        let queue_ack = |joined: &Joined| {
            if let Some(id) = id {
                let body = join_ack(Some(&room), joined, read, dedupe_ms, false);
                outbox.reply(server_message::ack(id, body));
            }
        };
        self.node.joins.complete(&member.hold.topic, &outbox, past, queue_ack).await?;
        self.rooms.insert(room, Membership { member, present });
        Ok(Reply::Done)
    }

    async fn leave(&mut self, id: Id<'_>, room: Option<RoomName>) -> Result<Reply> {
        let room = self.membership(room)?;
        let Some(Membership { member, present }) = self.rooms.shift_remove(&room) else {
            return Err(RequestError::new(ErrorCode::Internal, "the room was left while it was being left"));
        };
        // Out of the fan-out first: who leaves does not see its own `Leave`, nor anything after the `Ack`.
        drop(member);
        if let Err(error) = self.node.presence.leave(present).await {
            // The connection has left, and can't do so again. The store hears of it with the next heartbeat that it
            // answers; an error would only have the client repeat what is `not_in_room` by now.
            tracing::debug!(%error, "a departure waits for the store");
        }
        Ok(ack(id, LeaveAck { room: &room }))
    }

    async fn publish(&self, id: Id<'_>, sender: UserName, to: Topic, content: &str) -> Result<Reply> {
        let client_id = id.map(RequestId::as_str);
        let stored = self.node.publish(&sender, &to, content, client_id).await?;
        let body = PublishAck {
            message_id: stored.position.message_id,
            epoch: stored.position.epoch,
            seq: stored.position.seq,
            sent_at: stored.sent_at,
            duplicate: stored.duplicate,
        };
        Ok(ack(id, body))
    }

    async fn typing(&mut self, id: Id<'_>, sender: UserName, topic: Option<Topic>) -> Result<Reply> {
        let (topic, event) = match self.addressed(topic)? {
            Topic::Room(room) => {
                self.node.rooms.check_may_speak(&room)?;
                let event = server_message::typing_in_room(&sender, &room);
                (Topic::Room(room), event)
            }
            Topic::User(user) => {
                self.bind_quietly(&sender).await?;
                let event = server_message::typing_to_user(&sender, &user);
                (Topic::User(user), event)
            }
        };
        if self.typing.passes(&topic, Instant::now()) {
            self.announce(&topic, event).await?;
        }
        Ok(ack(id, Done {}))
    }

    async fn announce(&self, topic: &Topic, event: Bytes) -> Result<()> {
        let origin = Some(self.outbox().id());
        Ok(self.node.backend.broker.announce(topic, origin, event).await?)
    }

    async fn history(
        &mut self,
        id: Id<'_>,
        sender: UserName,
        topic: Option<Topic>,
        before: Option<Before>,
        limit: u32,
    ) -> Result<Reply> {
        let (topic, peer) = match self.addressed(topic)? {
            room @ Topic::Room(_) => (room, None),
            Topic::User(peer) => {
                self.bind_quietly(&sender).await?;
                (Topic::User(sender), Some(peer))
            }
        };
        let page = self.node.history.conversation(&topic, peer.as_ref(), before, limit).await?;
        Ok(id.map_or(Reply::Done, |id| Reply::Ack(server_message::history_ack(id, &page))))
    }

    async fn read_room(&self, id: Id<'_>, user: UserName, room: Option<RoomName>, seq: u64) -> Result<Reply> {
        let room = self.membership(room)?;
        let top = self.rooms[&room].member.hold.topic.top().ok_or_else(unready)?;
        if seq > top.seq {
            let message = format!("`seq` is beyond the room's newest message, {}", top.seq);
            return Err(RequestError::new(ErrorCode::InvalidMessage, message));
        }
        let marker = RoomMarker { epoch: top.epoch, seq };
        if self.node.backend.markers.mark_room(&user, &room, marker).await? {
            let event = server_message::read_room(&user, &room, marker);
            self.announce(&Topic::User(user), event).await?;
        }
        Ok(ack(id, Done {}))
    }

    async fn read_private(
        &mut self,
        id: Id<'_>,
        user: UserName,
        peer: UserName,
        message_id: MessageId,
    ) -> Result<Reply> {
        self.bind_quietly(&user).await?;
        if self.node.backend.markers.mark_private(&user, &peer, message_id).await? {
            let event = server_message::read_private(&user, &peer, message_id);
            self.announce(&Topic::User(user.clone()), event.clone()).await?;
            if peer != user {
                self.announce(&Topic::User(peer), event).await?;
            }
        }
        Ok(ack(id, Done {}))
    }
}

fn unready() -> RequestError {
    RequestError::unavailable(crate::protocol::Outcome::Refused)
}

fn join_ack<'a, R>(
    room: Option<&'a RoomName>,
    joined: &Joined,
    read: R,
    dedupe_ms: u64,
    already: bool,
) -> JoinAck<'a, R> {
    let (recovered, reason, next_seq) = match joined.recovery {
        None => (None, None, None),
        Some(ResumeOutcome::Recovered) => (Some(true), None, None),
        Some(ResumeOutcome::Broken { reason, next_seq }) => (Some(false), Some(reason), Some(next_seq)),
    };
    let already = already.then_some(true);
    JoinAck { room, position: joined.top, read, dedupe_ms, recovered, reason, next_seq, already }
}
