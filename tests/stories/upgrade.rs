//! A rolling upgrade with live clients: beside nodes of this version runs one of the first version that is still supported. Nothing is
//! lost, and changes of messages wait for its end.

use serde_json::{Value, json};

use crate::support::api::with_api;
use crate::support::client::{Client, position};
use crate::support::cluster::{Cluster, until};
use crate::support::older_node::OlderNode;
use crate::support::redis_server::RedisServer;

fn older(cluster: &Cluster) -> OlderNode<'_> {
    OlderNode { server: cluster.redis_server(), max_messages: "1000", max_bytes: "1000000" }
}

/// A message as an older node stores it.
fn body(content: &str) -> String {
    format!(
        r#""sender_username":"olga","content":"{content}","room":"lobby","message_id":"{{id}}","sent_at":1700000000123"#
    )
}

/// The frames that the test did not ask for, but for presence: their types, and their places in the log.
fn others(client: &Client) -> Vec<(&str, u64)> {
    let frames = client.seen().iter().filter(|frame| frame["message_type"] != "Enter");
    frames
        .map(|frame| {
            (frame["message_type"].as_str().unwrap(), frame["message_body"]["seq"].as_u64().unwrap())
        })
        .collect()
}

/// Says something on the older node, and then to a new one. Everybody hears both, in this order.
async fn talk(cluster: &Cluster, round: &str, [alice, bob]: [&mut Client; 2]) -> Value {
    let [old, new] = ["old", "new"].map(|node| format!("{round}, {node} node"));
    older(cluster).publish(round, &body(&old));
    for client in [&mut *alice, &mut *bob] {
        assert_eq!(client.hears().await, old);
    }
    let sent = bob.say("lobby", &new).await;
    for client in [alice, bob] {
        assert_eq!(client.hears().await, new);
    }
    assert!(older(cluster).read("86400000").iter().any(|body| body.contains(&new)));
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrade_loses_nothing_and_changes_wait_for_its_end() {
    let mut cluster = Cluster::start_on(RedisServer::start(), 0, with_api).await;
    older(&cluster).starts();
    for _ in 0..2 {
        cluster.add_node().await;
    }
    // Bob's client knows only the four core requests.
    let mut alice = cluster.enter(0, "alice", "lobby").await;
    let mut bob = cluster.enter(1, "bob", "lobby").await;
    let first = talk(&cluster, "mixed", [&mut alice, &mut bob]).await;
    let own = alice.say("lobby", "mine").await;
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.hears().await, "mine");
    }
    let change = |fields: Value| {
        let mut body = json!({ "room": "lobby", "message_id": own["message_id"] });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    older(&cluster).starts();
    for (kind, fields) in [
        ("Edit", json!({ "content": "x" })),
        ("Retract", json!({})),
        ("React", json!({ "reaction": "+1", "on": true })),
    ] {
        let error = alice.refused(kind, change(fields), "unavailable").await;
        assert_eq!(error["outcome"], "refused");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("earlier version") && message.contains("after the upgrade"), "{error}");
    }
    let path = format!("/rooms/lobby/messages/{}", own["message_id"].as_str().unwrap());
    let edit = json!({ "sender_username": "alice", "content": "mine too", "id": "e1" });
    assert_eq!(cluster.call(1, "PATCH", &path, edit.clone()).await.0, 503);
    talk(&cluster, "still mixed", [&mut alice, &mut bob]).await;

    older(&cluster).ends();
    until("changes are accepted", async || cluster.call(1, "PATCH", &path, edit.clone()).await.0 == 200)
        .await;
    until("changes are accepted by the other node", async || {
        let react = json!({ "sender_username": "alice", "reaction": "+1", "on": true, "id": "r1" });
        cluster.call(0, "POST", &format!("{path}/reactions"), react).await.0 == 200
    })
    .await;
    alice.ok("Retract", change(json!({}))).await;
    bob.say("lobby", "upgraded").await;
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.hears().await, "upgraded");
    }

    // What such a client does not know, it can ignore: it heard what was said, in order, and nothing else as a message.
    assert_eq!(others(&bob), [("Edit", 6), ("React", 7), ("Retract", 8)]);
    // Who was away since the older node ran gets every entry.
    let mut carol = cluster.connect(0, "carol").await;
    let joined = carol.ok("Enter", json!({ "room": "lobby", "since": position(&first) })).await;
    assert_eq!(joined["recovered"], true);
    for (seq, content) in [(4, "still mixed, old node"), (5, "still mixed, new node"), (9, "upgraded")] {
        let heard = carol.next("GroupChat").await;
        assert_eq!((&heard["seq"], &heard["content"]), (&json!(seq), &json!(content)));
    }
    assert_eq!(others(&carol), [("Tombstone", 3), ("Tombstone", 6), ("React", 7), ("Retract", 8)]);
}
