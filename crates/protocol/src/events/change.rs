//! Changes of messages, and what stands in the place of an erased one, as clients see them. Owns their JSON; nodes splice it
//! from the stored body (see `encode`).

use serde::{Deserialize, Serialize};

use super::log_entry::log_entries;
use crate::id::{Epoch, MessageId};
use crate::name::UserName;
use crate::position::Position;
use crate::topic::Topic;

/// The message that a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Target {
    /// Its id.
    pub message_id: MessageId,
}

log_entries! {
    {
        /// The user that did it; of a `Retract` the author of the message.
        sender_username: UserName,
        /// The room, or the user that the message was sent to.
        #[serde(flatten)]
        topic: Topic,
    }

    /// The text of a message was replaced.
    Edit as "EditEvent" {
        /// The message.
        target: Target,
        /// Its new text.
        content: String,
    }

    /// A message was taken back.
    Retract as "RetractEvent" {
        /// The message.
        target: Target,
        /// Why, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// A moderator of the room or an administrator did it, not the author. `sender_username` is the author in any case.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        moderated: bool,
        /// Who did it; of an administrator the name that the call gave.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        moderator: Option<UserName>,
    }

    /// A reaction was added or taken away.
    React as "ReactEvent" {
        /// The message.
        target: Target,
        /// The reaction.
        reaction: String,
        /// True if it was added.
        on: bool,
    }
}

/// Stands in the place of a message, or of an edit of one, whose text a `Retract` erased before this client received it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "TombstoneEvent"))]
pub struct Tombstone {
    /// The user that wrote it.
    pub sender_username: UserName,
    /// The room, or the user that it was sent to.
    #[serde(flatten)]
    pub topic: Topic,
    /// Its id.
    pub message_id: MessageId,
    /// A moderator of the room or an administrator took it back, not its author.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moderated: bool,
    /// Who did it; of an administrator the name that the call gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moderator: Option<UserName>,
    /// The epoch of the log.
    pub epoch: Epoch,
    /// Its place in the log.
    pub seq: u64,
}

impl Tombstone {
    /// The position just after it.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, seq: self.seq, message_id: self.message_id }
    }
}

impl super::Event for Tombstone {
    const KIND: &'static str = "Tombstone";
}
