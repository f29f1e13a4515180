//! Fixtures of the tests: a real Redis, backends, nodes, clients, and proxies that cause faults. Each file owns one of them and
//! asserts nothing about the project.
#![allow(dead_code, reason = "each test program uses only some of them")]
#![allow(unused_macros, reason = "each test program uses only some of them")]

pub mod api;
pub mod authority;
pub mod backend;
pub mod client;
#[macro_use]
pub mod cluster;
pub mod cluster_slot;
pub mod fake_balancer;
pub mod fake_clock;
pub mod frame_model;
pub mod jwt;
pub mod lease_model;
pub mod leases;
pub mod listener;
pub mod older_node;
pub mod process;
pub mod program;
pub mod proxy;
pub mod raw;
pub mod redis_cluster;
pub mod redis_server;
pub mod sentinel_set;
pub mod silent_client;
