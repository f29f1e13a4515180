//! `Room`: makes a room with rights, or changes one. Owns the request, and the `Ack` that it shares with `Moderate` and `Block`.

use serde::{Deserialize, Deserializer, Serialize, de};

use super::Request;
use crate::id::{Epoch, MessageId};
use crate::name::{RoomName, UserName};
use crate::number;
use crate::rights::{MAX_SLOW_MODE_MS, MAX_TOPIC_BYTES, RoomKind};

/// Makes a room with rights, of which the sender is the owner then, or changes one. A new room needs a `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "RoomRequest"))]
pub struct Room {
    /// The user that asks for it.
    pub sender_username: UserName,
    /// The room.
    pub room: RoomName,
    /// Who may enter and write. Only an owner changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<RoomKind>,
    /// What the room is about; empty to take that away.
    #[serde(default, deserialize_with = "topic", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = MAX_TOPIC_BYTES)))]
    pub topic: Option<String>,
    /// How long a user has to wait between two messages, in milliseconds; 0 to end that.
    #[serde(default, deserialize_with = "slow_mode", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(max = MAX_SLOW_MODE_MS)))]
    pub slow_mode_ms: Option<u64>,
}

impl Request for Room {
    const KIND: &'static str = "Room";
    const COST: u32 = 5;
    const FEATURE: Option<&'static str> = Some("room");
    type Ack = RightsAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

/// The `Ack` of `Room`, `Moderate` and `Block`: the entry about it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RightsAck {
    /// The id of the entry. Not if nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The epoch of the log: that of the room, or the private one.
    pub epoch: Epoch,
    /// The place of the entry in that log. Not if nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When the node accepted it, in Unix milliseconds.
    pub sent_at: u64,
    /// A request with this `id` had been stored before; this is the `Ack` of that one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// All was as wanted already: nothing was stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
}

/// Reads the topic of a room.
///
/// # Errors
/// It is too long.
pub fn topic<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        Some(topic) if topic.len() > MAX_TOPIC_BYTES => {
            Err(de::Error::custom(format!("must have at most {MAX_TOPIC_BYTES} bytes")))
        }
        topic => Ok(topic),
    }
}

/// Reads the slow mode of a room.
///
/// # Errors
/// It is longer than a day.
pub fn slow_mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number::read_optional(deserializer, 0, MAX_SLOW_MODE_MS)
}
