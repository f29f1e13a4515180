//! A read marker moved. Owns the event; who gets it is the node's business: the user's other connections, and for
//! private messages the peer.

use serde::{Deserialize, Serialize};

use super::Event;
use crate::id::MessageId;
use crate::name::{RoomName, UserName};
use crate::position::RoomMarker;

/// A user has read up to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ReadEvent"))]
pub struct Read {
    /// The user that has read.
    pub sender_username: UserName,
    /// What it has read.
    #[serde(flatten)]
    pub up_to: ReadUpTo,
    /// The marker may have gone back: what follows it is unread again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub set: bool,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ReadUpToEvent"))]
pub enum ReadUpTo {
    /// All of a room up to this message.
    Room {
        /// The room.
        room: RoomName,
        /// The message.
        #[serde(flatten)]
        marker: RoomMarker,
    },
    /// All private messages between the two users up to this one.
    User {
        /// The other user.
        target_username: UserName,
        /// The message.
        message_id: MessageId,
    },
}

impl Event for Read {
    const KIND: &'static str = "Read";
}
