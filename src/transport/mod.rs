//! Sockets: HTTP, the upgrade, and WebSocket connections. Owns bytes and deadlines, not chat rules: it passes frames to
//! the session, and takes finished blocks from the outbox. Started by the server.

mod address;
mod admission;
mod api;
mod codec_io;
mod connection;
mod failed_tokens;
mod frame_scanner;
mod handshake;
mod health;
mod hosts;
mod keepalive;
mod listener;
mod notices;
mod router;
mod state;
mod unfinished;
mod web;
mod write_timeout;
mod writer;

pub use listener::{HTTP_SOCKETS, OPERATOR_SOCKETS, listen};
pub use router::{internal, public};
pub use state::AppState;
