//! Changes of messages, and what stands in the place of an erased one, as clients see them. Owns their JSON; nodes splice it
//! from the stored body (see `encode`).

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, MessageId, RequestId};
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

macro_rules! changes {
    ($($(#[$doc:meta])* $name:ident as $rename:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = $rename))]
        pub struct $name {
            /// The user that did it; of a `Retract` the author of the message.
            pub sender_username: UserName,
            /// The room, or the user that the message was sent to.
            #[serde(flatten)]
            pub topic: Topic,
            $($(#[$field_doc])* pub $field: $type,)*
            /// Its own id.
            pub message_id: MessageId,
            /// The `id` of the request.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub client_id: Option<RequestId>,
            /// When the node accepted it, in Unix milliseconds.
            pub sent_at: u64,
            /// The epoch of the log.
            pub epoch: Epoch,
            /// Its own place in the log.
            pub seq: u64,
        }

        impl $name {
            /// The position just after it.
            pub fn position(&self) -> Position {
                Position { epoch: self.epoch, seq: self.seq, message_id: self.message_id }
            }
        }

        impl super::Event for $name {
            const KIND: &'static str = stringify!($name);
        }
    )+};
}

changes! {
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
        /// An administrator did it, not the author. `sender_username` is the author in any case.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        moderated: bool,
        /// The name that the administrator gave.
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
    /// An administrator took it back, not its author.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moderated: bool,
    /// The name that the administrator gave.
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
