//! The server API changes messages: edits and reactions in the name of a user, retractions of messages of any user, and what a
//! message says beside its text.

use serde_json::{Value, json};

use crate::support::api::with_api;
use crate::support::client::position;
use crate::support::cluster::Cluster;

const UNKNOWN: &str = "0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10";

fn path_of(place: &str, sent: &Value) -> String {
    format!("/{place}/messages/{}", sent["message_id"].as_str().unwrap())
}

/// Status and code of an answer.
fn verdict((status, body): (u16, Value)) -> (u16, String) {
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

on_each_store! {
    async fn server_edits_a_message_of_its_author(kind) {
        let cluster = Cluster::start_with(kind, 2, with_api).await;
        let mut alice = cluster.enter(1, "alice", "ops").await;
        let sent = alice.say("ops", "one").await;
        let path = path_of("rooms/ops", &sent);
        let edit = |name: &str, content: &str, version: &Value| {
            json!({ "sender_username": name, "content": content, "if_version": version, "id": content })
        };
        let (status, ack) = cluster.call(0, "PATCH", &path, edit("alice", "two", &sent["message_id"])).await;
        assert_eq!((status, &ack["seq"]), (200, &json!(2)), "{ack}");
        let event = alice.next("Edit").await;
        assert_eq!((&event["content"], &event["message_id"], &event["client_id"]), (&json!("two"), &ack["message_id"], &json!("two")));
        let (status, again) = cluster.call(1, "PATCH", &path, edit("alice", "two", &Value::Null)).await;
        assert_eq!((status, &again["duplicate"], &again["message_id"]), (200, &json!(true), &ack["message_id"]));
        let (status, conflict) = cluster.call(0, "PATCH", &path, edit("alice", "three", &sent["message_id"])).await;
        assert_eq!((status, &conflict["code"]), (409, &json!("conflict")));
        assert_eq!(conflict["current"], json!({ "version": ack["message_id"], "content": "two" }));
        let call = async |path: &str, body: Value| verdict(cluster.call(0, "PATCH", path, body).await);
        assert_eq!(call(&path, edit("bob", "three", &Value::Null)).await, is(403, "forbidden"));
        let unknown = format!("/rooms/ops/messages/{UNKNOWN}");
        assert_eq!(call(&unknown, edit("alice", "three", &Value::Null)).await, is(404, "not_found"));
        assert_eq!(call("/rooms/ops/messages/x", edit("alice", "three", &Value::Null)).await, is(400, "invalid_message"));
        assert_eq!(call(&path, edit("alice", "", &Value::Null)).await, is(400, "invalid_message"));
        assert_eq!(call(&path, json!({ "sender_username": "alice" })).await, is(422, "invalid_message"));
        assert_eq!(call(&path, edit("alice", "three", &json!("x"))).await, is(422, "invalid_message"));
        assert_eq!(call(&path, edit("alice", &"x".repeat(16_385), &Value::Null)).await, is(413, "message_too_large"));
    }

    async fn server_reacts_in_the_name_of_a_user(kind) {
        let cluster = Cluster::start_with(kind, 2, with_api).await;
        let mut alice = cluster.enter(1, "alice", "ops").await;
        let sent = alice.say("ops", "shipped").await;
        let path = path_of("rooms/ops", &sent) + "/reactions";
        let react = async |on: bool| cluster.call(0, "POST", &path, json!({ "sender_username": "bot", "reaction": "✅", "on": on })).await;
        assert_eq!(react(true).await.0, 200);
        let event = alice.next("React").await;
        assert_eq!((&event["sender_username"], &event["reaction"], &event["on"]), (&json!("bot"), &json!("✅"), &json!(true)));
        let (status, again) = react(true).await;
        assert_eq!((status, &again["unchanged"], again.get("seq")), (200, &json!(true), None));
        let (_, page) = cluster.call(1, "GET", "/rooms/ops/messages", Value::Null).await;
        assert_eq!(page["messages"][0]["reactions"], json!({ "✅": { "count": 1 } }));
        assert_eq!(react(false).await.1["seq"], 3);
        for reaction in ["", "a\u{7}"] {
            let body = json!({ "sender_username": "bot", "reaction": reaction, "on": true });
            assert_eq!(verdict(cluster.call(0, "POST", &path, body).await), is(422, "invalid_message"));
        }
    }

    async fn administrator_retracts_a_message_of_any_user(kind) {
        let cluster = Cluster::start_with(kind, 2, with_api).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let first = alice.say("ops", "before").await;
        let mut sent = Vec::new();
        for text in ["secret 1", "secret 2", "secret 3"] {
            sent.push(alice.say("ops", text).await);
        }
        let path = path_of("rooms/ops", &sent[0]);
        let edit = json!({ "sender_username": "alice", "content": "secret 4" });
        assert_eq!(cluster.call(0, "PATCH", &path, edit.clone()).await.0, 200);
        let (status, ack) = cluster.call(1, "DELETE", &format!("{path}?sender_username=mod&reason=spam%21&id=r1"), Value::Null).await;
        assert_eq!((status, &ack["duplicate"]), (200, &Value::Null), "{ack}");
        // The entry names the author as before, and beside it who took the message back.
        let event = alice.next("Retract").await;
        assert_eq!((&event["sender_username"], &event["reason"]), (&json!("alice"), &json!("spam!")));
        assert_eq!((&event["moderated"], &event["moderator"]), (&json!(true), &json!("mod")));
        let (_, again) = cluster.call(0, "DELETE", &format!("{path}?sender_username=mod&id=r1"), Value::Null).await;
        assert_eq!((&again["duplicate"], &again["message_id"]), (&json!(true), &ack["message_id"]));
        let delete = async |path: &str| verdict(cluster.call(0, "DELETE", path, Value::Null).await);
        assert_eq!(delete(&path).await, is(410, "gone"));
        assert_eq!(verdict(cluster.call(0, "PATCH", &path, edit).await), is(410, "gone"));
        for unknown in [UNKNOWN, ack["message_id"].as_str().unwrap()] {
            assert_eq!(delete(&format!("/rooms/ops/messages/{unknown}")).await, is(404, "not_found"));
        }
        for bad in ["reason=", "sender_username=%20", "id=", "force=1"] {
            assert_eq!(delete(&format!("{path}?{bad}")).await, is(400, "invalid_message"), "{bad}");
        }
        // Without a name; and by the author, which is a retraction like any other.
        assert_eq!(delete(&path_of("rooms/ops", &sent[1])).await, is(200, ""));
        let event = alice.next("Retract").await;
        assert_eq!((&event["moderated"], event.get("moderator")), (&json!(true), None));
        assert_eq!(delete(&(path_of("rooms/ops", &sent[2]) + "?sender_username=alice")).await, is(200, ""));
        assert_eq!(alice.next("Retract").await.get("moderated"), None);
        // The same holds for who comes later, on either node.
        for node in [0, 1] {
            let mut bob = cluster.connect(node, "bob").await;
            bob.ok("Enter", json!({ "room": "ops", "since": position(&first) })).await;
            for (moderated, moderator) in [(json!(true), json!("mod")), (json!(true), Value::Null), (Value::Null, Value::Null), (json!(true), json!("mod"))] {
                let tombstone = bob.next("Tombstone").await;
                assert_eq!((&tombstone["moderated"], &tombstone["moderator"]), (&moderated, &moderator), "{tombstone}");
                assert_eq!(tombstone["sender_username"], "alice");
            }
            let page = bob.ok("History", json!({ "room": "ops" })).await;
            for (at, moderated, moderator) in [(1, json!(true), json!("mod")), (2, json!(true), Value::Null), (3, Value::Null, Value::Null)] {
                let message = &page["messages"][at];
                assert_eq!((&message["retracted"], &message["content"]), (&json!(true), &json!("")));
                assert_eq!((&message["moderated"], &message["moderator"]), (&moderated, &moderator));
                assert_eq!(message["sender_username"], "alice");
            }
            assert!(!format!("{:?}", bob.seen()).contains("secret"));
        }
        // Wherever it is among many.
        alice.say_many("ops", "x", 40).await;
        assert_eq!(delete(&path_of("rooms/ops", &first)).await, is(200, ""));
        assert_eq!(alice.next("Retract").await["target"]["message_id"], first["message_id"]);
    }

    async fn server_changes_private_messages(kind) {
        let cluster = Cluster::start_with(kind, 2, with_api).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        let mut sent = Vec::new();
        for text in ["one", "two"] {
            sent.push(alice.whisper("bob", text).await);
        }
        let edit = json!({ "sender_username": "alice", "content": "better" });
        assert_eq!(cluster.call(0, "PATCH", &path_of("users/bob", &sent[0]), edit.clone()).await.0, 200);
        // Her own log holds the message too, but as one to another user.
        assert_eq!(verdict(cluster.call(0, "PATCH", &path_of("users/carol", &sent[0]), edit).await), is(404, "not_found"));
        let react = json!({ "sender_username": "bob", "reaction": "+1", "on": true });
        assert_eq!(cluster.call(0, "POST", &(path_of("users/alice", &sent[0]) + "/reactions"), react).await.0, 200);
        // A retraction finds it in the log of either user.
        for (user, message) in [("alice", &sent[0]), ("bob", &sent[1])] {
            let (status, _) = cluster.call(1, "DELETE", &(path_of(&format!("users/{user}"), message) + "?sender_username=mod"), Value::Null).await;
            assert_eq!(status, 200);
        }
        for (client, peer) in [(&mut alice, "bob"), (&mut bob, "alice")] {
            assert_eq!(client.next("Edit").await["content"], "better");
            assert_eq!(client.next("React").await["sender_username"], "bob");
            for _ in 0..2 {
                let event = client.next("Retract").await;
                assert_eq!((&event["sender_username"], &event["target_username"], &event["moderator"]), (&json!("alice"), &json!("bob"), &json!("mod")));
            }
            let page = client.ok("History", json!({ "target_username": peer })).await;
            let contents: Vec<&Value> = page["messages"].as_array().unwrap().iter().map(|message| &message["content"]).collect();
            assert_eq!(contents, ["", ""]);
        }
    }

    async fn server_message_has_fields_beside_its_text(kind) {
        let cluster = Cluster::start_with(kind, 2, with_api).await;
        let mut alice = cluster.enter(1, "alice", "ops").await;
        let root = alice.say("ops", "root").await;
        alice.next("GroupChat").await;
        let mut body = json!({
            "sender_username": "bot", "content": "see alice", "reply_to": root["message_id"], "thread": root["message_id"],
            "mentions": ["alice"], "data": { "n": 18_446_744_073_709_551_615_u64 },
            "attachments": [{ "url": "https://files.example/a", "name": "a", "mime": "m/m", "bytes": 9 }],
        });
        let path = "/rooms/ops/messages";
        assert_eq!(cluster.call(0, "POST", path, body.clone()).await.0, 201);
        let heard = alice.next("GroupChat").await;
        for (name, value) in body.as_object().unwrap() {
            assert_eq!(heard[name], *value, "{name}");
        }
        for (field, wrong) in [("reply_to", json!("x")), ("thread", json!("")), ("mentions", json!(vec!["x"; 21])), ("data", json!([]))] {
            let mut body = body.clone();
            body[field] = wrong;
            let (status, error) = cluster.call(0, "POST", path, body).await;
            assert_eq!((status, &error["code"]), (422, &json!("invalid_message")), "{error}");
            assert!(error["message"].as_str().unwrap().contains(field), "{error}");
        }
        body["attachments"][0]["url"] = json!("http://files.example/a");
        assert_eq!(verdict(cluster.call(0, "POST", path, body).await), is(400, "invalid_message"));
    }
}
