//! What a client may ask, one file for each request: its body, its `Ack`, what it costs. Owns the list of them; decoding
//! a frame is `client_message`'s business, and carrying a request out is the node's. Used by nodes and clients.
//!
//! To add a request, write its file and add it to the list at the end of this one.

mod auth;
mod block;
mod change;
mod edit;
mod enter;
mod group_chat;
mod history;
mod joined;
mod leave;
mod markers;
mod members;
mod moderate;
mod page;
mod ping;
mod private_chat;
mod publish;
mod react;
mod read;
mod retract;
mod room;
mod rooms;
mod typing;
mod unread;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::name::{RoomName, UserName};
use super::object::{self, Fault};
use super::topic::Topic;

pub use auth::{Auth, AuthAck};
pub use block::{Block, Blocked, BlockedAck, MAX_BLOCKED};
pub use change::ChangeAck;
pub use edit::Edit;
pub use enter::{Enter, EnterAck};
pub use group_chat::GroupChat;
pub use history::{Before, History, HistoryAck, MAX_HISTORY};
pub use joined::{Features, Joined, RECEIVED, RESUME};
pub use leave::{Leave, LeaveAck};
pub use markers::{MAX_MARKERS, Marker, Markers, MarkersAck};
pub use members::{MAX_MEMBERS, Members, MembersAck};
pub use moderate::{Moderate, check_action, until};
pub use page::{MAX_PAGE_BYTES, MIN_PAGE_BYTES};
pub use ping::{Ping, PingAck};
pub use private_chat::PrivateChat;
pub use publish::PublishAck;
pub use react::{MAX_REACTION_BYTES, MAX_REACTIONS, React, reaction};
pub use read::{Read, ReadUpTo};
pub use retract::{MAX_REASON_BYTES, Retract, reason};
pub use room::{RightsAck, Room, slow_mode, topic as room_topic};
pub use rooms::{ListedRoom, MAX_ROOMS, Rooms, RoomsAck};
pub use typing::Typing;
pub use unread::{MAX_UNREAD_ROOMS, Unread, UnreadAck, UnreadInRoom, UnreadOfPeer};

/// One kind of request: the body of its frame.
pub trait Request: Serialize + DeserializeOwned + Into<AnyRequest> {
    /// Its `message_type`.
    const KIND: &'static str;

    /// What it costs of the connection's rate.
    const COST: u32 = 1;

    /// The word that stands for it in `features`. `None` for the four requests that every node knows.
    const FEATURE: Option<&'static str>;

    /// The body of its `Ack`.
    type Ack: Serialize + DeserializeOwned;

    /// The user that sends it. Only a `Ping` may leave that out.
    fn sender(&self) -> Option<&UserName>;

    /// The text that it publishes, which has a limit.
    fn content(&self) -> Option<&str> {
        None
    }
}

/// The body of an `Ack` that has nothing to add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {}

/// The topic of a body that has both fields. Without either it is the current room: `None`.
fn topic(room: Option<RoomName>, user: Option<UserName>) -> Result<Option<Topic>, &'static str> {
    match (user, room) {
        (Some(_), Some(_)) => Err("`target_username` and `room` exclude each other"),
        (Some(user), None) => Ok(Some(Topic::User(user))),
        (None, room) => Ok(room.map(Topic::Room)),
    }
}

macro_rules! requests {
    ($($name:ident),* $(,)?) => {
        /// One request of any kind.
        #[derive(Debug, Clone, PartialEq)]
        pub enum AnyRequest {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name),)*
        }

        impl AnyRequest {
            /// Every `message_type` that a node knows.
            pub const KINDS: &[&str] = &[$($name::KIND),*];

            /// What stands for each request in `features`, in the same order.
            pub(crate) const FEATURES: &[Option<&str>] = &[$($name::FEATURE),*];

            /// Its `message_type`.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$name(_) => $name::KIND,)* }
            }

            /// See [`Request::sender`].
            pub fn sender(&self) -> Option<&UserName> {
                match self { $(Self::$name(request) => request.sender(),)* }
            }

            /// See [`Request::COST`].
            pub fn cost(&self) -> u32 {
                match self { $(Self::$name(_) => $name::COST,)* }
            }

            pub(crate) fn content(&self) -> Option<&str> {
                match self { $(Self::$name(request) => request.content(),)* }
            }

            /// Reads the body of this kind; `None` for a kind that this version does not know.
            pub(crate) fn read(kind: &str, body: &str) -> Option<Result<Self, Fault>> {
                $(if kind == $name::KIND {
                    return Some(object::read::<$name>(body, "`message_body`").map(Self::$name));
                })*
                None
            }
        }

        impl Serialize for AnyRequest {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Self::$name(request) => request.serialize(serializer),)* }
            }
        }

        $(impl From<$name> for AnyRequest {
            fn from(request: $name) -> Self {
                Self::$name(request)
            }
        })*

        /// The schemas of each request and its `Ack`, with the `message_type`.
        #[cfg(feature = "schema")]
        pub(crate) fn schemas(
            generator: &mut schemars::SchemaGenerator,
        ) -> Vec<(&'static str, schemars::Schema, schemars::Schema)> {
            vec![$((
                $name::KIND,
                generator.subschema_for::<$name>(),
                generator.subschema_for::<<$name as Request>::Ack>(),
            )),*]
        }
    };
}

requests! {
    Enter, Leave, GroupChat, PrivateChat, Auth, Typing, History, Members, Read, Ping, Markers, Edit, Retract, React,
    Rooms, Unread, Room, Moderate, Block, Blocked,
}
