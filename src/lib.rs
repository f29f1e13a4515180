//! chatnode: a chat server of stateless nodes with one log per room.
//!
//! # Layers
//!
//! ```text
//! main ─► cli ─► server ─► transport ─► chat ─► backend (traits) ─► protocol
//! jwt, config, metrics, supervise, tls_files, traces, work_queue: leaves that any layer may use (and failpoints: flaws for the history
//! checker, none in a release)
//! ```
//!
//! Each uses only what stands to its right; `tests/architecture/` holds them to it.
//!
//! # The path of one message
//!
//! On the sender's node, a frame is read by [`transport`], decoded by [`protocol`], and carried out by the session in
//! [`chat`], which encodes the body (the only time in the cluster) and hands it to the broker of the [`backend`]. That
//! appends it to the topic's log and publishes it, in one step, and the `Ack` is queued. Every node with a member in the
//! room, the sender's included, gets the publication, checks that it is the next, builds one block of finished frames,
//! and pushes that by reference count to each member's outbox, which its connection writes to the socket.
//!
//! There is no other path: what a member sees has been stored, and everybody sees it in the log's order.

// These macros panic if the output can't be written: a log on a full disk would end the process.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

pub mod backend;
pub mod chat;
pub mod cli;
pub mod config;
pub mod failpoints;
pub mod jwt;
pub mod metrics;
pub mod server;
mod supervise;
pub mod telemetry;
mod tls_files;
pub mod traces;
pub mod transport;
mod work_queue;

pub use chatnode_protocol as protocol;
