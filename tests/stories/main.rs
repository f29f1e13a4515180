//! Stories told through sockets, the same on each store.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod behind;
mod closes;
mod drain;
mod errors;
mod faults;
mod foreign;
mod handshake;
mod healing;
mod markers;
mod names;
mod operators;
mod pace;
mod paging;
mod presence;
mod private;
mod repeats;
mod resume;
mod rooms;
mod server_api;
mod talk;
mod tokens;
