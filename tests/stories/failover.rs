//! Failovers of the store, behind an address that stays the same and with Sentinels: nobody has to restart a node.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, get, metric, until};
use crate::support::sentinel_set::{MASTER, SentinelSet, TIMEOUT};

/// How long users may be refused after the address leads to the new master.
const SHORT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_get_in_after_a_failover_behind_one_address() {
    let mut cluster = Cluster::start(Kind::Redis, 0).await;
    let new = cluster.redis_server().start_replica();
    let proxy = cluster.put_proxy().await;
    for _ in 0..2 {
        cluster.add_node().await;
    }
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    alice.say("ops", "before").await;

    cluster.redis_server().fail_over_to(&new);
    proxy.switch_to(new.port());
    let switched_at = Instant::now();
    let address = cluster.address(1);
    let mut carol = Client::connect(address, "carol").await;
    loop {
        let answer = carol.ask("Enter", json!({ "room": "ops" })).await;
        if answer["message_type"] == "Ack" {
            break;
        }
        assert_eq!(answer["message_body"]["code"], "unavailable", "{answer}");
        assert!(switched_at.elapsed() < SHORT, "{answer}");
    }
    until("both nodes are ready", async || {
        get(cluster.address(0), "/readyz").await.0 == 200 && get(address, "/readyz").await.0 == 200
    })
    .await;
    carol.say("ops", "after").await;
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.hears().await, "before");
        assert_eq!(client.hears().await, "after");
    }
    let history = carol.ok("History", json!({ "room": "ops" })).await;
    let contents: Vec<_> =
        history["messages"].as_array().unwrap().iter().map(|message| message["content"].clone()).collect();
    assert_eq!(contents, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_keep_talking_while_sentinels_replace_the_master() {
    let mut set = SentinelSet::start();
    let url = set.url();
    let mut cluster = Cluster::start_on(set.servers.remove(0), 0, |_| {}).await;
    cluster.adjust(|config| {
        config.redis.url = Some(url.into());
        config.redis.sentinel_master = Some(MASTER.into());
        config.redis.timeout = TIMEOUT;
        // What is acknowledged, a replica has: so the sudden end of the master loses nothing.
        config.redis.min_replicas_acked = 1;
    });
    for _ in 0..2 {
        cluster.add_node().await;
    }
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    let mut expected = Vec::new();
    for turn in 0..30 {
        if turn == 10 {
            cluster.redis().kill();
        }
        let (speaker, id) = if turn % 2 == 0 { (&mut alice, "a") } else { (&mut bob, "b") };
        // As clients do: the same message with the same id, until it is acknowledged.
        let (content, id) = (turn.to_string(), format!("{id}-{turn}"));
        let started = Instant::now();
        loop {
            let message =
                speaker.envelope("GroupChat", json!({ "room": "ops", "content": &content }), Some(&id));
            speaker.send_text(message.to_string()).await;
            let answer = speaker.answer(&id).await;
            if answer["message_type"] == "Ack" {
                break;
            }
            assert_eq!(answer["message_body"]["code"], "unavailable", "{answer}");
            assert!(started.elapsed() < 5 * SHORT, "{answer}");
        }
        expected.push(content);
    }
    for client in [&mut alice, &mut bob] {
        for content in &expected {
            assert_eq!(client.hears().await, *content);
        }
    }
    // The nodes of a test share one page of metrics.
    let failovers = metric(cluster.address(0), "chat_redis_failovers_total").await;
    assert_eq!(failovers, 2.0);
    assert_eq!(metric(cluster.address(0), "chat_sentinels_answering").await, 3.0);
}
