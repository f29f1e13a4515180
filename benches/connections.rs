//! What a connection costs a node, as a process of its own: joins per second and CPU time for each join, from the handshake to
//! the `Ack` of the first `Enter`, and resident memory for each connection that then does nothing. With the embedded store,
//! and with Redis. `cargo bench --bench connections`.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use support::client::Client;
use support::process::NodeProcess;
use support::redis_server::RedisServer;

/// Connections of one round. The files of this process are limited too.
const CONNECTIONS: usize = 2_000;

/// Handshakes and joins under way at the same time.
const AT_ONCE: usize = 64;

/// Members of a room. Each is told of those who come after it.
const MEMBERS: usize = 20;

/// The rounds of events are over, and what a join needed is given back.
const QUIET: Duration = Duration::from_secs(3);

async fn join_all(address: SocketAddr) -> Vec<Client> {
    let joins = (0..CONNECTIONS).map(|i| async move {
        Client::enter(address, &format!("user {i}"), &format!("room {}", i / MEMBERS)).await
    });
    stream::iter(joins).buffer_unordered(AT_ONCE).collect().await
}

async fn measure(name: &str, settings: &[(&str, &str)]) {
    let node = NodeProcess::start(settings).await;
    // The first connections also pay for what the process makes only once.
    drop(Client::enter(node.address, "first", "first").await);
    let (memory, cpu, started) = (node.resident_kib(), node.cpu_time(), Instant::now());
    let clients = join_all(node.address).await;
    let joins_per_s = CONNECTIONS as f64 / started.elapsed().as_secs_f64();
    let us_per_join = (node.cpu_time() - cpu).as_secs_f64() * 1e6 / CONNECTIONS as f64;
    tokio::time::sleep(QUIET).await;
    let kib = (node.resident_kib() as f64 - memory as f64) / clients.len() as f64;
    println!(
        "{name:9} {joins_per_s:8.0} joins/s  {us_per_join:6.0} us of the node's CPU for each  {kib:5.1} KiB for each connection"
    );
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for _ in 0..3 {
            measure("embedded", &[]).await;
            let server = RedisServer::start();
            measure("redis", &[("CHAT_REDIS__URL", &server.url())]).await;
        }
    });
}
