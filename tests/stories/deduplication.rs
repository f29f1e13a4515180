//! A publish that is repeated with the same `id` is stored once, whichever nodes receive the copies, and each copy gets the
//! answer of the first.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::Cluster;

/// Sends a publish with an id and returns the body of its `Ack`.
async fn publish(client: &mut Client, kind: &str, body: Value, id: &str) -> Value {
    let envelope = client.envelope(kind, body, Some(id));
    client.send_text(envelope.to_string()).await;
    let mut answer = client.answer(id).await;
    assert_eq!(answer["message_type"], "Ack", "{answer}");
    answer["message_body"].take()
}

/// Asserts that the second `Ack` equals the first, except that it reports a repeat.
fn assert_repeats(second: &Value, first: &Value) {
    assert!(first.get("duplicate").is_none(), "{first}");
    let mut expected = first.clone();
    expected["duplicate"] = json!(true);
    assert_eq!(second, &expected);
}

on_each_store! {
    async fn repeated_room_message_is_stored_once_on_every_node(kind) {
        let cluster = Cluster::start(kind, 3).await;
        let mut bob = cluster.enter(2, "bob", "ops").await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let first = publish(&mut alice, "GroupChat", json!({ "content": "once" }), "id-1").await;
        let on_the_same = publish(&mut alice, "GroupChat", json!({ "content": "once" }), "id-1").await;
        assert_repeats(&on_the_same, &first);
        let mut elsewhere = cluster.enter(1, "alice", "ops").await;
        // The first message counts: contents are not compared.
        let on_another = publish(&mut elsewhere, "GroupChat", json!({ "content": "twice" }), "id-1").await;
        assert_repeats(&on_another, &first);
        // The repeat may come after other messages.
        bob.say("ops", "meanwhile").await;
        alice.leave().await;
        let late = publish(&mut elsewhere, "GroupChat", json!({ "room": "ops", "content": "once" }), "id-1").await;
        assert_repeats(&late, &first);
        let end = publish(&mut elsewhere, "GroupChat", json!({ "content": "the end" }), "id-2").await;
        assert_eq!(end["seq"].as_u64().unwrap(), first["seq"].as_u64().unwrap() + 2);
        assert_eq!([bob.hears().await, bob.hears().await, bob.hears().await], ["once", "meanwhile", "the end"]);
    }

    async fn repeated_private_message_is_stored_once(kind) {
        let cluster = Cluster::start(kind, 3).await;
        let mut bob = cluster.connect(2, "bob").await;
        bob.ok("Auth", json!({})).await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut elsewhere = cluster.connect(1, "alice").await;
        elsewhere.ok("Auth", json!({})).await;
        let body = json!({ "target_username": "bob", "content": "psst" });
        let first = publish(&mut alice, "PrivateChat", body.clone(), "id-1").await;
        assert_repeats(&publish(&mut alice, "PrivateChat", body.clone(), "id-1").await, &first);
        assert_repeats(&publish(&mut elsewhere, "PrivateChat", body, "id-1").await, &first);
        alice.whisper("bob", "the end").await;
        for client in [&mut alice, &mut elsewhere, &mut bob] {
            let one = client.next("PrivateChat").await;
            assert_eq!((&one["content"], &one["message_id"]), (&json!("psst"), &first["message_id"]));
            assert_eq!(client.hears_privately().await, "the end");
        }
        // A message to yourself: one log, one entry.
        let to_self = json!({ "target_username": "alice", "content": "note" });
        let first = publish(&mut alice, "PrivateChat", to_self.clone(), "id-2").await;
        assert_repeats(&publish(&mut elsewhere, "PrivateChat", to_self, "id-2").await, &first);
        assert_eq!(alice.hears_privately().await, "note");
        alice.heard_no("PrivateChat").await;
    }

    async fn same_id_from_another_user_or_topic_is_no_repeat(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut bob = cluster.enter(0, "bob", "a").await;
        for room in ["a", "b"] {
            alice.ok("Enter", json!({ "room": room })).await;
        }
        let mut ids = Vec::new();
        for (kind, body) in [
            ("GroupChat", json!({ "room": "a", "content": "x" })),
            ("GroupChat", json!({ "room": "b", "content": "x" })),
            ("PrivateChat", json!({ "target_username": "a", "content": "x" })),
            ("PrivateChat", json!({ "target_username": "b", "content": "x" })),
            ("PrivateChat", json!({ "target_username": "alice", "content": "x" })),
        ] {
            let ack = publish(&mut alice, kind, body.clone(), "same").await;
            assert_eq!(ack.get("duplicate"), None, "{body}");
            ids.push(ack["message_id"].as_str().unwrap().to_owned());
        }
        // Another user may use the same id.
        let ack = publish(&mut bob, "GroupChat", json!({ "room": "a", "content": "x" }), "same").await;
        assert_eq!(ack.get("duplicate"), None);
        let ack = publish(&mut bob, "PrivateChat", json!({ "target_username": "alice", "content": "x" }), "same").await;
        assert_eq!(ack.get("duplicate"), None);
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 5);
    }

    async fn concurrent_copies_are_stored_once(kind) {
        let cluster = Cluster::start(kind, 3).await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        let mut alices = Vec::new();
        for node in 0..3 {
            alices.push(cluster.enter(node, "alice", "ops").await);
        }
        for round in 0..20 {
            let id = format!("round-{round}");
            let mut senders = Vec::new();
            for mut alice in alices.drain(..) {
                let id = id.clone();
                senders.push(tokio::spawn(async move {
                    let group = publish(&mut alice, "GroupChat", json!({ "content": id }), &id).await;
                    let private = publish(&mut alice, "PrivateChat", json!({ "target_username": "bob", "content": id }), &id).await;
                    (alice, [group, private])
                }));
            }
            let mut acks: [Vec<Value>; 2] = Default::default();
            for sender in senders {
                let (alice, [group, private]) = sender.await.unwrap();
                alices.push(alice);
                acks[0].push(group);
                acks[1].push(private);
            }
            for acks in acks {
                assert_eq!(acks.iter().filter(|ack| ack.get("duplicate").is_none()).count(), 1, "{acks:?}");
                for field in ["message_id", "seq", "epoch", "sent_at"] {
                    assert!(acks.iter().all(|ack| ack[field] == acks[0][field]), "{acks:?}");
                }
            }
            assert_eq!(bob.hears().await, id);
            assert_eq!(bob.hears_privately().await, id);
        }
        bob.say("ops", "the end").await;
        assert_eq!(bob.hears().await, "the end");
    }

    async fn same_content_without_an_id_is_stored_twice(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        for _ in 0..2 {
            alice.tell("GroupChat", json!({ "content": "same words" })).await;
        }
        for seq in 1..=2 {
            let heard = alice.next("GroupChat").await;
            assert_eq!((&heard["seq"], heard.get("client_id")), (&json!(seq), None));
        }
    }

    async fn repeat_of_a_trimmed_message_is_recognised(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| c.history.max_messages = 5).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let first = publish(&mut alice, "GroupChat", json!({ "content": "once" }), "id-1").await;
        for _ in 0..6 {
            alice.say("ops", "x").await;
        }
        assert_repeats(&publish(&mut alice, "GroupChat", json!({ "content": "once" }), "id-1").await, &first);
        assert_eq!(alice.ok("Enter", json!({ "room": "ops" })).await["seq"], 7);
    }

    async fn ack_reports_the_dedupe_window(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| c.history.dedupe_window = std::time::Duration::from_secs(90)).await;
        let mut alice = cluster.connect(0, "alice").await;
        assert_eq!(alice.ok("Auth", json!({})).await["dedupe_ms"], 90_000);
        assert_eq!(alice.ok("Enter", json!({})).await["dedupe_ms"], 90_000);
    }
}
