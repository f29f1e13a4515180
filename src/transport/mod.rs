//! Sockets: HTTP, its upgrade, and WebSocket connections. Owns bytes and deadlines, no chat rules: frames go to the
//! session, finished blocks come from the outbox. Started by the server.

mod address;
mod api;
mod connection;
mod gate;
mod handshake;
mod keepalive;
mod listener;
mod operator;
mod page;
mod patient;
mod router;
mod tap;
mod writer;

pub use listener::listen;
pub use router::{Shared, internal, public};
