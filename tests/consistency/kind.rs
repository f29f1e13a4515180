//! What the entries of a log are, and how messages are shown as their changes have left them. Part of the history.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What an entry of a log is. A change names its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Kind {
    #[default]
    Message,
    Edit {
        target: Uuid,
    },
    Retract {
        target: Uuid,
    },
    React {
        target: Uuid,
        on: bool,
    },
    /// What stands in the place of an erased message. A client is sent the same in the place of an erased edit.
    Tombstone,
    /// What stands in a log in the place of an erased edit.
    ErasedEdit,
}

impl Kind {
    /// Whether it is a change of a message, and not a message.
    pub fn is_change(self) -> bool {
        !matches!(self, Self::Message | Self::Tombstone)
    }

    pub fn is_erased(self) -> bool {
        matches!(self, Self::Tombstone | Self::ErasedEdit)
    }
}

/// A message as its changes have left it, as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    pub message_id: Uuid,
    /// The id that its text was calculated from; none without a text, or if it is damaged.
    pub text: Option<Uuid>,
    /// The last edit.
    pub edit: Option<Uuid>,
    pub is_retracted: bool,
    /// How many users chose the reaction.
    pub reactions: usize,
    /// Only with reactions: the `seq` of the last change that is in it.
    #[serde(default)]
    pub changes_seq: Option<u64>,
}
