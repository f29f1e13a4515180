//! Conversations over TLS: order, slow readers, and the end of a connection.

use std::time::Duration;

use serde_json::{Value, json};

use super::certificates::Certificates;
use super::tunnel::Tunnel;
use crate::support::client::Client;
use crate::support::cluster::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_messages_arrive_whole_and_in_order() {
    let certificates = Certificates::new();
    let cluster = certificates.cluster(2, |_| {}).await;
    let tunnels = [
        Tunnel::to(cluster.address(0), &certificates).await,
        Tunnel::to(cluster.address(1), &certificates).await,
    ];
    let mut readers = Vec::new();
    for (at, tunnel) in tunnels.iter().enumerate() {
        readers.push(Client::enter(tunnel.address, &format!("reader {at}"), "ops").await);
    }
    let mut writer = Client::enter(tunnels[0].address, "writer", "ops").await;
    let contents: Vec<String> = (0..200).map(|at| format!("{at} {}", "y".repeat(at * 80))).collect();
    for content in &contents {
        writer.say("ops", content).await;
    }
    for reader in &mut readers {
        for content in &contents {
            assert_eq!(reader.hears().await, *content);
        }
    }
}

/// More than the kernel and the queue of the connection take: the reader lags, and is served from the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_that_paused_gets_everything() {
    let certificates = Certificates::new();
    let cluster = certificates
        .cluster(1, |config| {
            config.limits.max_queue_bytes = 32 << 10;
            config.limits.stored_bytes_per_second = Some(0);
        })
        .await;
    let tunnel = Tunnel::to(cluster.address(0), &certificates).await;
    let mut slow = Client::connect_narrow(tunnel.address, "slow").await;
    slow.ok("Enter", json!({ "room": "ops" })).await;
    let mut writer = Client::enter(tunnel.address, "writer", "ops").await;
    let last = writer.say_many("ops", &"x".repeat(8_000), 800).await;
    until("the reader lags", async || {
        let page = crate::support::cluster::metric(cluster.nodes[0].operators, "chat_lagged_total").await;
        page > 0.0
    })
    .await;
    slow.hears_seqs(1..=last["seq"].as_u64().unwrap()).await;
    slow.say("ops", "done").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_reads_nothing_is_closed_as_slow() {
    let certificates = Certificates::new();
    let cluster = certificates
        .cluster(1, |config| {
            config.limits.write_timeout = Duration::from_millis(500);
            config.limits.stored_bytes_per_second = Some(0);
        })
        .await;
    let tunnel = Tunnel::to(cluster.address(0), &certificates).await;
    let mut stuck = Client::connect_narrow(tunnel.address, "stuck").await;
    stuck.ok("Enter", json!({ "room": "ops" })).await;
    let mut writer = Client::enter(tunnel.address, "writer", "ops").await;
    writer.say_many("ops", &"x".repeat(8_000), 900).await;
    until("the client is closed", async || {
        let label = "chat_connections_closed_total{reason=\"slow\"}";
        crate::support::cluster::metric(cluster.nodes[0].operators, label).await > 0.0
    })
    .await;
    writer.say("ops", "the others go on").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_closes_with_its_code() {
    let certificates = Certificates::new();
    let mut cluster = certificates.cluster(1, |_| {}).await;
    let tunnel = Tunnel::to(cluster.address(0), &certificates).await;
    let mut alice = Client::enter(tunnel.address, "alice", "ops").await;
    cluster.nodes[0].drain();
    assert_eq!(alice.closed().await.0, 4012);
    cluster.nodes[0].stop().await;
    let answers: Vec<&Value> = alice.seen().iter().filter(|frame| frame["message_type"] == "Error").collect();
    assert!(answers.is_empty(), "{answers:?}");
}
