//! What has a log and a channel of its own. Owns the choice between a room and a user; knows nothing of keys, members
//! or subscriptions. Used by every layer, the clients included.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::name::{RoomName, UserName};

/// One log with its channel: a room's, or a user's private messages'. In a request, what the request is about.
///
/// In JSON it is the one field `room` or `target_username`, mostly flattened into what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Topic {
    /// A room.
    #[serde(rename = "room")]
    Room(RoomName),
    /// A user's private log; in a request, the conversation with this user.
    #[serde(rename = "target_username")]
    User(UserName),
}

impl Topic {
    /// Which kind of topic it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Room(_) => "room",
            Self::User(_) => "user",
        }
    }

    /// The room, if it is one.
    pub fn room(&self) -> Option<&RoomName> {
        match self {
            Self::Room(room) => Some(room),
            Self::User(_) => None,
        }
    }

    /// The user, if it is one.
    pub fn user(&self) -> Option<&UserName> {
        match self {
            Self::User(user) => Some(user),
            Self::Room(_) => None,
        }
    }
}

/// As people write it: `#room`, `@user`.
impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(room) => write!(f, "#{room}"),
            Self::User(user) => write!(f, "@{user}"),
        }
    }
}

impl From<RoomName> for Topic {
    fn from(room: RoomName) -> Self {
        Self::Room(room)
    }
}

impl From<UserName> for Topic {
    fn from(user: UserName) -> Self {
        Self::User(user)
    }
}
