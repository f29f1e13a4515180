//! Behaviour of nodes as clients see it through sockets, tested in the same way on each store. Each file owns one topic; the
//! fixtures are in `tests/support`.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod close_codes;
mod deduplication;
mod drain;
mod errors;
mod faults;
mod files;
mod foreign_data;
mod handshake;
mod lagging;
mod logs;
mod markers;
mod names;
mod observability;
mod paging;
mod presence;
mod private;
mod rate_limits;
mod recovery;
mod resume;
mod resume_top;
mod rooms;
mod schema;
mod server_api;
mod talk;
mod tokens;
