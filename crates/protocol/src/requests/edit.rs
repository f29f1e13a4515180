//! `Edit`: replaces the text of a message. Owns the request and the `Ack` of every change of a message.

use serde::{Deserialize, Serialize};

use super::Request;
use crate::extras;
use crate::id::{Epoch, MessageId};
use crate::name::{RoomName, UserName};

/// Replaces the text of a message. Only its author may. `room` and `target_username` exclude each other; without either,
/// the connection's current room is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "EditRequest"))]
pub struct Edit {
    /// The user that edits.
    pub sender_username: UserName,
    /// The room that the message is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    /// Or the user that the conversation is with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_username: Option<UserName>,
    /// The message. Never that of an edit.
    #[serde(deserialize_with = "extras::required_message_id")]
    pub message_id: MessageId,
    /// The new text.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub content: String,
    /// The last edit that the client knows (without any: the message itself). If there is a newer one, the request is refused.
    #[serde(default, deserialize_with = "extras::message_id", skip_serializing_if = "Option::is_none")]
    pub if_version: Option<MessageId>,
}

impl Request for Edit {
    const KIND: &'static str = "Edit";
    const COST: u32 = 2;
    const FEATURE: Option<&'static str> = Some("edit");
    type Ack = ChangeAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }

    fn content(&self) -> Option<&str> {
        Some(&self.content)
    }
}

/// The `Ack` of `Edit`, `Retract` and `React`: the change is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeAck {
    /// The id of the change; of one that changed nothing, the id of the message.
    pub message_id: MessageId,
    /// The log's epoch; in a private conversation that of the sender's own log.
    pub epoch: Epoch,
    /// The place of the change in that log. Not if nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When the node accepted it, in Unix milliseconds.
    pub sent_at: u64,
    /// A request with this `id` had been stored before; this is the `Ack` of that one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// The message was as wanted already: nothing was stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
}
