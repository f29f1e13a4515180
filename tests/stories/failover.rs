//! A planned failover of the store behind an address that stays the same: nobody has to restart a node.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, get, until};

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
