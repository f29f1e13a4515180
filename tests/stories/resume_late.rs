//! A position that comes late: the connection was bound, or had entered the room, before the request with `since`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::backend::user_name;
use crate::support::client::{Client, position};
use crate::support::cluster::{Cluster, until};

/// What an `Ack` says of the position.
fn verdict(ack: &Value) -> Value {
    json!([ack["already"], ack["recovered"], ack["reason"], ack["next_seq"]])
}

/// Reads frames in their order, up to the answer with this id, and the messages behind it up to this `seq`. Returns the `seq`s
/// before the answer, its body, and the `seq`s behind it.
async fn messages_around(client: &mut Client, id: &str, last: u64) -> (Vec<u64>, Value, Vec<u64>) {
    let (mut before, mut answer, mut behind) = (Vec::new(), None, Vec::new());
    while answer.is_none() || behind.last() != Some(&last) {
        let mut frame = client.first().await.expect("the connection is open");
        let seq = frame["message_body"]["seq"].as_u64();
        match frame["message_type"].as_str() {
            Some("GroupChat" | "PrivateChat") if answer.is_none() => before.extend(seq),
            Some("GroupChat" | "PrivateChat") => behind.extend(seq),
            _ if frame["id"] == id => answer = Some(frame["message_body"].take()),
            _ => {}
        }
    }
    (before, answer.unwrap(), behind)
}

/// Bob's private messages: `taken` of `sent` are behind the cursor that his devices share. Returns the position of each.
async fn private_log(cluster: &Cluster, sent: usize, taken: usize) -> Vec<Value> {
    let mut alice = cluster.connect(0, "alice").await;
    let mut laptop = cluster.connect(0, "bob").await;
    laptop.received = Some(json!({ "epoch": "", "seq": 0 }));
    laptop.ok("Auth", json!({})).await;
    let mut positions = Vec::new();
    for number in 1..=sent {
        alice.whisper("bob", &number.to_string()).await;
        positions.push(position(&laptop.next("PrivateChat").await));
        if number == taken {
            laptop.received = positions.last().cloned();
            laptop.ok("Ping", json!({})).await;
        }
    }
    let backend = cluster.backend().await;
    let cursor = async || backend.markers.cursor(&user_name("bob")).await.unwrap().map(|at| at.seq);
    until("the cursor is stored", async || cursor().await == Some(taken as u64)).await;
    positions
}

/// Connects as bob, whose first request binds the connection without a position.
async fn bound(cluster: &Cluster, first: &str) -> Client {
    let mut bob = cluster.connect(0, "bob").await;
    bob.received = Some(json!({ "epoch": "", "seq": 0 }));
    match first {
        "PrivateChat" => bob.ok(first, json!({ "target_username": "carol", "content": "queued" })).await,
        "Enter" => bob.ok(first, json!({ "room": "ops" })).await,
        _ => bob.ok(first, json!({})).await,
    };
    bob
}

on_each_store! {
    async fn queued_message_before_the_position_skips_nothing(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let positions = private_log(&cluster, 3, 2).await;
        // The message that bob queues is the fourth in his own log.
        for first in ["PrivateChat", "Enter", "Auth"] {
            let mut bob = bound(&cluster, first).await;
            for seq in [3, 4] {
                assert_eq!(bob.next("PrivateChat").await["seq"], seq, "{first}: what follows the cursor");
            }
            let id = bob.send("Auth", json!({ "since": positions[0] })).await;
            let (before, ack, behind) = messages_around(&mut bob, &id, 4).await;
            assert!(before.is_empty(), "{first}: {before:?}");
            assert_eq!(verdict(&ack), json!([true, true, null, null]), "{first}");
            assert_eq!(behind, [2, 3, 4], "{first}: all after the position, repeats included");
            bob.heard_no("PrivateChat").await;
            // From now on this is the place from which the log was served.
            let again = bob.ok("Auth", json!({ "since": positions[0] })).await;
            assert_eq!(verdict(&again), json!([true, true, null, null]), "{first}");
            bob.heard_no("PrivateChat").await;
        }
    }

    async fn position_at_or_after_the_served_place_changes_nothing(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let positions = private_log(&cluster, 4, 2).await;
        for first in ["Auth", "Enter"] {
            let mut bob = bound(&cluster, first).await;
            for content in ["3", "4"] {
                assert_eq!(bob.hears_privately().await, content);
            }
            for at in &positions[1..] {
                let ack = bob.ok("Auth", json!({ "since": at })).await;
                assert_eq!(verdict(&ack), json!([true, true, null, null]), "{first}: {at}");
                assert_eq!(position(&ack), positions[3], "{first}");
            }
            bob.heard_no("PrivateChat").await;
            // Without a position, all stays as it is.
            let ack = bob.ok("Auth", json!({})).await;
            assert_eq!(verdict(&ack), json!([true, null, null, null]), "{first}");
            bob.heard_no("PrivateChat").await;
        }
        let mut alice = cluster.connect(1, "alice").await;
        let mut bob = bound(&cluster, "Auth").await;
        for content in ["3", "4"] {
            assert_eq!(bob.hears_privately().await, content);
        }
        bob.ok("Auth", json!({ "since": positions[2] })).await;
        alice.whisper("bob", "on").await;
        assert_eq!(bob.hears_privately().await, "on");
        bob.heard_no("PrivateChat").await;
    }

    async fn room_entered_without_the_position_is_served_from_it(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        alice.say_many("ops", "x", 10).await;
        let mut said = Vec::new();
        for _ in 0..10 {
            said.push(position(&alice.next("GroupChat").await));
        }
        for (node, history, from) in [(0, 0, 10), (1, 0, 10), (0, 3, 7), (1, 3, 7)] {
            let mut bob = cluster.connect(node, "bob").await;
            bob.ok("Enter", json!({ "room": "ops", "history": history })).await;
            bob.hears_seqs(from + 1..=10).await;
            // At the place, and after it.
            for at in from..=10 {
                let ack = bob.ok("Enter", json!({ "room": "ops", "since": said[at as usize - 1] })).await;
                assert_eq!(verdict(&ack), json!([true, true, null, null]), "{at}");
            }
            bob.heard_no("GroupChat").await;
            let id = bob.send("Enter", json!({ "room": "ops", "since": said[3], "history": 1 })).await;
            let (_, ack, behind) = messages_around(&mut bob, &id, 10).await;
            assert_eq!((verdict(&ack), &ack["seq"]), (json!([true, true, null, null]), &json!(10)));
            assert_eq!(behind, (5..=10).collect::<Vec<_>>());
            bob.heard_no("GroupChat").await;
        }
        // What is said meanwhile follows once.
        let mut bob = cluster.enter(1, "bob", "ops").await;
        bob.ok("Enter", json!({ "room": "ops", "since": said[3] })).await;
        alice.say("ops", "on").await;
        bob.hears_seqs(5..=11).await;
        bob.heard_no("GroupChat").await;
    }

    async fn late_position_that_is_not_proved_is_a_gap(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        alice.say_many("ops", "x", 5).await;
        alice.hears_seqs(1..=4).await;
        let top = position(&alice.next("GroupChat").await);
        let with = |field: &str, value: Value| {
            let mut forged = top.clone();
            forged[field] = value;
            forged
        };
        // She was served from the first message on. What can't be proved begins anew all the same.
        for (forged, reason) in [
            (with("epoch", json!("00")), "epoch"),
            (with("seq", json!(4)), "rollback"),
            (with("seq", json!(9)), "rollback"),
            (with("message_id", json!("")), "rollback"),
        ] {
            for (history, next) in [(0, 1), (2, 4)] {
                let mut body = json!({ "room": "ops", "since": forged });
                if history > 0 {
                    body["history"] = json!(history);
                }
                let id = alice.send("Enter", body).await;
                let (_, ack, behind) = messages_around(&mut alice, &id, 5).await;
                assert_eq!(verdict(&ack), json!([true, false, reason, next]), "{forged}");
                assert_eq!(behind, (next..=5).collect::<Vec<_>>(), "{forged}");
            }
            let id = alice.send("Auth", json!({ "since": forged })).await;
            let ack = alice.answer(&id).await["message_body"].take();
            assert_eq!(verdict(&ack), json!([true, false, "epoch", 1]), "her private log is empty");
        }
        alice.heard_no("GroupChat").await;
        alice.say("ops", "on").await;
        alice.hears_seqs(6..=6).await;
    }

    async fn late_position_of_a_trimmed_log_is_a_gap(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            config.history.max_messages = 10;
            config.node.ring_bytes = 1;
        })
        .await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        alice.say_many("ops", "x", 400).await;
        let first = position(&alice.next("GroupChat").await);
        alice.hears_seqs(2..=400).await;
        let id = alice.send("Enter", json!({ "room": "ops", "since": first })).await;
        let (_, ack, behind) = messages_around(&mut alice, &id, 400).await;
        let next = ack["next_seq"].as_u64().unwrap();
        assert_eq!(verdict(&ack), json!([true, false, "trimmed", next]));
        assert_eq!(behind, (next..=400).collect::<Vec<_>>());
    }

    async fn late_positions_under_load_keep_the_order(kind) {
        let cluster = Cluster::start_with(kind, 2, |config| config.limits.messages_per_second = 0).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let first = position(&alice.say("ops", "first").await);
        alice.say_many("ops", "x", 20).await;
        let talking = tokio::spawn(async move {
            for number in 0..400 {
                alice.say("ops", &number.to_string()).await;
            }
        });
        let mut joined = Vec::new();
        while !talking.is_finished() {
            let mut client = cluster.connect(joined.len() % 2, &format!("client-{}", joined.len())).await;
            let place = client.ok("Enter", json!({ "room": "ops" })).await["seq"].as_u64().unwrap();
            let id = client.send("Enter", json!({ "room": "ops", "since": first })).await;
            joined.push((client, place, id));
        }
        talking.await.unwrap();
        assert!(joined.len() > 5, "only {} clients joined under load", joined.len());
        for (client, place, id) in &mut joined {
            let (before, ack, behind) = messages_around(client, id, 421).await;
            assert_eq!(verdict(&ack), json!([true, true, null, null]));
            assert!(before.iter().copied().eq((*place + 1..).take(before.len())), "{place}: {before:?}");
            assert_eq!(behind, (2..=421).collect::<Vec<_>>());
            client.heard_no("GroupChat").await;
        }
    }

    async fn late_position_costs_five_requests(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            config.limits.messages_per_second = 100;
            config.limits.burst = 50;
        })
        .await;
        let mut alice = cluster.connect(0, "alice").await;
        let at = position(&alice.ok("Auth", json!({})).await);
        for _ in 0..40 {
            alice.ok("Auth", json!({})).await;
        }
        alice.heard_no("Error").await;
        let started = Instant::now();
        for _ in 0..20 {
            alice.ok("Auth", json!({ "since": at })).await;
        }
        // 20 × 5, minus at most 50 in the bucket, at 100 per second.
        assert!(started.elapsed() >= Duration::from_millis(450), "{:?}", started.elapsed());
    }
}
