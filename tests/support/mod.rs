//! What stories are told with.
#![allow(dead_code, reason = "each test program uses its part of it")]

pub mod client;
#[macro_use]
pub mod cluster;
pub mod redis_server;
