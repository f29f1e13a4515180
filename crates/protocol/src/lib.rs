//! The wire protocol of chatnode: names, ids, requests, answers, events, errors and close codes. It owns the frames and
//! their encoding in JSON. It uses neither tokio nor sockets, and reads the clock only to create message ids (UUIDv7).
//! Nodes and clients share this crate.
//!
//! Every body is one type, with serde in both directions. A client encodes a request, and reads the answer by the type of
//! the request:
//!
//! ```
//! use chatnode_protocol::requests::Leave;
//! use chatnode_protocol::{ClientMessage, RequestId, RoomName, ServerMessage, UserName};
//!
//! let id = RequestId::parse("a1").unwrap();
//! let leave = Leave {
//!     sender_username: UserName::parse("alice").unwrap(),
//!     room: Some(RoomName::parse("ops").unwrap()),
//! };
//! let frame = ClientMessage::encode(&leave, Some(&id), None, None);
//! assert_eq!(
//!     frame,
//!     r#"{"message_type":"Leave","message_body":{"sender_username":"alice","room":"ops"},"id":"a1"}"#,
//! );
//!
//! let answer = r#"{"message_type":"Ack","message_body":{"room":"ops"},"id":"a1"}"#;
//! let ServerMessage::Ack(ack) = ServerMessage::decode(answer).unwrap() else { panic!() };
//! assert_eq!(ack.id, id);
//! assert_eq!(ack.read::<Leave>().unwrap().room.as_str(), "ops");
//! ```
//!
//! A client works with a newer node. It ignores unknown fields and unknown types of frames. Where the protocol has a fixed
//! set of texts (such as error codes), it keeps an unknown text as [`Word::Other`]. A node is strict. It refuses a frame
//! that is not a request of this protocol, with an error that names the wrong field.
//!
//! The feature `schema` adds the function `schema`, which creates the JSON Schema of the protocol from these types.

// These macros panic if the output can't be written: a log on a full disk would end the process.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

mod client_message;
mod close;
pub mod encode;
mod error;
pub mod events;
pub mod extras;
pub mod frame;
mod grant;
mod id;
mod name;
mod number;
mod object;
mod position;
pub mod requests;
mod rights;
#[cfg(feature = "schema")]
mod schema;
mod server_message;
pub mod stored;
pub mod stored_rights;
mod text;
mod token;
mod topic;
mod trace_parent;
mod word;

pub use client_message::{ClientMessage, Rejected};
pub use close::{CloseReason, retry_after};
pub use error::{Current, ErrorBody, ErrorCode, Outcome};
pub use events::{AnyEvent, GapReason};
pub use extras::{
    Attachment, Data, Extras, MAX_ATTACHMENTS, MAX_ATTACHMENTS_BYTES, MAX_DATA_BYTES, MAX_MENTIONS,
};
pub use grant::{Grant, Granted, RoomPattern};
pub use id::{ConnectionId, Epoch, MAX_REQUEST_ID_CHARS, MessageId, NotAnEpoch, RequestId};
pub use name::{MAX_NAME_CHARS, NameError, RoomName, UserName};
pub use position::{MAX_SEQ, Position, RoomMarker, Since};
pub use requests::{AnyRequest, Features, MAX_HISTORY, MAX_MEMBERS, Request};
pub use rights::{Action, MAX_SLOW_MODE_MS, MAX_TOPIC_BYTES, Role, RoomKind, RoomRights};
#[cfg(feature = "schema")]
pub use schema::schema;
pub use server_message::{Ack, InvalidFrame, ServerMessage};
pub use token::Token;
pub use topic::Topic;
pub use trace_parent::TraceParent;
pub use word::{Word, WordSet};
