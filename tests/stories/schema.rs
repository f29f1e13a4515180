//! docs/protocol.schema.json is the protocol's: it is what the types make, the examples of docs/protocol.md keep to it,
//! and so does every frame that a node sends.

use std::path::{Path, PathBuf};

use chatnode::protocol;
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::Cluster;

const COMMAND: &str =
    "cargo run -p chatnode-protocol --features schema --example schema > docs/protocol.schema.json";

fn document(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What one definition of the committed schema accepts.
fn definition(name: &str) -> Validator {
    let schema: Value = serde_json::from_str(&document("protocol.schema.json")).unwrap();
    let of =
        json!({ "$schema": schema["$schema"], "$ref": format!("#/$defs/{name}"), "$defs": schema["$defs"] });
    jsonschema::draft202012::new(&of).unwrap()
}

#[test]
fn committed_schema_is_generated_from_the_types() {
    let committed: Value = serde_json::from_str(&document("protocol.schema.json")).unwrap();
    assert!(committed == protocol::schema(), "docs/protocol.schema.json is out of date; run\n{COMMAND}");
}

#[test]
fn examples_of_the_protocol_page_match_the_schema() {
    let (client, server) = (definition("ClientFrame"), definition("ServerFrame"));
    let page = document("protocol.md");
    let examples: Vec<&str> =
        page.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 3, "the page has only {} examples", examples.len());
    for example in examples {
        let frame: Value = serde_json::from_str(example).unwrap();
        assert!(client.is_valid(&frame) || server.is_valid(&frame), "{example}");
    }
}

#[test]
fn invalid_frames_do_not_match_the_schema() {
    let (client, server) = (definition("ClientFrame"), definition("ServerFrame"));
    let request = |kind: &str, body: Value| json!({ "message_type": kind, "message_body": body });
    for (kind, body) in [
        ("Enter", json!({})),
        ("Enter", json!({ "sender_username": "alice", "history": 201 })),
        ("Enter", json!({ "sender_username": "alice", "since": { "epoch": "x" } })),
        ("GroupChat", json!({ "sender_username": "alice", "content": "" })),
        ("History", json!({ "sender_username": "alice", "limit": 0 })),
        ("Members", json!({ "sender_username": ["alice"] })),
        ("Shout", json!({ "sender_username": "alice" })),
    ] {
        let frame = request(kind, body);
        assert!(!client.is_valid(&frame), "{frame}");
        assert!(protocol::ClientMessage::decode(&frame.to_string(), 16_384).is_err(), "{frame}");
    }
    for frame in [
        request("Ack", json!({ "room": "ops" })),
        request("Error", json!({ "code": "shy", "message": "no" })),
        request("Gap", json!({ "reason": "trimmed", "epoch": "x", "next_seq": 1 })),
        request("Typing", json!({ "sender_username": "alice" })),
        request("GroupChat", json!({ "sender_username": "alice", "content": "hi", "room": "ops" })),
    ] {
        assert!(!server.is_valid(&frame), "{frame}");
    }
}

/// Sends every request, in each of its forms. Returns the answers, and the events of each kind.
async fn talk(alice: &mut Client, bob: &mut Client) -> Vec<Value> {
    let top = alice.say("ops", "hello").await;
    let private = alice.whisper("bob", "psst").await;
    let since = json!({ "epoch": top["epoch"], "seq": top["seq"], "message_id": top["message_id"] });
    let mut frames = Vec::new();
    for (kind, body) in [
        ("Auth", json!({})),
        ("Enter", json!({ "room": "ops" })),
        ("Enter", json!({ "room": "other", "since": since, "history": 5 })),
        ("Leave", json!({ "room": "other" })),
        ("GroupChat", json!({ "content": "in the current room" })),
        ("PrivateChat", json!({ "target_username": "bob", "content": "again" })),
        ("Typing", json!({ "room": "ops" })),
        ("Typing", json!({ "target_username": "bob" })),
        ("History", json!({ "room": "ops", "limit": 2 })),
        ("History", json!({ "target_username": "bob" })),
        ("Members", json!({ "room": "ops" })),
        ("History", json!({ "room": "ops", "max_bytes": 4_096 })),
        ("Read", json!({ "room": "ops", "seq": top["seq"] })),
        ("Read", json!({ "target_username": "bob", "message_id": private["message_id"] })),
        ("Markers", json!({})),
        ("Rooms", json!({})),
        ("Unread", json!({ "rooms": ["ops", "other"] })),
        ("Ping", json!({})),
        ("Leave", json!({ "room": "elsewhere" })),
        ("Shout", json!({})),
    ] {
        frames.push(alice.ask(kind, body).await);
    }
    for kind in ["GroupChat", "PrivateChat", "Enter", "Typing", "Read"] {
        frames.push(bob.wait_for(kind, |frame| frame["message_type"] == kind).await);
    }
    frames
}

on_each_store! {
    async fn node_sends_only_frames_of_the_schema(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        let mut alice = cluster.enter(1, "alice", "ops").await;
        let frames = talk(&mut alice, &mut bob).await;
        let server = definition("ServerFrame");
        for frame in &frames {
            let errors: Vec<String> = server.iter_errors(frame).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{frame}: {errors:?}");
            let decoded = protocol::ServerMessage::decode(&frame.to_string());
            assert!(!matches!(decoded, Err(_) | Ok(protocol::ServerMessage::Unknown { .. })), "{frame}: {decoded:?}");
        }
        let acks = frames.iter().filter(|frame| frame["message_type"] == "Ack").count();
        assert_eq!(acks, 18, "{frames:?}");
    }

    async fn enter_and_auth_list_the_features_of_the_node(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        let features = json!([
            "auth", "typing", "history", "members", "read", "ping", "markers", "edit", "retract", "react", "rooms", "unread",
            "room", "moderate", "block", "blocked", "resume", "received", "reply_to", "thread", "mentions", "attachments", "data",
        ]);
        assert_eq!(alice.ok("Auth", json!({})).await["features"], features);
        assert_eq!(alice.ok("Enter", json!({ "room": "ops" })).await["features"], features);
        // Entered again, it is still said: that may be the first answer that a client looks at.
        assert_eq!(alice.ok("Enter", json!({ "room": "ops" })).await["features"], features);
    }
}
