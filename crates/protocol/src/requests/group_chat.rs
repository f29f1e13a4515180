//! `GroupChat`: sends a message to a room. Owns the request, and the `Ack` of every publish.

use serde::{Deserialize, Serialize};

use super::Request;
use crate::extras::{self, Attachment, Data, Extras};
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
    /// The message that this one answers.
    #[serde(default, deserialize_with = "extras::message_id", skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// The first message of the thread that this one belongs to.
    #[serde(default, deserialize_with = "extras::message_id", skip_serializing_if = "Option::is_none")]
    pub thread: Option<MessageId>,
    /// The users that are mentioned.
    #[serde(default, deserialize_with = "extras::mentions", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<UserName>>", length(max = extras::MAX_MENTIONS)))]
    pub mentions: Vec<UserName>,
    /// What is attached; together at most 8,192 bytes as JSON.
    #[serde(default, deserialize_with = "extras::attachments", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<Attachment>>", length(max = extras::MAX_ATTACHMENTS)))]
    pub attachments: Vec<Attachment>,
    /// An object of the application's own; at most 4,096 bytes.
    #[serde(default, deserialize_with = "extras::data", skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
}

impl GroupChat {
    /// A message with nothing but its text.
    pub fn text(sender_username: UserName, room: Option<RoomName>, content: String) -> Self {
        Self {
            sender_username,
            content,
            room,
            reply_to: None,
            thread: None,
            mentions: Vec::new(),
            attachments: Vec::new(),
            data: None,
        }
    }

    /// What it says beside its text.
    pub fn extras(&self) -> Extras {
        Extras {
            reply_to: self.reply_to,
            thread: self.thread,
            mentions: self.mentions.clone(),
            attachments: self.attachments.clone(),
            data: self.data.clone(),
        }
    }
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
