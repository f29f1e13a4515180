//! chatnode: a horizontally scalable chat server.

pub mod backend;
pub mod chat;
pub mod config;
pub mod metrics;
pub mod protocol;
pub mod transport;
