//! The crate `chatnode-client` against real nodes: what a program sees of rooms, users, errors and lost connections.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod changes;
mod connection;
mod messages;
mod program;
mod received;
mod requests;
mod rights;
mod tokens;
