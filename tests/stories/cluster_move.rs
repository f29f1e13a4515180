//! From one Redis to a cluster of several masters, and back: the steps of docs/operations.md, with clients that talk meanwhile.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Store};
use crate::support::redis_cluster::{RedisCluster, options_of_cluster};
use crate::support::redis_server::RedisServer;

/// Says numbered messages one after the other, each again until it is acknowledged.
async fn says(alice: &mut Client, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let body = json!({ "room": "ops", "content": number.to_string() });
        let id = format!("number {number}");
        loop {
            let envelope = alice.envelope("GroupChat", body.clone(), Some(&id));
            alice.send_text(envelope.to_string()).await;
            let answer = alice.answer(&id).await;
            if answer["message_type"] == "Ack" {
                break;
            }
            assert_eq!(answer["message_body"]["code"], "unavailable", "{answer}");
        }
    }
}

/// Hears these numbers in their order. Returns the position of the last one.
async fn hears(bob: &mut Client, numbers: std::ops::Range<usize>) -> Value {
    let mut position = Value::Null;
    for number in numbers {
        let message = bob.next("GroupChat").await;
        assert_eq!(message["content"], number.to_string());
        position =
            json!({ "epoch": message["epoch"], "seq": message["seq"], "message_id": message["message_id"] });
    }
    position
}

/// Alice and bob on two nodes. Bob resumes at a position, and has missed nothing.
async fn meet(cluster: &Cluster, since: Option<&Value>) -> (Client, Client) {
    let alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.connect(1, "bob").await;
    let ack = bob.ok("Enter", json!({ "room": "ops", "since": since })).await;
    if since.is_some() {
        assert_eq!(ack["recovered"], true, "{ack}");
    }
    (alice, bob)
}

/// Stops all nodes, and returns the store.
async fn stop(cluster: Cluster) -> Store {
    let Cluster { mut nodes, store, .. } = cluster;
    for node in &mut nodes {
        node.stop().await;
    }
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_redis_becomes_a_cluster_and_one_again() {
    let cluster = Cluster::start_on(RedisServer::start_durable(), 2, |_| {}).await;
    let (mut alice, mut bob) = meet(&cluster, None).await;
    says(&mut alice, 0..10).await;
    let position = hears(&mut bob, 0..10).await;

    let Store::Redis(mut redis) = stop(cluster).await else { unreachable!("the nodes have a Redis") };
    redis.restart_with(&options_of_cluster());
    let mut cluster = Cluster::start_on_cluster(RedisCluster::of_one(redis), 2).await;
    let (mut alice, mut bob) = meet(&cluster, Some(&position)).await;
    let Store::RedisCluster(redis) = &mut cluster.store else { unreachable!("the nodes have a cluster") };
    redis.add_master();
    let slot = redis.slot("chat:{r:ops}");
    let shared: Vec<usize> = (0..20).chain([slot]).collect();
    let talk = async {
        says(&mut alice, 10..200).await;
        hears(&mut bob, 10..200).await
    };
    let share = async {
        for slot in &shared {
            tokio::task::block_in_place(|| redis.move_slot(*slot, 0, 1));
            tokio::task::yield_now().await;
        }
    };
    let (position, ()) = tokio::join!(talk, share);

    assert_eq!(redis.owner_by(0, slot), Some(1));
    for slot in shared {
        redis.move_slot(slot, 1, 0);
    }
    let Store::RedisCluster(redis) = stop(cluster).await else { unreachable!("the nodes have a cluster") };
    let mut redis = redis.into_first();
    redis.restart_with(&["--cluster-enabled", "no", "--appendonly", "yes", "--appendfsync", "always"]);
    let cluster = Cluster::start_on(redis, 2, |_| {}).await;
    let (mut alice, mut bob) = meet(&cluster, Some(&position)).await;
    says(&mut alice, 200..210).await;
    hears(&mut bob, 200..210).await;
    let history = bob.ok("History", json!({ "room": "ops", "limit": 50 })).await;
    let said = history["messages"].as_array().unwrap().iter().map(|message| message["content"].clone());
    assert!(said.eq((160..210).map(|number| json!(number.to_string()))), "{history}");
}
