//! A client of chatnode, the clustered chat server. It reconnects and resumes by itself: it loses no message, delivers none
//! twice, and reports every gap that a node can't fill.
//!
//! [`ConnectOptions`] connects and returns two things: a [`Client`], a handle that can be cloned and held by any number of
//! tasks, and [`Events`], a stream of everything that happens. The connection belongs to a task of its own, so a tokio
//! runtime is needed.
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
//! - Messages of this client go to each room and user in the order in which you sent them. A message keeps its id over every
//!   attempt, so it is stored once. [`Client::send`] resolves with its [`Receipt`], or says whether it may be stored.
//! - Memory is bounded: the queue of events and the messages on their way have a limit each.
//! - Nothing is kept on disk. What is not stored when the program ends is lost; [`Client::close`] waits for it.
//!
//! # Programs that show a chat
//!
//! [`model`] is the client without a socket and without a clock: conversations with their lines, members and unread
//! messages. [`Session`] drives it over a connection. `chatnode chat` is made of these two.

mod address;
mod asked;
mod attention;
mod client;
mod connection;
mod conversation;
mod event;
mod events;
mod inbound;
mod link;
pub mod model;
mod options;
mod outbox;
mod reason;
mod receipts;
mod requests;
mod schedule;
mod seen;
mod sending;
mod session;
pub mod text;
pub mod tls;
mod waiting;
mod whoami;

pub use address::{Address, AddressError};
pub use chatnode_protocol as protocol;
pub use chatnode_protocol::{
    CloseReason, Epoch, ErrorCode, Features, GapReason, MessageId, NameError, Position, RequestId, RoomName,
    Topic, UserName, Word,
};
pub use client::{Client, CloseError, Page, RequestError};
pub use event::{Event, Message};
pub use events::Events;
pub use options::{ConnectError, ConnectOptions};
pub use reason::{ClosedReason, LostReason};
pub use sending::{Receipt, SendError, Sending, StopReason};
pub use session::{News, Session};
pub use tokio_rustls::rustls;
pub use whoami::{WhoamiError, whoami};
