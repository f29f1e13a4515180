//! Read markers, which only move forward and are sent to all devices of a user, and typing notices, which are not stored.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::Cluster;

/// A connected user in no room.
async fn connect(cluster: &Cluster, node: usize, name: &str) -> Client {
    let mut client = cluster.connect(node, name).await;
    client.ok("Auth", json!({})).await;
    client
}

/// The next frame of either type.
async fn next_event(client: &mut Client) -> Value {
    client
        .wait_for("an event", |frame| frame["message_type"] == "Typing" || frame["message_type"] == "Read")
        .await
}

on_each_store! {
    async fn room_marker_moves_forward_on_all_of_a_users_connections(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        let mut phone = cluster.enter(0, "alice", "ops").await;
        let mut laptop = connect(&cluster, 1, "alice").await;
        let mut epoch = Value::Null;
        for count in 1..=5 {
            epoch = bob.say("ops", &format!("m{count}")).await["epoch"].clone();
        }
        while phone.hears().await != "m5" {}
        for (seq, moves) in [(2, true), (4, true), (3, false), (4, false), (0, false), (5, true)] {
            phone.ok("Read", json!({ "room": "ops", "seq": seq })).await;
            if moves {
                let event = laptop.next("Read").await;
                assert_eq!(event, json!({ "sender_username": "alice", "room": "ops", "epoch": epoch, "seq": seq }));
            }
        }
        // A marker beyond the newest message is refused.
        phone.refused("Read", json!({ "room": "ops", "seq": 6 }), "invalid_message").await;
        phone.heard_no("Read").await;
        bob.heard_no("Read").await;
        laptop.heard_no("Read").await;
        // The answer to `Enter` contains the user's own marker, on every node.
        let marker = json!({ "epoch": epoch, "seq": 5 });
        assert_eq!(laptop.ok("Enter", json!({ "room": "ops" })).await["read"], marker);
        assert_eq!(phone.ok("Enter", json!({ "room": "ops" })).await["read"], marker);
        assert_eq!(bob.ok("Enter", json!({ "room": "ops" })).await["read"], Value::Null);
    }

    async fn read_without_a_room_uses_the_current_room(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "a").await;
        alice.ok("Enter", json!({ "room": "b" })).await;
        alice.say("b", "x").await;
        alice.hears().await;
        alice.ok("Read", json!({ "seq": 1 })).await;
        assert_eq!(alice.ok("Enter", json!({ "room": "b" })).await["read"]["seq"], 1);
        assert_eq!(alice.ok("Enter", json!({ "room": "a" })).await["read"], Value::Null);
    }

    async fn private_marker_is_sent_to_the_peer(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut phone = connect(&cluster, 0, "alice").await;
        let mut laptop = connect(&cluster, 1, "alice").await;
        let mut bob = connect(&cluster, 1, "bob").await;
        let mut carol = connect(&cluster, 0, "carol").await;
        let mut ids = Vec::new();
        for count in 0..3 {
            ids.push(bob.whisper("alice", &format!("m{count}")).await["message_id"].clone());
        }
        while phone.hears_privately().await != "m2" {}
        let read = |id: &Value| json!({ "target_username": "bob", "message_id": id });
        phone.ok("Read", read(&ids[1])).await;
        let event = json!({ "sender_username": "alice", "target_username": "bob", "message_id": ids[1] });
        assert_eq!(laptop.next("Read").await, event);
        assert_eq!(bob.next("Read").await, event);
        // The marker does not move backwards.
        for id in [&ids[0], &ids[1]] {
            phone.ok("Read", read(id)).await;
        }
        laptop.ok("Read", read(&ids[2])).await;
        assert_eq!(phone.next("Read").await["message_id"], ids[2]);
        assert_eq!(bob.next("Read").await["message_id"], ids[2]);
        for client in [&mut phone, &mut laptop, &mut bob, &mut carol] {
            client.heard_no("Read").await;
        }
        // A marker beyond the newest message is refused: it would never move again.
        let beyond = read(&json!("ffffffff-ffff-7fff-bfff-ffffffffffff"));
        phone.refused("Read", beyond, "invalid_message").await;
        // The `Ack` of the user's next `Auth` contains it, and no other `Ack`.
        let mut tablet = cluster.connect(0, "alice").await;
        assert_eq!(tablet.ok("Auth", json!({})).await["read"], json!({ "bob": ids[2] }));
        assert_eq!(bob.ok("Auth", json!({})).await["read"], json!({}));
    }

    async fn typing_reaches_other_members_and_is_not_stored(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        let mut carol = connect(&cluster, 1, "carol").await;
        alice.ok("Typing", json!({})).await;
        assert_eq!(bob.next("Typing").await, json!({ "sender_username": "alice", "room": "ops" }));
        alice.ok("Typing", json!({ "target_username": "carol" })).await;
        assert_eq!(carol.next("Typing").await, json!({ "sender_username": "alice", "target_username": "carol" }));
        alice.heard_no("Typing").await;
        bob.heard_no("Typing").await;
        assert_eq!(alice.ok("History", json!({})).await["messages"], json!([]));
        assert_eq!(carol.ok("History", json!({ "target_username": "alice" })).await["messages"], json!([]));
        // A later client does not get the notice.
        let mut dora = cluster.connect(0, "dora").await;
        dora.ok("Enter", json!({ "room": "ops", "history": 10 })).await;
        dora.heard_no("Typing").await;
    }

    async fn typing_is_sent_once_per_second_and_target(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        alice.ok("Enter", json!({ "room": "dev" })).await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        bob.ok("Enter", json!({ "room": "dev" })).await;
        let note = bob.whisper("alice", "a note").await["message_id"].clone();
        alice.next("PrivateChat").await;
        let started = std::time::Instant::now();
        // Each one is acknowledged, whether it is forwarded or not.
        for _ in 0..10 {
            alice.ok("Typing", json!({ "room": "ops" })).await;
            alice.ok("Typing", json!({ "room": "dev" })).await;
            alice.ok("Typing", json!({ "target_username": "bob" })).await;
        }
        alice.say("ops", "done").await;
        bob.wait_for("the end", |frame| frame["message_body"]["content"] == "done").await;
        alice.ok("Read", json!({ "target_username": "bob", "message_id": note })).await;
        let mut heard = Vec::new();
        loop {
            let event = next_event(&mut bob).await;
            if event["message_type"] == "Read" {
                break;
            }
            heard.push((event["message_body"]["room"].clone(), event["message_body"]["target_username"].clone()));
        }
        // On a slow machine the burst takes longer than a second.
        let most = 3 * (1 + started.elapsed().as_secs() as usize);
        assert!(heard.len() >= 3 && heard.len() <= most, "{heard:?}");
        for target in [(json!("ops"), Value::Null), (json!("dev"), Value::Null), (Value::Null, json!("bob"))] {
            assert!(heard.contains(&target), "{target:?}");
        }
        // After that second a notice is forwarded again.
        let again = async {
            loop {
                alice.ok("Typing", json!({ "room": "ops" })).await;
                bob.ok("Ping", json!({})).await;
                if bob.seen().iter().any(|frame| frame["message_type"] == "Typing") {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), again).await.expect("typing is not forwarded again");
    }
}
