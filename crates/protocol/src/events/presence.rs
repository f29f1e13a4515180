//! Entering and leaving, as the members of a room see it. Owns the two events; which connection makes a user present is
//! the node's business.

use serde::{Deserialize, Serialize};

use super::Event;
use crate::name::{RoomName, UserName};

/// A user's first connection in the whole cluster entered the room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "EnterEvent"))]
pub struct Enter {
    /// The user that entered.
    pub sender_username: UserName,
    /// The room.
    pub room: RoomName,
}

impl Event for Enter {
    const KIND: &'static str = "Enter";
}

/// A user's last connection in the whole cluster left the room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "LeaveEvent"))]
pub struct Leave {
    /// The user that left.
    pub sender_username: UserName,
    /// The room.
    pub room: RoomName,
}

impl Event for Leave {
    const KIND: &'static str = "Leave";
}
