//! What several test files share.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod backend;
pub mod listener;
pub mod redis_server;
