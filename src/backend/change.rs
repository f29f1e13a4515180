//! Changes of earlier messages: edits, retractions, reactions. Owns what a store has to know of a change, which is the same in
//! every backend, and the limits of what one message collects; bodies stay opaque. A change is published like a message
//! ([`NewEntry::Change`](super::NewEntry::Change)): it is an entry of the log, and changes what the store returns for the message.

use std::time::Duration;

use bytes::Bytes;

use crate::protocol::{MessageId, UserName};

/// The most edits of one message.
pub(crate) const MAX_EDITS: usize = 100;

/// The most kinds of reactions of one message, and the most of one user.
pub(crate) const MAX_REACTIONS: usize = crate::protocol::requests::MAX_REACTIONS;

/// The most reactions of all users on one message.
pub(crate) const MAX_REACTIONS_OF_ALL: usize = 1_000;

/// The most answers to one message that are counted.
pub(crate) const MAX_ANSWERS: usize = 1_000;

/// The most messages of one log that are counted as mentions of one user: the newest ones.
pub(crate) const MAX_MENTIONS: usize = 100;

/// A change of an earlier message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The message. It must be a message, not a change.
    pub target: MessageId,
    /// How the body of the message begins if this user may change it: in one of these ways, a line each. Empty: in any way.
    pub author: Bytes,
    /// How old the message may be.
    pub window: Option<Duration>,
    /// What is changed.
    pub kind: ChangeKind,
}

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// The text is replaced.
    Edit {
        /// The last edit that the author knows; without any, the message itself.
        if_version: Option<MessageId>,
        /// What the store returns with the message from now on, opaque to it.
        text: Bytes,
        /// The most bytes of the stored message with this text in the place of its own.
        max_bytes: usize,
    },
    /// The body of the message and of its edits is erased.
    Retract {
        /// The body that stands in its place. The first occurrence of the target's id is replaced in the place of an edit.
        tombstone: Bytes,
        /// The author, if another user asks for it: then the roles in the room decide.
        moderated: Option<UserName>,
    },
    /// A reaction is added or taken away.
    React {
        /// Whose.
        user: UserName,
        /// Which.
        reaction: String,
        /// True to add it.
        on: bool,
    },
}

/// Why a change is refused: nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeRefusal {
    /// The log does not hold the message, or it is a change itself.
    NotFound,
    /// Another user wrote the message.
    NotAuthor,
    /// The message was taken back.
    Gone,
    /// The message has another last edit.
    Conflict {
        /// The last edit.
        version: MessageId,
        /// Its text, as [`ChangeKind::Edit`] has it; the body of the message if it has no edit.
        text: Bytes,
    },
    /// The message is too old.
    TooLate,
    /// The new text and what the message says beside its text are too large together.
    TooLarge,
    /// The message, or the log, has as many changes as it may have.
    TooMany,
}

/// What the changes of a message come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fold {
    /// The last edit and its text.
    pub edit: Option<(MessageId, Bytes)>,
    /// The message was taken back: its body is the tombstone.
    pub is_retracted: bool,
    /// The reactions in the order of their first user: the reaction, how many users, and whether the reader is one of them.
    pub reactions: Vec<(String, u32, bool)>,
    /// How many messages answer it, at most 1,000.
    pub answers: u32,
}
