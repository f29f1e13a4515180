//! Other people's client libraries against real nodes: what each of them tells its program. `tests/run` installs three of them
//! before the tests, and `tests/run --clients` all.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod advice;
mod contents;
mod driver;
mod ends;
mod library;
mod older_node;
mod peer;
mod quiet;
mod table;
mod wire;
