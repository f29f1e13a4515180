//! `Enter`: joins a room. Owns the request and its `Ack`.

use serde::{Deserialize, Deserializer, Serialize};

use super::Request;
use super::history::MAX_HISTORY;
use super::joined::Joined;
use crate::name::{RoomName, UserName};
use crate::number;
use crate::position::{RoomMarker, Since};
use crate::rights::RoomRights;

/// Joins a room and makes it the connection's current one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "EnterRequest"))]
pub struct Enter {
    /// The user that enters.
    pub sender_username: UserName,
    /// The room; without one, the server's default room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    /// The last position that the client has: what came after it follows the `Ack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// The number of newest messages that are to follow the `Ack`, at most 200.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "history")]
    #[cfg_attr(feature = "schema", schemars(range(max = MAX_HISTORY)))]
    pub history: Option<u32>,
}

impl Request for Enter {
    const KIND: &'static str = "Enter";
    const COST: u32 = 5;
    const FEATURE: Option<&'static str> = None;
    type Ack = EnterAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

fn history<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Ok(number::read_optional(deserializer, 0, MAX_HISTORY.into())?.map(|count| count as u32))
}

/// The `Ack` of `Enter`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EnterAck {
    /// The room that was entered.
    pub room: RoomName,
    /// Where the room's log is.
    #[serde(flatten)]
    pub joined: Joined,
    /// How far the user has read in the room.
    pub read: Option<RoomMarker>,
    /// Of a room with rights: what it is, and what the user is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights: Option<Box<RoomRights>>,
}
