//! A stored chat message, as clients see it. Owns its JSON; nodes do not build it from this type but splice it from the
//! stored body (see `encode`), and a test holds the two to each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::extras::{Attachment, Data};
use crate::id::{Epoch, MessageId, RequestId};
use crate::name::UserName;
use crate::position::Position;
use crate::topic::Topic;

/// A message to a room (`GroupChat`) or to a user (`PrivateChat`), live or from a page of history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChatMessage {
    /// The user that sent it.
    pub sender_username: UserName,
    /// The room or the user that it was sent to.
    #[serde(flatten)]
    pub topic: Topic,
    /// The text.
    pub content: String,
    /// The message's id.
    pub message_id: MessageId,
    /// The `id` of the request that published it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<RequestId>,
    /// When the node accepted it, in Unix milliseconds.
    pub sent_at: u64,
    /// The epoch of the log that it was read from: the room's, or the private log of the connection's user.
    pub epoch: Epoch,
    /// Its place in that log.
    pub seq: u64,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// The first message of its thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<MessageId>,
    /// The users that it mentions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<UserName>,
    /// What is attached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// An object of the application's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// In a page of history and after an `Enter` with `history`, like the fields below: when its text was last replaced, in Unix
    /// milliseconds. `content` is the newest text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<u64>,
    /// The last edit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<MessageId>,
    /// It was taken back. `content` is empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retracted: bool,
    /// A moderator of the room or an administrator took it back, not its author.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moderated: bool,
    /// Who did it; of an administrator the name that the call gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moderator: Option<UserName>,
    /// How many messages that are still held answer it, or belong to its thread; at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replies: Option<u32>,
    /// The reactions, by what was chosen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reactions: BTreeMap<String, Reactions>,
    /// Only with `reactions`: changes of this message up to this place in the log are in it already. Do not apply them again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes_seq: Option<u64>,
}

/// How many users chose a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reactions {
    /// How many.
    pub count: u32,
    /// The user that asked is one of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mine: bool,
}

impl ChatMessage {
    /// A message with nothing but its text.
    pub fn text(
        sender_username: UserName,
        topic: Topic,
        content: String,
        position: Position,
        sent_at: u64,
    ) -> Self {
        let Position { epoch, seq, message_id } = position;
        Self {
            sender_username,
            topic,
            content,
            message_id,
            client_id: None,
            sent_at,
            epoch,
            seq,
            reply_to: None,
            thread: None,
            mentions: Vec::new(),
            attachments: Vec::new(),
            data: None,
            edited_at: None,
            version: None,
            retracted: false,
            moderated: false,
            moderator: None,
            replies: None,
            reactions: BTreeMap::new(),
            changes_seq: None,
        }
    }

    /// The position just after this message.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, seq: self.seq, message_id: self.message_id }
    }
}
