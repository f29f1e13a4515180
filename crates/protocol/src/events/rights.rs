//! What clients see of the rights of rooms. Owns the JSON of the entries of a room's log, of an invitation in a private log, and of the
//! event that tells a user why the connection is no longer in a room.

use serde::{Deserialize, Serialize};

use super::Event;
use super::log_entry::log_entries;
use crate::name::{RoomName, UserName};
use crate::rights::{Action, Role, RoomKind};
use crate::word::Word;

log_entries! {
    {
        /// The user that did it. Left out for an administrator who gave no name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sender_username: Option<UserName>,
        /// The room.
        room: RoomName,
    }

    /// A room with rights was made, or changed.
    Room as "RoomEvent" {
        /// Who may enter and write. Left out if that was not changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<Word<RoomKind>>,
        /// What it is about; empty if it is about nothing any longer. Left out if that was not changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic: Option<String>,
        /// The slow mode in milliseconds, 0 if it ended. Left out if that was not changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slow_mode_ms: Option<u64>,
        /// Who is the owner of a new room.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<UserName>,
    }

    /// Something was done to a user of a room.
    Moderation as "ModerationEvent" {
        /// What.
        action: Word<Action>,
        /// To whom.
        target_username: UserName,
        /// The new role, if the action gives one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<Word<Role>>,
        /// When a ban or a mute ends, in Unix milliseconds. Left out if only a moderator ends it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    }

    /// The user is invited to a room. An entry of the private log.
    Invitation as "InvitationEvent" {
        /// Who is invited: the user of this connection.
        target_username: UserName,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    }
}

/// The connection is no longer in a room. It stays open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Removed {
    /// The room.
    pub room: RoomName,
    /// What was done: after `kick`, the user may enter again at once. `private`: the room is closed to users without a role now.
    pub action: Word<RemovedBy>,
    /// When a ban ends, in Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

crate::word::words! {
    /// Why a connection is no longer in a room.
    pub enum RemovedBy {
        /// The user lost the role.
        Remove = "remove",
        /// The user was sent out, and may enter again.
        Kick = "kick",
        /// The user was banned.
        Ban = "ban",
        /// The room became private, and the user has no role.
        Private = "private",
    }
}

impl RemovedBy {
    /// The reason that goes with an action; none for one that takes nobody out.
    pub fn action(action: Action) -> Option<Self> {
        match action {
            Action::Remove => Some(Self::Remove),
            Action::Kick => Some(Self::Kick),
            Action::Ban => Some(Self::Ban),
            _ => None,
        }
    }
}

impl Event for Removed {
    const KIND: &'static str = "Removed";
}
