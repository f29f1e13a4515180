//! `Read`. Owns the checks of a marker, and to whom its move is announced; where it may move to is the backend's
//! business. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session, ack, unready};
use crate::backend::{Move, PageLimit, Range};
use crate::chat::error::RequestError;
use crate::protocol::requests::{Done, Read, ReadUpTo};
use crate::protocol::{ErrorCode, MessageId, RoomMarker, RoomName, Topic, UserName, encode, events};

impl Handle for Read {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let user = self.sender_username;
        match self.up_to {
            ReadUpTo::Room { room, seq } => read_room(session, user, room, seq, self.set).await?,
            ReadUpTo::User { target_username, message_id } => {
                read_private(session, user, target_username, message_id, self.set).await?;
            }
        }
        Ok(ack::<Self>(id, &Done {}))
    }
}

fn move_of(set: bool) -> Move {
    if set { Move::Anywhere } else { Move::Forward }
}

async fn read_room(
    session: &Session,
    user: UserName,
    room: Option<RoomName>,
    seq: u64,
    set: bool,
) -> Result<()> {
    let room = session.membership(room)?;
    let top = session.rooms[&room].member.hold.topic.top().ok_or_else(unready)?;
    if seq > top.seq {
        let message = format!("`seq` is beyond the room's newest message, {}", top.seq);
        return Err(RequestError::new(ErrorCode::InvalidMessage, message));
    }
    let marker = RoomMarker { epoch: top.epoch, seq };
    if set {
        session.node.sent.forget(&user, &Topic::Room(room.clone()));
    }
    if session.node.backend.markers.mark_room(&user, &room, marker, move_of(set)).await? {
        let up_to = events::ReadUpTo::Room { room, marker };
        let event = events::Read { sender_username: user.clone(), up_to, set };
        session.announce(&Topic::User(user), encode::event_json(&event)).await?;
    }
    Ok(())
}

async fn read_private(
    session: &mut Session,
    user: UserName,
    peer: UserName,
    message_id: MessageId,
    set: bool,
) -> Result<()> {
    session.bind_quietly(&user).await?;
    check_is_written(session, &user, message_id).await?;
    if set {
        session.node.sent.forget(&user, &Topic::User(peer.clone()));
    }
    if session.node.backend.markers.mark_private(&user, &peer, message_id, move_of(set)).await? {
        let up_to = events::ReadUpTo::User { target_username: peer.clone(), message_id };
        let event = encode::event_json(&events::Read { sender_username: user.clone(), up_to, set });
        session.announce(&Topic::User(user.clone()), event.clone()).await?;
        if peer != user {
            session.announce(&Topic::User(peer), event).await?;
        }
    }
    Ok(())
}

/// Refuses a marker in the future: it would count messages as read that nobody has written yet. The ids of a log sort by `seq`.
async fn check_is_written(session: &Session, user: &UserName, message_id: MessageId) -> Result<()> {
    let inbox = session.bound.as_ref().map(|bound| &bound.inbox.hold.topic);
    if inbox.and_then(|inbox| inbox.top()).is_some_and(|top| message_id <= top.message_id) {
        return Ok(());
    }
    // This node may be the last to hear of a message: its `Ack`, or another node, may have been faster.
    let none = PageLimit { messages: 0, bytes: 0 };
    let log = session.node.backend.broker.history(&Topic::User(user.clone()), Range::Top, none).await?;
    if message_id <= log.top.message_id {
        return Ok(());
    }
    let message = "`message_id` is beyond your newest private message";
    Err(RequestError::new(ErrorCode::InvalidMessage, message))
}
