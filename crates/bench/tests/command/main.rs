//! `chatnode-bench` as people run it: the real program, against real nodes in this process, and against a server with faults that its
//! checks must find.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod bench;
mod fake_server;
mod faults;
mod limits;
mod node;
mod scenarios;
