//! `GroupChat`: sends a message to a room. Owns the request, and the `Ack` of every publish.

use serde::{Deserialize, Serialize};

use super::Request;
use crate::id::{Epoch, MessageId};
use crate::name::{RoomName, UserName};

/// Sends a message to all members of a room, the sender's own connections included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "GroupChatRequest"))]
pub struct GroupChat {
    /// The user that sends it.
    pub sender_username: UserName,
    /// The text.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub content: String,
    /// The room; without one, the connection's current room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
}

impl Request for GroupChat {
    const KIND: &'static str = "GroupChat";
    const FEATURE: Option<&'static str> = None;
    type Ack = PublishAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }

    fn content(&self) -> Option<&str> {
        Some(&self.content)
    }
}

/// The `Ack` of `GroupChat` and `PrivateChat`: the message is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PublishAck {
    /// The message's id.
    pub message_id: MessageId,
    /// The log's epoch; of a private message that of the sender's own log.
    pub epoch: Epoch,
    /// The message's place in that log.
    pub seq: u64,
    /// When the node accepted it, in Unix milliseconds.
    pub sent_at: u64,
    /// A publish with this `id` had been stored before; this is the `Ack` of that one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}
