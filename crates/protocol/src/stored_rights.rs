//! What the log stores of the rights of a room, and a private log of an invitation and of who is blocked. Owns the bytes of these entries, and what nodes read
//! of them again; what they mean is the business of the stores. Used by nodes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::events::{Block, Event, Invitation, Moderation, Room};
use crate::id::MessageId;
use crate::name::{RoomName, UserName};
use crate::rights::{Action, Role, RoomKind};
use crate::stored::{members, split_kind};

/// The stored part of an entry about rights.
#[derive(Serialize)]
pub struct RightsBody<'a> {
    /// Who did it; nobody for an administrator who gave no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_username: Option<&'a UserName>,
    /// The room, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<&'a RoomName>,
    /// What was done.
    #[serde(flatten)]
    pub entry: RightsEntry<'a>,
    /// The id of the entry.
    pub message_id: MessageId,
    /// The `id` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<&'a str>,
    /// Unix ms.
    pub sent_at: u64,
}

/// What was done.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum RightsEntry<'a> {
    /// A room was made or changed.
    Room {
        /// The new kind.
        #[serde(skip_serializing_if = "Option::is_none")]
        kind: Option<RoomKind>,
        /// The new topic.
        #[serde(skip_serializing_if = "Option::is_none")]
        topic: Option<&'a str>,
        /// The new slow mode.
        #[serde(skip_serializing_if = "Option::is_none")]
        slow_mode_ms: Option<u64>,
        /// The owner of a new room.
        #[serde(skip_serializing_if = "Option::is_none")]
        owner: Option<&'a UserName>,
    },
    /// Something was done to a user.
    Moderation {
        /// What.
        action: Action,
        /// To whom.
        target_username: &'a UserName,
        /// The new role.
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<Role>,
        /// When it ends, Unix ms.
        #[serde(skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    /// A user is invited. For the private log of the user.
    Invitation {
        /// Who.
        target_username: &'a UserName,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    /// The user blocks another one, or ends that. For its own private log.
    Block {
        /// Whom.
        target_username: &'a UserName,
        /// True to block.
        on: bool,
    },
}

impl RightsBody<'_> {
    /// Encodes the stored part.
    pub fn encode(&self) -> Bytes {
        let kind = match self.entry {
            RightsEntry::Room { .. } => Room::KIND,
            RightsEntry::Moderation { .. } => Moderation::KIND,
            RightsEntry::Invitation { .. } => Invitation::KIND,
            RightsEntry::Block { .. } => Block::KIND,
        };
        members(kind, self, 512)
    }
}

/// What a node has to do once it delivers an entry about rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RightsChange {
    /// The room was made or changed: it has this kind now, if that was changed, and a new one this owner.
    Room {
        /// The new kind.
        kind: Option<RoomKind>,
        /// The owner of a new room.
        owner: Option<UserName>,
    },
    /// Something was done to a user.
    User {
        /// What.
        action: Action,
        /// To whom.
        user: UserName,
        /// The new role.
        role: Option<Role>,
        /// When it ends, Unix ms.
        until: Option<u64>,
        /// Why.
        reason: Option<String>,
    },
    /// The user of a private log has blocked another one, or has ended that.
    Block {
        /// Whom.
        user: UserName,
        /// True if it is blocked now.
        on: bool,
    },
}

/// Reads an entry of a log about rights. `None` for any other entry.
pub fn rights_change(stored: &[u8]) -> Option<RightsChange> {
    #[derive(Deserialize)]
    struct RoomBody {
        kind: Option<RoomKind>,
        owner: Option<UserName>,
    }
    #[derive(Deserialize)]
    struct ModerationBody {
        action: Action,
        target_username: UserName,
        role: Option<Role>,
        until: Option<u64>,
        reason: Option<String>,
    }
    #[derive(Deserialize)]
    struct BlockBody {
        target_username: UserName,
        on: bool,
    }
    let (kind, members) = split_kind(stored);
    let json = || [b"{", members, b"}"].concat();
    if kind == Room::KIND {
        let RoomBody { kind, owner } = serde_json::from_slice(&json()).ok()?;
        return Some(RightsChange::Room { kind, owner });
    }
    if kind == Block::KIND {
        let BlockBody { target_username: user, on } = serde_json::from_slice(&json()).ok()?;
        return Some(RightsChange::Block { user, on });
    }
    if kind != Moderation::KIND {
        return None;
    }
    let ModerationBody { action, target_username: user, role, until, reason } =
        serde_json::from_slice(&json()).ok()?;
    Some(RightsChange::User { action, user, role, until, reason })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::encode::put_chat;
    use crate::stored::is_message;
    use crate::{Epoch, Topic};

    #[test]
    fn entries_about_rights_are_spliced_and_read_again() {
        let (ann, bob) = (UserName::parse("a\"nn").unwrap(), UserName::parse("bob").unwrap());
        let room = RoomName::parse("ops").unwrap();
        let message_id = MessageId::generate();
        let body = |entry| RightsBody {
            sender_username: Some(&ann),
            room: Some(&room),
            entry,
            message_id,
            client_id: None,
            sent_at: 7,
        };
        let (action, reason) = (Action::Ban, Some("spam"));
        let ban =
            RightsEntry::Moderation { action, target_username: &bob, role: None, until: Some(9), reason };
        let ban = body(ban).encode();
        let (user, reason) = (bob.clone(), Some("spam".to_owned()));
        assert_eq!(
            rights_change(&ban),
            Some(RightsChange::User { action, user, role: None, until: Some(9), reason })
        );
        let made = RightsEntry::Room {
            kind: Some(RoomKind::Private),
            topic: Some(""),
            slow_mode_ms: None,
            owner: Some(&ann),
        };
        let made = body(made).encode();
        assert_eq!(
            rights_change(&made),
            Some(RightsChange::Room { kind: Some(RoomKind::Private), owner: Some(ann.clone()) })
        );
        let block = RightsBody { room: None, ..body(RightsEntry::Block { target_username: &bob, on: true }) };
        let block = block.encode();
        assert_eq!(rights_change(&block), Some(RightsChange::Block { user: bob.clone(), on: true }));
        assert!(!is_message(&block));
        let invitation = body(RightsEntry::Invitation { target_username: &bob, reason: None }).encode();
        assert!(rights_change(&invitation).is_none() && !is_message(&invitation) && !is_message(&made));
        let topic = Topic::Room(room.clone());
        let read = |stored: &[u8]| -> serde_json::Value {
            let mut frame = BytesMut::new();
            put_chat(&mut frame, &topic, stored, Epoch::generate(), 3);
            let start = frame.iter().position(|byte| *byte == b'{').unwrap();
            serde_json::from_slice(&frame[start..]).unwrap()
        };
        let frame = read(&ban);
        assert_eq!(frame["message_type"], "Moderation");
        let event: Moderation = serde_json::from_value(frame["message_body"].clone()).unwrap();
        assert_eq!((event.seq, event.action.known(), event.sender_username), (3, Some(action), Some(ann)));
        let event: Room = serde_json::from_value(read(&made)["message_body"].clone()).unwrap();
        assert_eq!(
            (event.kind.unwrap().known(), event.topic),
            (Some(RoomKind::Private), Some(String::new()))
        );
        let event: Invitation = serde_json::from_value(read(&invitation)["message_body"].clone()).unwrap();
        assert_eq!((event.room, event.target_username), (room, bob));
    }
}
