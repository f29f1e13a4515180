//! Stories told through sockets, the same on each store.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod drain;
mod faults;
mod healing;
mod presence;
mod private;
mod resume;
mod talk;
