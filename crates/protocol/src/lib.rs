//! The wire protocol: names, ids, requests, answers, codes and finished frames. Pure: no tokio, no sockets, no clock
//! but the one in a UUIDv7. Owns what is said and how it is spelled; every other layer may use it.

mod client_message;
mod code;
pub mod frame;
mod id;
mod name;
mod position;
pub mod server_message;
mod token;
mod topic;

pub use client_message::{Before, ClientMessage, MAX_HISTORY, MAX_MEMBERS, ReadTarget, Rejected, Request};
pub use code::{CloseReason, ErrorCode};
pub use id::{ConnectionId, Epoch, MessageId, RequestId};
pub use name::{MAX_NAME_CHARS, NameError, RoomName, UserName};
pub use position::{MAX_SEQ, Position, Since};
pub use server_message::{GapReason, Outcome};
pub use token::Token;
pub use topic::Topic;
