//! `Leave`: leaves a room. Owns the request and its `Ack`.

use serde::{Deserialize, Serialize};

use super::Request;
use crate::name::{RoomName, UserName};

/// Leaves a room. After the `Ack`, nothing more of that room comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "LeaveRequest"))]
pub struct Leave {
    /// The user that leaves.
    pub sender_username: UserName,
    /// The room; without one, the connection's current room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
}

impl Request for Leave {
    const KIND: &'static str = "Leave";
    const FEATURE: Option<&'static str> = None;
    type Ack = LeaveAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

/// The `Ack` of `Leave`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeaveAck {
    /// The room that was left.
    pub room: RoomName,
}
