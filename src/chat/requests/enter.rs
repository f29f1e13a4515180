//! `Enter`. Owns the order of its steps; joining the room's log is `join`'s business, and telling the members is that of
//! `presence`. Called by `dispatch`.

use std::time::Instant;

use super::{Handle, Id, Reply, Result, Session, ack, unready};
use crate::chat::error::RequestError;
use crate::chat::join::{Joined, ReplayFrom};
use crate::chat::session::{MemberGuard, Membership};
use crate::protocol::requests::{Enter, EnterAck};
use crate::protocol::{ErrorCode, Topic, encode};

impl Handle for Enter {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let Self { sender_username: user, room, since, history } = self;
        let room = room.unwrap_or_else(|| session.node.rooms.default().clone());
        let dedupe_ms = session.dedupe_ms();
        session.bind_quietly(&user).await?;
        if let Some(index) = session.rooms.get_index_of(&room) {
            let read = session.node.backend.markers.room_marker(&user, &room).await?;
            session.rooms.move_index(index, session.rooms.len() - 1);
            let top = session.rooms[&room].member.hold.topic.top().ok_or_else(unready)?;
            let joined = Session::joined(dedupe_ms, &Joined { top, recovery: None }, true);
            return Ok(ack::<Self>(id, &EnterAck { room, joined, read }));
        }
        let most = session.node.config().limits.max_rooms_per_connection;
        if session.rooms.len() >= most {
            let message =
                format!("this connection is in {most} rooms, the limit: send `Leave` for one first");
            return Err(RequestError::new(ErrorCode::TooManyRooms, message));
        }
        let node = session.node.clone();
        let asked = Instant::now();
        let hold = node.registry.hold(&Topic::Room(room.clone()));
        node.registry.ready(&hold.topic).await?;
        // From here on events are held for the member, so that it sees its own `Enter`, after its `Ack`.
        let member = MemberGuard::begin(hold, session.outbox());
        let markers = &node.backend.markers;
        let (present, read) =
            tokio::try_join!(node.presence.enter(&room, &user), markers.room_marker(&user, &room))?;
        let past = match (since, history) {
            (Some(since), history) => ReplayFrom::Since(since, history),
            (None, Some(count)) if count > 0 => ReplayFrom::Newest(count),
            (None, _) => ReplayFrom::None,
        };
        let outbox = session.outbox().clone();
        let queue_ack = |joined: &Joined| {
            if let Some(id) = id {
                let joined = Session::joined(dedupe_ms, joined, false);
                outbox.reply(encode::ack::<Self>(id, &EnterAck { room: room.clone(), joined, read }));
            }
        };
        node.joins.complete(&member.hold.topic, &outbox, past, asked, queue_ack).await?;
        session.rooms.insert(room, Membership { member, present });
        Ok(Reply::Done)
    }
}
