//! `Enter` with `history`: so many messages, as their changes have left them, and then each change that follows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::client::{Client, position};
use crate::support::cluster::{Cluster, Kind};

fn on(sent: &Value, more: Value) -> Value {
    let mut body = json!({ "room": "ops", "message_id": sent["message_id"] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn reaction(sent: &Value, reaction: &str) -> Value {
    on(sent, json!({ "reaction": reaction, "on": true }))
}

/// Enters the room, and returns the messages that the `Ack` is followed by, up to `count`.
async fn enter(client: &mut Client, request: Value, count: usize) -> (Value, Vec<Value>) {
    let ack = client.ok("Enter", request).await;
    let mut messages = Vec::new();
    while messages.len() < count {
        messages.push(client.next("GroupChat").await);
    }
    (ack, messages)
}

async fn page(client: &mut Client, limit: usize) -> Vec<Value> {
    let page = client.ok("History", json!({ "room": "ops", "limit": limit })).await;
    page["messages"].as_array().unwrap().clone()
}

/// Twelve messages of alice's; carol and many others react to the third of the last five, the second is edited, the fourth taken
/// back. Returns the first of the twelve.
async fn changed_room(cluster: &Cluster) -> Value {
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut carol = cluster.enter(0, "carol", "ops").await;
    let mut sent = Vec::new();
    for number in 0..12 {
        sent.push(alice.say("ops", &format!("m{number}")).await);
    }
    carol.ok("React", reaction(&sent[9], "👍")).await;
    for number in 0..20 {
        let target = &sent[if number % 2 == 0 { 9 } else { 2 }];
        alice.ok("React", reaction(target, &number.to_string())).await;
    }
    alice.ok("Edit", on(&sent[8], json!({ "content": "new" }))).await;
    alice.ok("Retract", on(&sent[10], json!({}))).await;
    carol.leave().await;
    sent.swap_remove(0)
}

on_each_store! {
    async fn history_counts_messages_and_not_their_changes(kind) {
        let mut cluster = Cluster::start(kind, 1).await;
        changed_room(&cluster).await;
        // One node has all entries in memory, the other one has none.
        cluster.add_node().await;
        for node in [0, 1] {
            for (wanted, held) in [(1, 1), (5, 5), (11, 11), (12, 12), (200, 12)] {
                let mut carol = cluster.connect(node, "carol").await;
                let (ack, messages) = enter(&mut carol, json!({ "room": "ops", "history": wanted }), held).await;
                assert_eq!(ack["seq"], 35);
                assert_eq!(messages, page(&mut carol, held).await, "{wanted}");
                if let [.., edited, reacted, retracted, _] = &messages[..] {
                    assert_eq!((&edited["content"], &retracted["content"]), (&json!("new"), &json!("")));
                    assert_eq!((edited["version"].is_string(), &retracted["retracted"]), (true, &json!(true)));
                    assert_eq!(reacted["reactions"]["👍"], json!({ "count": 1, "mine": true }));
                    assert_eq!((reacted["reactions"].as_object().unwrap().len(), &reacted["changes_seq"]), (11, &json!(35)));
                }
                for kind in ["GroupChat", "Edit", "Retract", "React", "Tombstone"] {
                    carol.heard_no(kind).await;
                }
                carol.leave().await;
            }
        }
    }

    async fn changes_after_the_history_come_one_by_one(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let first = alice.say("ops", "one").await;
        alice.ok("React", reaction(&first, "a")).await;
        let mut bob = cluster.connect(1, "bob").await;
        let (_, messages) = enter(&mut bob, json!({ "room": "ops", "history": 10 }), 1).await;
        assert_eq!(messages[0]["changes_seq"], 2);
        alice.ok("React", reaction(&first, "b")).await;
        let react = bob.next("React").await;
        assert_eq!((&react["seq"], &react["reaction"]), (&json!(3), &json!("b")));
        // The last frame of the history may be older than the last change: who resumes there gets the change again.
        let mut again = cluster.connect(1, "bob").await;
        let ack = again.ok("Enter", json!({ "room": "ops", "since": position(&messages[0]), "history": 10 })).await;
        assert_eq!(ack["recovered"], true);
        for seq in [2, 3] {
            assert_eq!(again.next("React").await["seq"], seq);
        }
        again.heard_no("GroupChat").await;
    }

    async fn history_beside_an_unproved_position_counts_messages(kind) {
        let mut cluster = Cluster::start(kind, 1).await;
        let first = changed_room(&cluster).await;
        cluster.add_node().await;
        let mut elsewhere = position(&first);
        elsewhere["message_id"] = json!("0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10");
        for node in [0, 1] {
            for (wanted, next) in [(0, 36), (5, 8), (200, 1)] {
                let mut carol = cluster.connect(node, "carol").await;
                let request = json!({ "room": "ops", "since": elsewhere, "history": wanted });
                let (ack, messages) = enter(&mut carol, request, wanted.min(12)).await;
                assert_eq!((&ack["recovered"], &ack["reason"]), (&json!(false), &json!("rollback")));
                assert_eq!((&ack["next_seq"], &ack["seq"]), (&json!(next), &json!(35)));
                if wanted > 0 {
                    assert_eq!(messages, page(&mut carol, wanted).await);
                }
                carol.heard_no("React").await;
                carol.leave().await;
            }
        }
    }

    /// The history takes many pages, and the client reads none of them until all changes are made.
    async fn change_while_pages_are_sent_is_counted_once(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut sent = Vec::new();
        for number in 0..100 {
            sent.push(alice.say("ops", &format!("{number} {}", "x".repeat(16_000))).await);
        }
        for message in &sent {
            alice.ok("React", reaction(message, "old")).await;
        }
        let mut slow = Client::connect_narrow(cluster.address(0), "slow").await;
        let (_, mut messages) = enter(&mut slow, json!({ "room": "ops", "history": 80 }), 1).await;
        for message in &sent[18..] {
            alice.ok("React", reaction(message, "new")).await;
        }
        alice.ok("Edit", on(&sent[50], json!({ "content": "edited" }))).await;
        alice.ok("Retract", on(&sent[60], json!({}))).await;
        let last = alice.say("ops", "last").await;
        while messages.last().unwrap()["seq"] != last["seq"] {
            messages.push(slow.next("GroupChat").await);
        }
        assert_eq!(messages.len(), 81);
        let changes = slow.take_seen();
        let folded = |message: &Value| {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for (name, reaction) in message["reactions"].as_object().into_iter().flatten() {
                counts.insert(name.clone(), reaction["count"].as_u64().unwrap());
            }
            let mut state = (message["content"].clone(), message["retracted"] == true, counts);
            let known = message["changes_seq"].as_u64().unwrap_or(0);
            for change in changes.iter().map(|frame| (&frame["message_type"], &frame["message_body"])) {
                match change {
                    (_, body) if body["target"]["message_id"] != message["message_id"] => {}
                    (kind, body) if kind == "Edit" => state.0 = body["content"].clone(),
                    (kind, _) if kind == "Retract" => state = (json!(""), true, BTreeMap::new()),
                    (_, body) if body["seq"].as_u64().unwrap() > known && !state.1 => {
                        *state.2.entry(body["reaction"].as_str().unwrap().to_owned()).or_default() += 1;
                    }
                    _ => {}
                }
            }
            state
        };
        let mut newest = Vec::new();
        while newest.len() < 81 {
            let before = newest.first().map(|message: &Value| message["seq"].clone());
            let request = json!({ "room": "ops", "limit": 81 - newest.len(), "before": before, "epoch": last["epoch"] });
            let mut older = alice.ok("History", request).await["messages"].as_array().unwrap().clone();
            older.append(&mut newest);
            newest = older;
        }
        for (message, now) in messages.iter().zip(&newest) {
            assert_eq!(folded(message).0, now["content"]);
            assert_eq!(folded(message), folded(now), "{}", now["seq"]);
        }
        // Some of the changes came before their page was read, and some afterwards.
        assert!(messages[0]["changes_seq"].as_u64() < messages[79]["changes_seq"].as_u64());
    }
}

/// How many pages of the log it takes a client to get so many messages.
async fn reads(cluster: &Cluster, node: usize, wanted: usize) -> usize {
    cluster.redis_server().count_log_reads();
    // A new user, whose private log was never read.
    let mut client = cluster.connect(node, &format!("user {}", rand::random::<u32>())).await;
    enter(&mut client, json!({ "room": "ops", "history": wanted }), wanted).await;
    client.ok("Ping", json!({})).await;
    client.leave().await;
    cluster.redis_server().log_reads()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_of_an_unchanged_room_needs_no_further_read() {
    let mut cluster = Cluster::start(Kind::Redis, 1).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    alice.say_many("ops", &"x".repeat(16_000), 60).await;
    let sent = alice.say_many("ops", "small", 50).await;
    cluster.add_node().await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    // From memory; one page; eight large messages a page, beside the small ones.
    assert_eq!(reads(&cluster, 0, 50).await, 0);
    assert_eq!(reads(&cluster, 1, 50).await, 1);
    assert_eq!(reads(&cluster, 1, 110).await, 8);
    alice.ok("React", reaction(&sent, "+1")).await;
    bob.next("React").await;
    for node in [0, 1] {
        // The first one tells the node that the log has changes.
        assert!(reads(&cluster, node, 50).await <= 2);
        assert_eq!(reads(&cluster, node, 50).await, 1);
    }
}
