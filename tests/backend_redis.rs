//! What only Redis can do to a node: vanish, stall, forget, fill up. And what several nodes share.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

#[path = "backend_redis/faults.rs"]
mod faults;
#[path = "backend_redis/leases.rs"]
mod leases;
#[path = "backend_redis/nodes.rs"]
mod nodes;
#[path = "backend_redis/start.rs"]
mod start;
