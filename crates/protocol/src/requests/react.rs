//! `React`: adds a reaction to a message, or takes it away. Owns the request and what a reaction may be; its `Ack` is that of
//! every change.

use serde::{Deserialize, Deserializer, Serialize, de};
use unicode_normalization::UnicodeNormalization;

use super::Request;
use super::edit::ChangeAck;
use crate::extras;
use crate::id::MessageId;
use crate::name::{RoomName, UserName};

/// The most bytes of a reaction, in Unicode NFC.
pub const MAX_REACTION_BYTES: usize = 64;

/// The most kinds of reactions on one message, and the most reactions of one user on it.
pub const MAX_REACTIONS: usize = 20;

/// Adds a reaction to a message, or takes it away. `room` and `target_username` exclude each other; without either, the
/// connection's current room is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ReactRequest"))]
pub struct React {
    /// The user that reacts.
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
    /// An emoji, or any short text; normalised to Unicode NFC.
    #[serde(deserialize_with = "reaction")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = MAX_REACTION_BYTES)))]
    pub reaction: String,
    /// True to add it, false to take it away.
    pub on: bool,
}

fn reaction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    // NFC can make a text longer, but never three times as long.
    let normal: String = text.nfc().take(3 * MAX_REACTION_BYTES + 1).collect();
    let is_invisible = normal.chars().all(char::is_whitespace);
    if is_invisible || normal.len() > MAX_REACTION_BYTES || normal.chars().any(char::is_control) {
        let message = format!("must have 1 to {MAX_REACTION_BYTES} bytes and no control characters");
        return Err(de::Error::custom(message));
    }
    Ok(normal)
}

impl Request for React {
    const KIND: &'static str = "React";
    const COST: u32 = 2;
    const FEATURE: Option<&'static str> = Some("react");
    type Ack = ChangeAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}
