//! What the tests share: a real Redis, backends, nodes and clients.
#![allow(dead_code, reason = "each test program uses its part of it")]
#![allow(unused_macros, reason = "likewise")]

pub mod api;
pub mod backend;
pub mod client;
#[macro_use]
pub mod cluster;
pub mod fake_balancer;
pub mod lease_model;
pub mod leases;
pub mod listener;
pub mod process;
pub mod program;
pub mod proxy;
pub mod raw;
pub mod redis_server;
pub mod silent_client;
