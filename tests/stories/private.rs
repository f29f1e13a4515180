//! Private messages: they wait for absent users, reach every device, and count as delivered only once a client confirms them.

use std::time::Duration;

use chatnode::backend::Backend;
use serde_json::{Value, json};

use crate::support::backend::user_name;
use crate::support::client::{Client, position};
use crate::support::cluster::{Cluster, Kind, until};
use crate::support::silent_client::read_silently;

/// The `seq` up to which a user's messages count as delivered.
async fn cursor(backend: &Backend, user: &str) -> Option<u64> {
    backend.markers.cursor(&user_name(user)).await.unwrap().map(|position| position.seq)
}

/// Lets a client read, and thus answer pings, until its user's messages up to `seq` count as delivered.
async fn confirms(client: &mut Client, backend: &Backend, seq: u64) {
    let name = client.name().to_owned();
    let client = tokio::sync::Mutex::new(client);
    until("the cursor moves", async || {
        client.lock().await.ok("Ping", json!({})).await;
        cursor(backend, &name).await == Some(seq)
    })
    .await;
}

async fn hears_all(client: &mut Client, contents: &[&str]) {
    for content in contents {
        assert_eq!(client.hears_privately().await, *content);
    }
}

on_each_store! {
    async fn private_messages_wait_for_the_user_and_are_confirmed_once(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        alice.whisper("bob", "one").await;
        alice.whisper("bob", "two").await;
        let mut bob = cluster.connect(1, "bob").await;
        let ack = bob.ok("Auth", json!({})).await;
        assert_eq!((&ack["seq"], &ack["recovered"]), (&json!(2), &Value::Null), "{ack}");
        hears_all(&mut bob, &["one", "two"]).await;
        confirms(&mut bob, &backend, 2).await;
        bob.leave().await;
        alice.whisper("bob", "three").await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        hears_all(&mut bob, &["three"]).await;
        bob.heard_no("PrivateChat").await;
    }

    async fn every_device_of_both_users_gets_each_message_once(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut devices = Vec::new();
        for (node, name) in [(0, "bob"), (0, "bob"), (1, "bob"), (1, "alice")] {
            let mut device = cluster.connect(node, name).await;
            device.ok("Auth", json!({})).await;
            devices.push(device);
        }
        let mut alice = cluster.connect(0, "alice").await;
        for i in 0..20 {
            alice.whisper("bob", &i.to_string()).await;
        }
        let whispered = tokio::sync::Mutex::new(Vec::new());
        for device in devices.iter_mut().chain([&mut alice]) {
            for i in 0..20 {
                let message = device.next("PrivateChat").await;
                assert_eq!(message["content"], i.to_string());
                assert_eq!(message["seq"], i + 1);
                whispered.lock().await.push(message["message_id"].to_string());
            }
            device.heard_no("PrivateChat").await;
        }
        let mut ids = whispered.into_inner();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 20, "one id for both logs");
    }

    async fn each_user_has_positions_in_a_separate_log(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut bob = cluster.connect(0, "bob").await;
        bob.ok("Auth", json!({})).await;
        alice.whisper("carol", "first").await;
        let ack = alice.whisper("bob", "second").await;
        assert_eq!(ack["seq"], 2, "the Ack contains the position in the sender's log");
        alice.next("PrivateChat").await;
        let (own, received) = (alice.next("PrivateChat").await, bob.next("PrivateChat").await);
        assert_eq!((&own["seq"], &own["epoch"]), (&ack["seq"], &ack["epoch"]));
        assert_eq!(received["seq"], 1);
        assert_ne!(received["epoch"], own["epoch"]);
        for field in ["message_id", "sent_at", "content", "sender_username", "target_username"] {
            assert_eq!(received[field], own[field], "{field}");
        }
    }

    async fn message_to_yourself_is_stored_once(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut other = cluster.connect(1, "alice").await;
        other.ok("Auth", json!({})).await;
        let ack = alice.whisper("alice", "a note").await;
        assert_eq!(ack["seq"], 1);
        let ack = alice.whisper("alice", "another").await;
        assert_eq!(ack["seq"], 2);
        for client in [&mut alice, &mut other] {
            hears_all(client, &["a note", "another"]).await;
            client.heard_no("PrivateChat").await;
        }
    }

    async fn device_with_a_stored_position_resumes_from_it(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut phone = cluster.connect(0, "bob").await;
        phone.ok("Auth", json!({})).await;
        let mut laptop = cluster.connect(1, "bob").await;
        laptop.ok("Auth", json!({})).await;
        alice.whisper("bob", "one").await;
        let seen = laptop.next("PrivateChat").await;
        laptop.leave().await;
        alice.whisper("bob", "two").await;
        alice.whisper("bob", "three").await;
        hears_all(&mut phone, &["one", "two", "three"]).await;
        confirms(&mut phone, &backend, 3).await;
        let mut laptop = cluster.connect(1, "bob").await;
        let ack = laptop.ok("Auth", json!({ "since": position(&seen) })).await;
        assert_eq!((&ack["recovered"], &ack["seq"]), (&json!(true), &json!(3)), "{ack}");
        laptop.ok("Enter", json!({ "room": "ops" })).await;
        hears_all(&mut laptop, &["two", "three"]).await;
        alice.whisper("bob", "four").await;
        hears_all(&mut laptop, &["four"]).await;
        laptop.heard_no("PrivateChat").await;
    }

    async fn trimmed_messages_after_the_cursor_are_a_gap(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            config.history.max_messages = 10;
            config.limits.messages_per_second = 0;
        })
        .await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        // The first has taken a message, the second has connected before it got one.
        for (name, taken) in [("bob", 1), ("carol", 0)] {
            let mut reader = cluster.connect(0, name).await;
            reader.ok("Auth", json!({})).await;
            if taken > 0 {
                alice.whisper(name, "taken").await;
                hears_all(&mut reader, &["taken"]).await;
                confirms(&mut reader, &backend, taken).await;
            }
            reader.leave().await;
            // Stores trim in steps.
            for i in 0..400 {
                alice.whisper(name, &format!("unread {i}")).await;
            }
            let mut reader = cluster.connect(0, name).await;
            reader.ok("Auth", json!({})).await;
            let gap = reader.next("Gap").await;
            let first = reader.next("PrivateChat").await;
            assert_eq!((&gap["reason"], &gap["room"]), (&json!("trimmed"), &Value::Null), "{gap}");
            assert_eq!((&gap["next_seq"], &gap["epoch"]), (&first["seq"], &first["epoch"]), "{gap} {first}");
            assert!(first["seq"].as_u64().unwrap() > taken + 1, "{first}");
        }
    }

    async fn unconfirmed_message_is_delivered_again(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            config.server.ping_interval = Duration::from_secs(1);
            config.server.pong_timeout = Duration::from_millis(500);
        })
        .await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        alice.whisper("bob", "one").await;
        alice.whisper("bob", "two").await;
        let frames = read_silently(cluster.address(0), "bob").await;
        let contents = |frames: &[Value]| -> Vec<String> {
            let messages = frames.iter().filter(|frame| frame["message_type"] == "PrivateChat");
            messages.map(|message| message["message_body"]["content"].as_str().unwrap().into()).collect()
        };
        assert_eq!(contents(&frames), ["one", "two"]);
        assert_eq!(cursor(&backend, "bob").await, None);
        let mut bob = cluster.connect(0, "bob").await;
        bob.ok("Auth", json!({})).await;
        hears_all(&mut bob, &["one", "two"]).await;
        confirms(&mut bob, &backend, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeat_completes_a_half_stored_message() {
    let cluster = Cluster::start(Kind::Redis, 1).await;
    let mut bob = cluster.connect(0, "bob").await;
    bob.ok("Auth", json!({})).await;
    let mut alice = cluster.connect(0, "alice").await;
    let message = json!({ "target_username": "bob", "content": "hello" });
    let envelope = alice.envelope("PrivateChat", message, Some("the-one-id")).to_string();
    alice.send_text(envelope.clone()).await;
    let first = alice.answer("the-one-id").await["message_body"].take();
    let heard = bob.next("PrivateChat").await;
    alice.leave().await;
    // As if the second write had not happened.
    for part in ["meta", "log", "d0", "d1"] {
        cluster.redis_server().command(&["DEL", &format!("chat:{{u:alice}}:{part}")]).unwrap();
    }
    let mut alice = cluster.connect(0, "alice").await;
    alice.send_text(envelope.clone()).await;
    let second = alice.answer("the-one-id").await["message_body"].take();
    assert_eq!((&second["message_id"], &second["sent_at"]), (&first["message_id"], &first["sent_at"]));
    assert_ne!(second["epoch"], first["epoch"]);
    assert_eq!(second["seq"], 1);
    let own = alice.next("PrivateChat").await;
    assert_eq!((&own["message_id"], &own["content"]), (&heard["message_id"], &heard["content"]));
    alice.send_text(envelope).await;
    let third = alice.answer("the-one-id").await["message_body"].take();
    assert_eq!((&third["duplicate"], &third["seq"]), (&json!(true), &json!(1)), "{third}");
    bob.heard_no("PrivateChat").await;
}
