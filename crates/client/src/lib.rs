//! A client of chatnode, the clustered chat server. It reconnects and resumes by itself: it loses no message, delivers none
//! twice, and reports every gap that a node can't fill.
//!
//! [`ConnectOptions`] connects and returns two things: a [`Client`] and [`Events`]. The [`Client`] is a handle; you can clone
//! it, and use it in any number of tasks. [`Events`] is a stream of everything that happens. A tokio task owns the
//! connection, so the client needs a tokio runtime.
//!
//! ```no_run
//! use chatnode_client::{ConnectOptions, Event};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let (client, mut events) = ConnectOptions::new("ws://127.0.0.1:8080/").user("greeter").connect().await?;
//! client.join("lobby").await?;
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Message(message) if message.content == "hello" => {
//!             // The message is sent although nobody waits for its receipt.
//!             drop(client.send("lobby", format!("hello, {}", message.sender)));
//!         }
//!         other => println!("{other:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What you can rely on
//!
//! - Messages come in the order of their log, each once. [`Event::Gap`] reports where some may be missing.
//! - Each room and each user receives the messages of this client in the order in which you sent them. Every attempt to
//!   send a message uses the same id, so the message is stored once. [`Client::send`] returns a [`Receipt`] when the message
//!   is stored, or an error that says whether it may have been stored.
//! - Messages live on: [`Client::change`] edits a message, takes it back, or reacts to it, as surely as a message is sent. Changes by
//!   anybody come as [`Event::Edited`], [`Event::Retracted`] and [`Event::Reacted`], in the same order as the messages.
//! - Rooms with rights: [`Client::make_room`] makes a private room, one for announcements, or an open one, and [`Client::moderate`] invites,
//!   bans or mutes a user. [`Client::rights`] is what the room and this user are by now. After [`Event::Removed`], the client is out of
//!   the room until the program joins again.
//! - Memory has a limit: the queue of events has one, and so have the messages that are not yet stored.
//! - The client writes nothing to disk. Messages that are not yet stored when the program ends are lost. Before you end the
//!   program, call [`Client::close`], which waits for them.
//!
//! # Programs that show a chat
//!
//! [`model`] contains the state of a client without a socket and without a clock: conversations with their lines, members
//! and unread messages. [`Session`] connects the model to a node. `chatnode chat` uses these two.

// These macros panic if the output can't be written: a log on a full disk would end the process.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

mod address;
mod attention;
mod back_off;
mod change;
mod client;
mod command;
mod connection;
mod connection_state;
mod conversation;
mod conversations;
mod effect;
mod error;
mod event;
mod event_text;
mod events;
mod link;
mod membership;
pub mod model;
mod moderation;
mod new_message;
mod options;
mod outbox;
mod own_rights;
mod pending;
mod private_log;
mod publish;
mod reactions;
mod reason;
mod requests;
mod resume_point;
mod retraction;
mod revisions;
mod rights_request;
mod room_settings;
mod seen;
mod sending;
mod session;
mod silence;
pub mod text;
pub mod tls;
mod waiting;
mod whoami;

pub use address::{Address, AddressError};
pub use change::{Change, ChangeReceipt};
pub use chatnode_protocol as protocol;
pub use chatnode_protocol::{
    Action, Attachment, CloseReason, Current, Data, Epoch, ErrorCode, Extras, Features, GapReason, MessageId,
    NameError, Position, RequestId, Role, RoomKind, RoomName, RoomRights, Topic, UserName, Word,
};
pub use client::{Client, Page};
pub use error::{CloseError, RequestError};
pub use event::{Event, Message};
pub use events::Events;
pub use moderation::Moderation;
pub use new_message::NewMessage;
pub use options::{ConnectError, ConnectOptions};
pub use reactions::{ReactionCount, Reactions};
pub use reason::{ClosedReason, LostReason};
pub use retraction::Retraction;
pub use room_settings::RoomSettings;
pub use sending::{Changing, Receipt, SendError, Sending, StopReason};
pub use session::{News, Session};
pub use tokio_rustls::rustls;
pub use whoami::{WhoamiError, whoami};
