//! TLS in the node: handshakes of rustls and OpenSSL, renewed certificates, conversations, limits, and the commands.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod commands;
mod handshakes;
mod limits;
mod renewal;
mod talk;
mod tunnel;
