//! What a node sends without being asked, one file for each kind of event. Owns their bodies and the list of them; which
//! connection gets which event is the node's business. Built by nodes, read by clients.
//!
//! To add an event, write its file and add it to the list at the end of this one.

mod block;
mod change;
mod chat_message;
mod gap;
mod log_entry;
mod presence;
mod read;
mod rights;
mod token_expiring;
mod typing;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::name::UserName;

pub use block::Block;
pub use change::{Edit, React, Retract, Target, Tombstone};
pub use chat_message::{ChatMessage, Reactions};
pub use gap::{Gap, GapReason};
pub use presence::{Enter, Leave};
pub use read::{Read, ReadUpTo};
pub use rights::{Invitation, Moderation, Removed, RemovedBy, Room};
pub use token_expiring::TokenExpiring;
pub use typing::Typing;

/// One kind of event: the body of its frame.
pub trait Event: Serialize + DeserializeOwned {
    /// Its `message_type`.
    const KIND: &'static str;
}

/// Whom an event is of, in the JSON of [`crate::encode::event_json`]; nobody if it names no user.
pub fn event_sender(json: &[u8]) -> Option<UserName> {
    #[derive(Deserialize)]
    struct Frame {
        message_body: Body,
    }
    #[derive(Deserialize)]
    struct Body {
        sender_username: Option<UserName>,
    }
    serde_json::from_slice::<Frame>(json).ok()?.message_body.sender_username
}

macro_rules! events {
    ($($name:ident),* $(,)?) => {
        /// One event of any kind.
        #[derive(Debug, Clone, PartialEq)]
        pub enum AnyEvent {
            /// A message to a room that the connection is in.
            GroupChat(ChatMessage),
            /// A private message to or from the connection's user.
            PrivateChat(ChatMessage),
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name),)*
        }

        impl AnyEvent {
            /// Reads the body of this kind; `None` for a kind that this version does not know.
            pub(crate) fn read(kind: &str, body: &str) -> Option<serde_json::Result<Self>> {
                Some(match kind {
                    "GroupChat" => serde_json::from_str(body).map(Self::GroupChat),
                    "PrivateChat" => serde_json::from_str(body).map(Self::PrivateChat),
                    $(_ if kind == $name::KIND => serde_json::from_str(body).map(Self::$name),)*
                    _ => return None,
                })
            }
        }

        /// The schema of each event, with the `message_type`.
        #[cfg(feature = "schema")]
        pub(crate) fn schemas(
            generator: &mut schemars::SchemaGenerator,
        ) -> Vec<(&'static str, schemars::Schema)> {
            vec![
                ("GroupChat", generator.subschema_for::<ChatMessage>()),
                ("PrivateChat", generator.subschema_for::<ChatMessage>()),
                $(($name::KIND, generator.subschema_for::<$name>()),)*
            ]
        }
    };
}

events! {
    Enter, Leave, Typing, Read, Gap, TokenExpiring, Edit, Retract, React, Tombstone, Room, Moderation, Invitation, Removed,
    Block,
}
