//! Entering and leaving rooms: the current room, the answer to `Enter`, and the end of messages after `Leave`.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::Cluster;

/// The room of a message that names none.
async fn current(client: &mut Client) -> Value {
    client.ok("GroupChat", json!({ "content": "here" })).await;
    client.next("GroupChat").await["room"].take()
}

on_each_store! {
    async fn current_room_is_the_last_entered_and_not_left(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        for room in ["a", "b", "c"] {
            alice.ok("Enter", json!({ "room": room })).await;
            assert_eq!(current(&mut alice).await, room);
        }
        assert_eq!(alice.ok("Leave", json!({})).await, json!({ "room": "c" }));
        assert_eq!(current(&mut alice).await, "b");
        // Leaving another room does not change the current one.
        alice.ok("Leave", json!({ "room": "a" })).await;
        assert_eq!(current(&mut alice).await, "b");
        alice.ok("Enter", json!({ "room": "a" })).await;
        assert_eq!(current(&mut alice).await, "a");
        // Entering a room again makes it the current one.
        assert_eq!(alice.ok("Enter", json!({ "room": "b" })).await["already"], true);
        assert_eq!(current(&mut alice).await, "b");
        alice.ok("Leave", json!({})).await;
        assert_eq!(current(&mut alice).await, "a");
        alice.ok("Leave", json!({})).await;
        alice.refused("GroupChat", json!({ "content": "x" }), "not_in_room").await;
        // Naming a room in a message does not make it the current one.
        for room in ["a", "b"] {
            alice.ok("Enter", json!({ "room": room })).await;
        }
        alice.say("a", "over there").await;
        alice.next("GroupChat").await;
        assert_eq!(current(&mut alice).await, "b");
    }

    async fn enter_without_a_room_uses_the_default_room(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| c.rooms.default = "foyer".into()).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        assert_eq!(alice.ok("Enter", json!({})).await["room"], "foyer");
        assert_eq!(current(&mut alice).await, "foyer");
        // Unlike other requests, `Enter` never means the current room.
        alice.ok("Enter", json!({ "room": "ops" })).await;
        let again = alice.ok("Enter", json!({})).await;
        assert_eq!((&again["room"], &again["already"]), (&json!("foyer"), &json!(true)));
    }

    async fn ack_of_enter_contains_the_room_position(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.connect(0, "alice").await;
        let empty = alice.ok("Enter", json!({ "room": "ops" })).await;
        assert_eq!((&empty["seq"], &empty["message_id"], &empty["read"]), (&json!(0), &json!(""), &Value::Null));
        assert_eq!(empty["epoch"].as_str().unwrap().len(), 16);
        assert!(empty.get("recovered").is_none() && empty.get("already").is_none(), "{empty}");
        let said = alice.say("ops", "first").await;
        assert_eq!((&said["seq"], &said["epoch"]), (&json!(1), &empty["epoch"]));
        let mut bob = cluster.connect(1, "bob").await;
        let entered = bob.ok("Enter", json!({ "room": "ops" })).await;
        for field in ["epoch", "seq", "message_id"] {
            assert_eq!(entered[field], said[field], "{field}");
        }
        bob.heard_no("GroupChat").await;
    }

    async fn second_enter_replays_nothing(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let first = alice.say("ops", "one").await;
        let second = alice.say("ops", "two").await;
        assert_eq!([alice.hears().await, alice.hears().await], ["one", "two"]);
        let since = json!({ "epoch": first["epoch"], "seq": first["seq"], "message_id": first["message_id"] });
        for body in [json!({ "room": "ops" }), json!({ "room": "ops", "history": 10 }), json!({ "room": "ops", "since": since })] {
            let again = alice.ok("Enter", body).await;
            assert_eq!((&again["already"], &again["seq"]), (&json!(true), &second["seq"]), "{again}");
        }
        alice.heard_no("GroupChat").await;
        alice.heard_no("Leave").await;
    }

    async fn history_comes_after_the_ack_and_before_live_messages(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        for count in 1..=10 {
            alice.say("ops", &format!("m{count}")).await;
        }
        // Each client asks before the next message is sent, and gets that message too.
        let mut held: Vec<String> = (1..=10).map(|count| format!("m{count}")).collect();
        for wanted in [3, 1, 11, 200] {
            let mut bob = cluster.connect(1, "bob").await;
            let id = bob.send("Enter", json!({ "room": "ops", "history": wanted })).await;
            let answer = bob.first().await.unwrap();
            assert_eq!(answer["id"], *id, "the answer comes first");
            assert_eq!(answer["message_body"]["seq"], held.len());
            let live = format!("live for {wanted}");
            alice.say("ops", &live).await;
            held.push(live);
            for content in &held[held.len().saturating_sub(wanted + 1)..] {
                assert_eq!(bob.hears().await, *content);
            }
        }
        let mut carol = cluster.connect(0, "carol").await;
        carol.ok("Enter", json!({ "room": "ops", "history": 0 })).await;
        carol.heard_no("GroupChat").await;
    }

    async fn enter_event_reaches_the_joiner_after_its_ack(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.connect(0, "alice").await;
        let id = alice.send("Enter", json!({ "room": "ops" })).await;
        assert_eq!(alice.first().await.unwrap()["id"], *id);
        assert_eq!(alice.next("Enter").await, json!({ "sender_username": "alice", "room": "ops" }));
        let mut bob = cluster.enter(1, "bob", "ops").await;
        for client in [&mut alice, &mut bob] {
            assert_eq!(client.next("Enter").await, json!({ "sender_username": "bob", "room": "ops" }));
        }
        // The `Ack` follows the change that it reports.
        assert_eq!(bob.ok("Members", json!({})).await["members"], json!(["alice", "bob"]));
    }

    async fn enter_event_reaches_a_joiner_that_requested_history(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        for count in 0..120 {
            alice.say("ops", &format!("m{count}")).await;
        }
        for round in 0..30 {
            let mut bob = cluster.connect(0, &format!("bob{round}")).await;
            let id = bob.send("Enter", json!({ "room": "ops", "history": 120 })).await;
            let own = bob.next("Enter").await;
            assert_eq!(own["sender_username"], format!("bob{round}"));
            bob.answer(&id).await;
            for count in 0..120 {
                assert_eq!(bob.hears().await, format!("m{count}"));
            }
        }
    }

    async fn presence_changes_with_the_first_and_last_connection(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        assert_eq!(bob.next("Enter").await["sender_username"], "bob");
        let mut first = cluster.enter(0, "alice", "ops").await;
        assert_eq!(bob.next("Enter").await["sender_username"], "alice");
        let second = cluster.enter(1, "alice", "ops").await;
        let mut third = cluster.enter(1, "alice", "ops").await;
        first.ok("Leave", json!({})).await;
        second.leave().await;
        third.say("ops", "still here").await;
        assert_eq!(bob.hears().await, "still here");
        third.ok("Leave", json!({})).await;
        assert_eq!(bob.next("Leave").await, json!({ "sender_username": "alice", "room": "ops" }));
        bob.heard_no("Enter").await;
        bob.heard_no("Leave").await;
        assert_eq!(bob.ok("Members", json!({})).await["members"], json!(["bob"]));
    }

    async fn nothing_of_a_room_follows_the_ack_of_leave(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        alice.ok("Enter", json!({ "room": "other" })).await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        // Bob sends messages all the time.
        let talking = tokio::spawn(async move {
            for count in 0..200 {
                bob.say("ops", &format!("{count}")).await;
            }
            bob
        });
        while alice.hears().await != "20" {}
        let id = alice.send("Leave", json!({ "room": "ops" })).await;
        let mut answered = false;
        let mut bob = talking.await.unwrap();
        assert_eq!(bob.next("Leave").await["sender_username"], "alice");
        alice.ok("GroupChat", json!({ "room": "other", "content": "x" })).await;
        alice.ok("Ping", json!({})).await;
        while let Some(frame) = if alice.seen().is_empty() { None } else { alice.first().await } {
            let of_ops = frame["message_body"]["room"] == "ops" && frame["id"] != *id;
            assert!(!(answered && of_ops), "after the answer: {frame}");
            assert_ne!(frame["message_type"], "Leave", "{frame}");
            answered |= frame["id"] == *id;
        }
        assert!(answered);
    }

    async fn connection_can_be_in_many_rooms(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.connect(0, "alice").await;
        for room in 0..64 {
            alice.ok("Enter", json!({ "room": format!("r{room}") })).await;
        }
        alice.refused("Enter", json!({ "room": "one more" }), "too_many_rooms").await;
        for room in (0..64).rev().step_by(9) {
            let mut bob = cluster.enter(1, "bob", &format!("r{room}")).await;
            bob.say(&format!("r{room}"), "hello").await;
            assert_eq!(alice.next("GroupChat").await["room"], format!("r{room}"));
        }
    }

    async fn second_connection_receives_messages_of_the_first(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut phone = cluster.enter(0, "alice", "ops").await;
        let mut laptop = cluster.enter(1, "alice", "ops").await;
        phone.say("ops", "from the phone").await;
        for client in [&mut phone, &mut laptop] {
            assert_eq!(client.hears().await, "from the phone");
        }
        laptop.whisper("bob", "from the laptop").await;
        for client in [&mut phone, &mut laptop] {
            let sent = client.next("PrivateChat").await;
            assert_eq!((&sent["content"], &sent["target_username"]), (&json!("from the laptop"), &json!("bob")));
        }
    }

    async fn auth_binds_a_name_and_starts_private_messages(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.connect(0, "alice").await;
        let ack = alice.ok("Auth", json!({})).await;
        assert_eq!((ack.get("room"), &ack["seq"], &ack["read"]), (None, &json!(0), &json!({})));
        alice.refused("GroupChat", json!({ "content": "x" }), "not_in_room").await;
        let mut bob = cluster.connect(1, "bob").await;
        let sent = bob.whisper("alice", "psst").await;
        let heard = alice.next("PrivateChat").await;
        assert_eq!((&heard["content"], &heard["seq"], &heard["epoch"]), (&json!("psst"), &json!(1), &ack["epoch"]));
        assert_eq!(heard["message_id"], sent["message_id"]);
        // The `Ack` contains the position in the sender's own log.
        assert_ne!(heard["epoch"], sent["epoch"]);
        let again = alice.ok("Auth", json!({})).await;
        assert_eq!((&again["already"], &again["seq"]), (&json!(true), &json!(1)));
        alice.refused("Auth", json!({ "sender_username": "bob" }), "identity_mismatch").await;
    }

    async fn ping_needs_no_state_and_changes_none(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        for body in [json!({}), json!({ "sender_username": "alice" })] {
            assert_eq!(alice.ok("Ping", body).await, json!({ "idle_timeout_ms": 35_000 }));
        }
        alice.send_text(r#"{"message_type":"Ping","message_body":{},"id":"p"}"#).await;
        assert_eq!(alice.answer("p").await["message_type"], "Ack");
        // It did not bind a name.
        alice.ok("Enter", json!({ "sender_username": "bob", "room": "ops" })).await;
    }
}
