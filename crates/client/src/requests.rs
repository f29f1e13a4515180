//! The requests that the model and programs have in common. Owns how each is made; sends nothing, and does not know whether
//! the node knows the request. Called by the model, and by the handle of a program.

use chatnode_protocol::requests::{
    Auth, Before, Enter, History, Leave, MAX_MARKERS, Markers, Members, Read, ReadUpTo, Typing,
};
use chatnode_protocol::{MAX_MEMBERS, Position, RoomName, Topic, UserName};

/// The request to sign in, and to resume the private log from this position.
pub(crate) fn auth(me: &UserName, since: Option<Position>) -> Auth {
    Auth { sender_username: me.clone(), since: since.map(Into::into) }
}

/// The request to enter a room, and to resume it from this position; without one, with this many old messages.
pub(crate) fn enter(me: &UserName, room: RoomName, since: Option<Position>, history: u32) -> Enter {
    Enter {
        sender_username: me.clone(),
        room: Some(room),
        history: since.is_none().then_some(history),
        since: since.map(Into::into),
    }
}

/// The request to leave a room.
pub(crate) fn leave(me: &UserName, room: RoomName) -> Leave {
    Leave { sender_username: me.clone(), room: Some(room) }
}

/// The request for a page of messages older than this position.
pub(crate) fn history(me: &UserName, topic: Topic, before: Option<Position>, limit: u32) -> History {
    let before = before.map(|position| Before { epoch: Some(position.epoch), seq: position.seq });
    History { sender_username: me.clone(), topic: Some(topic), before, limit, max_bytes: None }
}

/// The request for a page of the members of a room, after this name.
pub(crate) fn members(me: &UserName, room: RoomName, after: Option<UserName>) -> Members {
    Members { sender_username: me.clone(), room: Some(room), after, limit: MAX_MEMBERS, max_bytes: None }
}

/// The request for a page of the user's read markers with peers, after this name.
pub(crate) fn markers(me: &UserName, after: Option<UserName>) -> Markers {
    Markers { sender_username: me.clone(), after, limit: MAX_MARKERS }
}

/// A typing notice.
pub(crate) fn typing(me: &UserName, topic: Topic) -> Typing {
    Typing { sender_username: me.clone(), topic: Some(topic) }
}

/// A read marker at this message of a room or a conversation.
pub(crate) fn read(me: &UserName, topic: Topic, position: &Position) -> Read {
    let up_to = match topic {
        Topic::Room(room) => ReadUpTo::Room { room: Some(room), seq: position.seq },
        Topic::User(target_username) => ReadUpTo::User { target_username, message_id: position.message_id },
    };
    Read { sender_username: me.clone(), up_to, set: false }
}
