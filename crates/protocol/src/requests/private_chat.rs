//! `PrivateChat`: sends a message to a user. Owns the request; its `Ack` is that of every publish.

use serde::{Deserialize, Serialize};

use super::Request;
use super::group_chat::PublishAck;
use crate::extras::{self, Attachment, Data, Extras};
use crate::id::MessageId;
use crate::name::UserName;

/// Sends a message to all connections of a user, and to the sender's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "PrivateChatRequest"))]
pub struct PrivateChat {
    /// The user that sends it.
    pub sender_username: UserName,
    /// The user that gets it.
    pub target_username: UserName,
    /// The text.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub content: String,
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

impl PrivateChat {
    /// A message with nothing but its text.
    pub fn text(sender_username: UserName, target_username: UserName, content: String) -> Self {
        Self {
            sender_username,
            target_username,
            content,
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

impl Request for PrivateChat {
    const KIND: &'static str = "PrivateChat";
    const FEATURE: Option<&'static str> = None;
    type Ack = PublishAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }

    fn content(&self) -> Option<&str> {
        Some(&self.content)
    }
}
