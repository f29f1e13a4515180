//! `Enter`. Owns the order of its steps; joining the room's log is `join`'s business, and telling the members is that of
//! `presence`. Called by `dispatch`.

use std::time::Instant;

use super::room::shown;
use super::{Handle, Id, Reply, Result, Session};
use crate::chat::error::RequestError;
use crate::chat::join::{Joined, ReplayFrom};
use crate::chat::membership::{MemberGuard, Membership};
use crate::chat::older_messages::Wanted;
use crate::chat::reading::check_reading;
use crate::protocol::requests::{Enter, EnterAck};
use crate::protocol::{ErrorCode, RoomName, Since, Topic, UserName, encode};

impl Handle for Enter {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let Self { sender_username: user, room, since, history } = self;
        let max_bytes = session.node.config().limits.delivery_bytes();
        let wanted = history.map(|count| Wanted { count, reader: user.clone(), max_bytes });
        let room = room.unwrap_or_else(|| session.node.rooms.default().clone());
        let durations = session.durations();
        session.bind_quietly(&user).await?;
        // The connection may have been taken out while this request waited.
        session.leave_removed();
        if let Some(index) = session.rooms.get_index_of(&room) {
            again(session, id, &user, &room, since.map(|since| (since, wanted))).await?;
            session.rooms.move_index(index, session.rooms.len() - 1);
            session.is_current_lost = false;
            return Ok(Reply::Done);
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
        let is_granted = session.grant_in(Some(&room)).read;
        let member = MemberGuard::begin(hold, session.outbox(), is_granted);
        // Before anybody sees the user there.
        let rights = session.enter_with_rights(&member, &room, &user).await?;
        let markers = &node.backend.markers;
        let (present, read) =
            tokio::try_join!(node.presence.enter(&room, &user), markers.room_marker(&user, &room))?;
        let past = match (since, wanted) {
            (Some(since), wanted) => ReplayFrom::Since(since, wanted),
            (None, Some(wanted)) if wanted.count > 0 => ReplayFrom::Newest(wanted),
            (None, _) => ReplayFrom::None,
        };
        let outbox = session.outbox().clone();
        let queue_ack = |joined: &Joined| {
            if let Some(id) = id {
                let joined = Session::joined(durations, joined, false);
                let rights = rights.map(Box::new);
                outbox.reply(encode::ack::<Self>(id, &EnterAck { room: room.clone(), joined, read, rights }));
            }
        };
        let joined = node.joins.complete(&member.hold.topic, &outbox, past, asked, queue_ack).await;
        session.or_why_taken_out(joined, &member.hold.topic, &user).await?;
        session.rooms.insert(room, Membership { member, present: Some(present) });
        session.is_current_lost = false;
        Ok(Reply::Done)
    }
}

/// Queues the `Ack` for a room that the connection is in. Only a position that comes late can change what it receives.
async fn again(
    session: &Session,
    id: Id<'_>,
    user: &UserName,
    room: &RoomName,
    late: Option<(Since, Option<Wanted>)>,
) -> Result<()> {
    let (node, outbox, durations) = (&session.node, session.outbox(), session.durations());
    let read = node.backend.markers.room_marker(user, room).await?;
    let topic = &session.rooms[room].member.hold.topic;
    let rights = if topic.has_rights() { node.backend.broker.rights(room, user).await? } else { None };
    // The store may have rights that have not reached this node.
    rights.as_ref().map_or(Ok(()), |rights| check_reading(&session.asker(user, Some(room)), rights))?;
    let may_write = session.grant_in(Some(room)).write;
    let rights = rights.map(|rights| Box::new(shown(&rights, may_write)));
    let queue_ack = |joined: &Joined| {
        if let Some(id) = id {
            let joined = Session::joined(durations, joined, true);
            outbox.reply(encode::ack::<Enter>(id, &EnterAck { room: room.clone(), joined, read, rights }));
        }
    };
    let answered = match late {
        Some(late) => node.joins.resume_late(topic, outbox, late, queue_ack).await,
        None => node.joins.stay(topic, outbox, queue_ack),
    };
    session.or_why_taken_out(answered, topic, user).await
}
