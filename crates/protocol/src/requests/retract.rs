//! `Retract`: takes a message back. Owns the request; its `Ack` is that of every change.

use serde::{Deserialize, Deserializer, Serialize, de};

use super::Request;
use super::edit::ChangeAck;
use crate::extras;
use crate::id::MessageId;
use crate::name::{RoomName, UserName};

/// The most bytes of a `reason`.
pub const MAX_REASON_BYTES: usize = 256;

/// Takes a message back: its text is erased from the log. Only its author may. `room` and `target_username` exclude each other;
/// without either, the connection's current room is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "RetractRequest"))]
pub struct Retract {
    /// The user that takes it back.
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
    /// Why, for people.
    #[serde(default, deserialize_with = "reason", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = MAX_REASON_BYTES)))]
    pub reason: Option<String>,
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        Some(reason) if reason.is_empty() || reason.len() > MAX_REASON_BYTES => {
            Err(de::Error::custom(format!("must have 1 to {MAX_REASON_BYTES} bytes")))
        }
        reason => Ok(reason),
    }
}

impl Request for Retract {
    const KIND: &'static str = "Retract";
    const COST: u32 = 2;
    const FEATURE: Option<&'static str> = Some("retract");
    type Ack = ChangeAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}
