//! A change that this user makes to a message. Owns what it is and its receipt; sends nothing. Made by programs and by the terminal client,
//! kept by the outbox.

use chatnode_protocol::requests::{ChangeAck, Edit, React, Retract};
use chatnode_protocol::{Epoch, MessageId, Request};

/// A change of a message, for [`Client::change`](crate::Client::change).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Replace the text. Only the author may.
    Edit {
        /// The new text.
        content: String,
        /// The last edit that the user has seen: [`Message::version`](crate::Message::version), or the message itself if there is
        /// none. If there is a newer one, the node refuses with [`SendError::Conflict`](crate::SendError::Conflict). With `None`,
        /// this edit replaces any other.
        if_version: Option<MessageId>,
    },
    /// Take the message back: its text is erased. Only the author may.
    Retract {
        /// Why, for people: 1 to 256 bytes.
        reason: Option<String>,
    },
    /// Add a reaction, or take it away.
    React {
        /// An emoji or a short text: 1 to 64 bytes.
        reaction: String,
        /// True to add it.
        on: bool,
    },
}

impl Change {
    /// The word in `features` that a node must have.
    pub(crate) fn needs(&self) -> Option<&'static str> {
        match self {
            Self::Edit { .. } => Edit::FEATURE,
            Self::Retract { .. } => Retract::FEATURE,
            Self::React { .. } => React::FEATURE,
        }
    }

    /// What was not done if the change failed.
    pub(crate) fn undone(&self) -> &'static str {
        match self {
            Self::Edit { .. } => "not edited",
            Self::Retract { .. } => "not deleted",
            Self::React { .. } => "no reaction",
        }
    }
}

/// The proof that a change of a message is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangeReceipt {
    /// The id of the change, which is the new [`version`](crate::Message::version) after an edit. If nothing was changed, the id of
    /// the message.
    pub message_id: MessageId,
    /// The log that `seq` belongs to: that of the room, or the private log of this user.
    pub epoch: Epoch,
    /// The number of the change in the log. `None` if nothing was changed.
    pub seq: Option<u64>,
    /// The time at which the change was stored, in milliseconds since 1970.
    pub sent_at: u64,
    /// Whether the node had stored the change before, by an earlier attempt of this client.
    pub duplicate: bool,
    /// The message was so already: the reaction was there, or was not there.
    pub unchanged: bool,
}

impl From<ChangeAck> for ChangeReceipt {
    fn from(ack: ChangeAck) -> Self {
        let ChangeAck { message_id, epoch, seq, sent_at, duplicate, unchanged } = ack;
        Self { message_id, epoch, seq, sent_at, duplicate, unchanged }
    }
}
