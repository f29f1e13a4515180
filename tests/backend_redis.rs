//! Requirements for the Redis backend only: an absent, stalled, emptied or full Redis, and several nodes on one Redis.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

#[path = "backend_redis/cluster.rs"]
mod cluster;
#[path = "backend_redis/cluster_start.rs"]
mod cluster_start;
#[path = "backend_redis/databases.rs"]
mod databases;
#[path = "backend_redis/failover.rs"]
mod failover;
#[path = "backend_redis/faults.rs"]
mod faults;
#[path = "backend_redis/footprint.rs"]
mod footprint;
#[path = "backend_redis/foreign_logs.rs"]
mod foreign_logs;
#[path = "backend_redis/leases.rs"]
mod leases;
#[path = "backend_redis/moving_slot.rs"]
mod moving_slot;
#[path = "backend_redis/nodes.rs"]
mod nodes;
#[path = "backend_redis/older_node.rs"]
mod older_node;
#[path = "backend_redis/publishes.rs"]
mod publishes;
#[path = "backend_redis/replicas.rs"]
mod replicas;
#[path = "backend_redis/room_rights.rs"]
mod room_rights;
#[path = "backend_redis/rooms.rs"]
mod rooms;
#[path = "backend_redis/sentinel.rs"]
mod sentinel;
#[path = "backend_redis/start.rs"]
mod start;
#[path = "backend_redis/tls.rs"]
mod tls;
#[path = "backend_redis/tls_stores.rs"]
mod tls_stores;
