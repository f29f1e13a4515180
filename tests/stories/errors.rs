//! Errors: each code in the table of the protocol, with the `id` of the request. The connection stays open.

use std::time::{Duration, Instant};

use chatnode::config::Config;
use serde_json::{Value, json};

use crate::support::api::{call, with_api};
use crate::support::client::{Client, PATIENCE};
use crate::support::cluster::{Cluster, Kind};

/// Sends an envelope as it is and waits for the `Error` with its id.
async fn error_of(client: &mut Client, envelope: Value) -> Value {
    client.send_text(envelope.to_string()).await;
    let mut answer = client.answer(envelope["id"].as_str().unwrap()).await;
    assert_eq!(answer["message_type"], "Error", "{envelope} was carried out: {answer}");
    answer["message_body"].take()
}

on_each_store! {
    async fn read_only_room_accepts_messages_only_from_the_server(kind) {
        let read_only = |config: &mut Config| {
            with_api(config);
            // With spaces, because names are normalised.
            config.rooms.read_only = vec![" news ".into()];
        };
        let cluster = Cluster::start_with(kind, 2, read_only).await;
        let mut alice = cluster.enter(0, "alice", "news").await;
        let error = alice.refused("GroupChat", json!({ "room": "news", "content": "psst" }), "forbidden").await;
        assert!(error["message"].as_str().unwrap().contains("read-only"), "{error}");
        alice.refused("GroupChat", json!({ "content": "in the current room" }), "forbidden").await;
        alice.refused("Typing", json!({ "room": "news" }), "forbidden").await;
        let said = json!({ "sender_username": "editor", "content": "extra" });
        assert_eq!(call(cluster.address(1), "POST", "/rooms/news/messages", said).await.0, 201);
        assert_eq!(alice.hears().await, "extra");
        alice.ok("Enter", json!({ "room": "newsroom" })).await;
        alice.say("newsroom", "elsewhere as ever").await;
    }

    async fn text_that_is_not_json_gets_invalid_json(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        for text in ["", "hello", "{\"message_type\":", "{} {}", "{'message_type':'Ping'}"] {
            alice.send_text(text).await;
            assert_eq!(alice.next("Error").await["code"], "invalid_json", "{text:?}");
        }
        alice.ok("Ping", json!({})).await;
    }

    async fn invalid_message_error_names_the_field(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let name = "alice";
        let position = json!({ "epoch": "0123456789abcdef", "seq": 1 });
        let faults = [
            ("Enter", json!({}), "sender_username"),
            ("Enter", json!({ "sender_username": 5 }), "sender_username"),
            ("Enter", json!({ "sender_username": " " }), "sender_username"),
            ("Enter", json!({ "sender_username": null }), "sender_username"),
            ("Enter", json!({ "sender_username": name, "room": "" }), "room"),
            ("Enter", json!({ "sender_username": name, "room": ["ops"] }), "room"),
            ("Enter", json!({ "sender_username": name, "history": 201 }), "history"),
            ("Enter", json!({ "sender_username": name, "history": -1 }), "history"),
            ("Enter", json!({ "sender_username": name, "history": 1.5 }), "history"),
            ("Enter", json!({ "sender_username": name, "since": 7 }), "since"),
            ("Enter", json!({ "sender_username": name, "since": {} }), "since.epoch"),
            ("Enter", json!({ "sender_username": name, "since": { "epoch": "x" } }), "since.seq"),
            ("Enter", json!({ "sender_username": name, "since": position }), "since.message_id"),
            ("Leave", json!({ "room": "ops" }), "sender_username"),
            ("GroupChat", json!({ "sender_username": name }), "content"),
            ("GroupChat", json!({ "sender_username": name, "content": "" }), "content"),
            ("GroupChat", json!({ "sender_username": name, "content": { "a": 1 } }), "content"),
            ("PrivateChat", json!({ "sender_username": name, "content": "x" }), "target_username"),
            ("PrivateChat", json!({ "sender_username": name, "target_username": "bob" }), "content"),
            ("Typing", json!({ "sender_username": name, "room": "a", "target_username": "b" }), "target_username"),
            ("History", json!({ "sender_username": name, "limit": 0 }), "limit"),
            ("History", json!({ "sender_username": name, "limit": 201 }), "limit"),
            ("History", json!({ "sender_username": name, "before": 5 }), "epoch"),
            ("History", json!({ "sender_username": name, "before": "5", "epoch": "x" }), "before"),
            ("Members", json!({ "sender_username": name, "limit": 1_001 }), "limit"),
            ("Members", json!({ "sender_username": name, "after": "\n" }), "after"),
            ("Read", json!({ "sender_username": name, "room": "ops" }), "seq"),
            ("Read", json!({ "sender_username": name, "target_username": "bob" }), "message_id"),
            (
                "Read",
                json!({ "sender_username": name, "target_username": "bob", "message_id": "ffffffff-ffff-4fff-bfff-ffffffffffff" }),
                "message_id",
            ),
            (
                "Read",
                json!({ "sender_username": name, "target_username": "bob", "message_id": "not one" }),
                "message_id",
            ),
            ("Ping", json!({ "sender_username": "a\u{0}b" }), "sender_username"),
        ];
        // More than ten on one connection would close it.
        for faults in faults.chunks(10) {
            let mut alice = cluster.connect(0, name).await;
            for (index, (kind, body, field)) in faults.iter().enumerate() {
                let id = format!("fault-{index}");
                let error =
                    error_of(&mut alice, json!({ "message_type": kind, "message_body": body, "id": id })).await;
                assert_eq!(error["code"], "invalid_message", "{kind} {body}");
                let text = error["message"].as_str().unwrap();
                assert!(text.contains(&format!("`{field}`")), "{kind} {body}: {text}");
            }
            alice.ok("Ping", json!({})).await;
        }
    }

    async fn invalid_envelope_error_names_the_field(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        let long_id = "x".repeat(65);
        let body = json!({ "sender_username": "alice" });
        for (envelope, field) in [
            (json!({ "message_body": body }), "message_type"),
            (json!({ "message_type": 1, "message_body": body }), "message_type"),
            (json!({ "message_type": "Enter" }), "message_body"),
            (json!({ "message_type": "Enter", "message_body": null }), "message_body"),
            (json!({ "message_type": "Enter", "message_body": [body] }), "message_body"),
            (json!({ "message_type": "Enter", "message_body": body, "token": 5 }), "token"),
            (json!({ "message_type": "Enter", "message_body": body, "id": 5 }), "id"),
            (json!({ "message_type": "Enter", "message_body": body, "received": 5 }), "received"),
            (json!({ "message_type": "Enter", "message_body": body, "id": "" }), "id"),
            (json!({ "message_type": "Enter", "message_body": body, "id": long_id }), "id"),
        ] {
            alice.send_text(envelope.to_string()).await;
            let error = alice.next("Error").await;
            assert_eq!(error["code"], "invalid_message", "{envelope}");
            assert!(error["message"].as_str().unwrap().contains(&format!("`{field}`")), "{envelope}: {error}");
        }
        // None of them was executed.
        alice.refused("Members", json!({}), "not_in_room").await;
    }

    async fn frame_without_a_json_object_is_an_invalid_message(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        for text in ["[]", "5", "null", "\"Enter\"", "[\"Ping\",{},null,\"1\"]"] {
            alice.send_text(text).await;
            assert_eq!(alice.next("Error").await["code"], "invalid_message", "{text}");
        }
    }

    async fn duplicate_field_is_refused_by_name(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        for (text, field) in [
            (r#"{"message_type":"Enter","message_type":"Ping","message_body":{"sender_username":"alice"}}"#, "message_type"),
            (r#"{"message_type":"Enter","message_body":{"sender_username":"alice","sender_username":"bob"}}"#, "sender_username"),
        ] {
            alice.send_text(text).await;
            let error = alice.next("Error").await;
            assert_eq!(error["code"], "invalid_message", "{error}");
            assert!(error["message"].as_str().unwrap().contains(field), "{error}");
        }
    }

    async fn deep_and_wide_json_is_refused_without_harm(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        let deep = |open: &str, close: &str| open.repeat(20_000) + "1" + &close.repeat(20_000);
        for value in [deep("[", "]"), deep("{\"a\":", "}").chars().take(131_000).collect(), "[".repeat(100_000)] {
            for text in [
                value.clone(),
                format!(r#"{{"message_type":"Ping","id":"1","else":{value}}}"#),
                format!(r#"{{"message_type":"Ping","id":"1","message_body":{value}}}"#),
                format!(r#"{{"message_type":"Enter","id":"1","message_body":{{"sender_username":{value}}}}}"#),
            ] {
                // One connection each, because too many invalid frames would close it.
                let mut bob = cluster.connect(0, "bob").await;
                bob.send_text(text).await;
                let answer = bob.first().await.unwrap();
                assert!(answer["message_type"] == "Ack" || answer["message_body"]["code"].as_str().unwrap().starts_with("invalid_"), "{answer}");
            }
        }
        alice.ok("Ping", json!({})).await;
    }

    async fn unknown_type_error_lists_the_known_types(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        for unknown in ["Shout", "", "enter", "Ack"] {
            let error = alice.refused(unknown, json!({ "content": "x" }), "unknown_type").await;
            assert!(error["message"].as_str().unwrap().contains("GroupChat"), "{error}");
        }
    }

    async fn oversized_content_is_refused_and_the_connection_stays(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        // These are not invalid frames: many of them don't close the connection.
        for _ in 0..12 {
            let long = json!({ "content": "x".repeat(16_385) });
            alice.refused("GroupChat", long, "message_too_large").await;
        }
        alice.refused("PrivateChat", json!({ "target_username": "bob", "content": "é".repeat(8_193) }), "message_too_large").await;
        alice.say("ops", "short").await;
        assert_eq!(alice.hears().await, "short");
    }

    async fn requests_to_a_room_that_was_not_entered_are_refused(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        let top = bob.say("ops", "for members").await;
        let mut alice = cluster.connect(0, "alice").await;
        // Neither by name nor as the current room; neither before the first `Enter` nor after a `Leave`.
        for _ in 0..2 {
            for room in [json!("ops"), Value::Null] {
                for (kind, body) in [
                    ("Leave", json!({ "room": room })),
                    ("GroupChat", json!({ "room": room, "content": "let me in" })),
                    ("History", json!({ "room": room })),
                    ("Members", json!({ "room": room })),
                    ("Typing", json!({ "room": room })),
                    ("Read", json!({ "room": room, "seq": top["seq"] })),
                ] {
                    alice.refused(kind, body, "not_in_room").await;
                }
            }
            alice.ok("Enter", json!({ "room": "ops" })).await;
            alice.ok("Leave", json!({})).await;
        }
        assert_eq!(bob.hears().await, "for members");
        bob.heard_no("GroupChat").await;
        bob.heard_no("Typing").await;
    }

    async fn room_limit_applies_until_a_room_is_left(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| c.limits.max_rooms_per_connection = 3).await;
        let mut alice = cluster.connect(0, "alice").await;
        for room in ["a", "b", "c"] {
            alice.ok("Enter", json!({ "room": room })).await;
        }
        alice.refused("Enter", json!({ "room": "d" }), "too_many_rooms").await;
        // Entering a room again does not count.
        assert_eq!(alice.ok("Enter", json!({ "room": "a" })).await["already"], true);
        alice.ok("Leave", json!({ "room": "b" })).await;
        alice.ok("Enter", json!({ "room": "d" })).await;
        alice.refused("Enter", json!({ "room": "b" }), "too_many_rooms").await;
    }

    async fn connection_keeps_one_name(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        for kind in ["Enter", "Leave", "GroupChat", "PrivateChat", "Auth", "Typing", "History", "Members", "Rooms", "Markers", "Read", "Ping"] {
            let body = json!({ "sender_username": "mallory", "room": "ops", "content": "x", "seq": 0 });
            let body = if kind == "PrivateChat" { json!({ "sender_username": "mallory", "target_username": "alice", "content": "x" }) } else { body };
            alice.refused(kind, body, "identity_mismatch").await;
        }
        alice.heard_no("GroupChat").await;
        alice.heard_no("PrivateChat").await;
        assert_eq!(alice.ok("Members", json!({})).await["members"], json!(["alice"]));
    }

    async fn first_accepted_request_binds_the_name(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut client = cluster.connect(0, "alice").await;
        client.refused("GroupChat", json!({ "content": "x" }), "not_in_room").await;
        client.refused("Enter", json!({ "sender_username": "" }), "invalid_message").await;
        client.ok("Enter", json!({ "sender_username": "bob", "room": "ops" })).await;
        client.refused("Enter", json!({ "room": "ops" }), "identity_mismatch").await;
    }

    async fn requests_with_ids_are_answered_once_and_in_order(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut sent = Vec::new();
        for round in 0..3 {
            for (kind, body) in [
                ("Enter", json!({ "room": format!("r{round}"), "history": 10 })),
                ("GroupChat", json!({ "content": "one" })),
                ("Nonsense", json!({})),
                ("GroupChat", json!({})),
                ("PrivateChat", json!({ "target_username": "alice", "content": "note to self" })),
                ("Members", json!({})),
                ("History", json!({})),
                ("Auth", json!({})),
                ("Leave", json!({ "room": "elsewhere" })),
                ("Typing", json!({})),
                ("Ping", json!({})),
                ("Leave", json!({})),
            ] {
                sent.push(alice.send(kind, body).await);
            }
        }
        let last = alice.send("Ping", json!({})).await;
        alice.answer(&last).await;
        let answered: Vec<&Value> = alice.seen().iter().filter(|frame| !frame["id"].is_null()).map(|frame| &frame["id"]).collect();
        assert_eq!(answered, sent.iter().collect::<Vec<_>>());
    }

    async fn request_without_an_id_gets_errors_but_no_ack(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        alice.tell("Auth", json!({})).await;
        alice.tell("Enter", json!({ "room": "ops" })).await;
        alice.tell("GroupChat", json!({ "content": "x" })).await;
        alice.tell("History", json!({})).await;
        alice.tell("Leave", json!({ "room": "elsewhere" })).await;
        let error = alice.wait_for("the error", |frame| frame["message_type"] == "Error").await;
        assert_eq!(error["message_body"]["code"], "not_in_room");
        assert!(error.get("id").is_none(), "{error}");
        alice.heard_no("Ack").await;
    }

    async fn unknown_fields_and_nulls_are_ignored(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        alice.send_text(json!({
            "message_type": "Enter", "id": "1", "token": null, "colour": "red", "trace": { "deep": [1, { "er": null }] },
            "message_body": {
                "sender_username": "alice", "room": null, "since": null, "history": null, "nick": "al",
                "content": 5, "limit": "not looked at", "seq": -1,
            },
        }).to_string()).await;
        assert_eq!(alice.answer("1").await["message_body"]["room"], "lobby");
        alice.send_text(json!({ "message_type": "Ping", "id": "2", "message_body": null }).to_string()).await;
        alice.send_text(json!({ "message_type": "Ping", "id": "3" }).to_string()).await;
        assert_eq!(alice.answer("2").await["message_type"], "Ack");
        assert_eq!(alice.answer("3").await["message_type"], "Ack");
    }
}

/// Only a store outside the process can be unavailable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_without_the_store_get_unavailable_and_an_outcome() {
    let mut cluster =
        Cluster::start_with(Kind::Redis, 1, |c| c.redis.timeout = Duration::from_millis(500)).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    cluster.redis().kill();
    for (kind, body) in [
        ("GroupChat", json!({ "content": "x" })),
        ("PrivateChat", json!({ "target_username": "bob", "content": "x" })),
        ("History", json!({})),
        ("Members", json!({})),
        ("Markers", json!({})),
        ("Enter", json!({ "room": "other" })),
    ] {
        let error = alice.refused(kind, body, "unavailable").await;
        assert!(error["outcome"] == "refused" || error["outcome"] == "unknown", "{kind}: {error}");
        assert!(error["retry_after_ms"].as_u64().unwrap() > 0, "{kind}: {error}");
        // Clients don't learn the address of the store.
        assert!(!error["message"].as_str().unwrap().contains("127.0.0.1"), "{error}");
    }
    alice.ok("Ping", json!({})).await;
    cluster.redis().restart();
    let deadline = Instant::now() + PATIENCE;
    while alice.ask("GroupChat", json!({ "content": "after" })).await["message_type"] != "Ack" {
        assert!(Instant::now() < deadline, "the node did not reconnect to its store");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
