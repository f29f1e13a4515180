//! chatnode: a horizontally scalable chat server.

pub mod backend;
pub mod cli;
pub mod config;
pub mod metrics;
pub mod protocol;
pub mod telemetry;
