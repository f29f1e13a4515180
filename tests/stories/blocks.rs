//! Users who block others: on two nodes, with several devices, and what stays possible.

use serde_json::json;

use super::room_rights::{act, connect, room_of_ann, start};
use crate::support::client::{Client, position};
use crate::support::cluster::Cluster;

/// A client whose private messages come.
async fn sign_in(cluster: &Cluster, node: usize, name: &str) -> Client {
    let mut client = connect(cluster, node, name).await;
    client.ok("Auth", json!({})).await;
    client
}

on_each_store! {
    async fn blocked_user_sends_no_private_messages(kind) {
        let cluster = start(kind).await;
        let mut ann = sign_in(&cluster, 0, "ann").await;
        let mut phone = sign_in(&cluster, 1, "ann").await;
        let mut bob = sign_in(&cluster, 1, "bob").await;
        let first = bob.whisper("ann", "one").await;
        let ack = ann.ok("Block", json!({ "target_username": "bob", "on": true })).await;
        assert!(ack["seq"].is_u64() && ack["message_id"].is_string(), "{ack}");
        for device in [&mut ann, &mut phone] {
            assert_eq!(device.hears_privately().await, "one");
            let block = device.next("Block").await;
            assert_eq!((&block["target_username"], &block["on"]), (&json!("bob"), &json!(true)));
        }
        let error = bob.refused("PrivateChat", json!({ "target_username": "ann", "content": "two" }), "forbidden").await;
        assert_eq!(error["message"], "this user takes no messages from you");
        assert_eq!(error["outcome"], "refused");
        let message_id = &first["message_id"];
        let edit = json!({ "target_username": "ann", "message_id": message_id, "content": "new" });
        bob.refused("Edit", edit, "forbidden").await;
        let react = json!({ "target_username": "ann", "message_id": message_id, "reaction": "👍", "on": true });
        bob.refused("React", react, "forbidden").await;
        // Nothing shows that bob is there.
        bob.ok("Typing", json!({ "target_username": "ann" })).await;
        ann.whisper("bob", "you are blocked").await;
        assert_eq!(bob.hears_privately().await, "one");
        assert_eq!(bob.hears_privately().await, "you are blocked");
        for device in [&mut ann, &mut phone] {
            assert_eq!(device.hears_privately().await, "you are blocked");
            device.heard_no("Typing").await;
        }
        let blocked = ann.ok("Blocked", json!({})).await;
        assert_eq!(blocked, json!({ "users": ["bob"], "more": false }));
        let again = ann.ok("Block", json!({ "target_username": "bob", "on": true })).await;
        assert_eq!(again["unchanged"], true);
        ann.ok("Block", json!({ "target_username": "bob", "on": false })).await;
        bob.whisper("ann", "three").await;
        assert_eq!(ann.hears_privately().await, "three");
        // The pace of his first connection keeps another one back.
        let mut bob = sign_in(&cluster, 0, "bob").await;
        bob.ok("Typing", json!({ "target_username": "ann" })).await;
        assert_eq!(phone.next("Typing").await["sender_username"], "bob");
    }

    async fn device_that_was_away_learns_of_blocks(kind) {
        let cluster = start(kind).await;
        let mut ann = sign_in(&cluster, 0, "ann").await;
        let at = ann.ok("Auth", json!({})).await;
        for (target, on) in [("bob", true), ("cleo", true), ("bob", false)] {
            ann.ok("Block", json!({ "target_username": target, "on": on })).await;
        }
        let mut phone = connect(&cluster, 1, "ann").await;
        phone.ok("Auth", json!({ "since": position(&at) })).await;
        for (target, on) in [("bob", true), ("cleo", true), ("bob", false)] {
            let block = phone.next("Block").await;
            assert_eq!((&block["target_username"], &block["on"]), (&json!(target), &json!(on)));
        }
        // A node that had nobody of this user knows too whose events to keep back.
        let mut cleo = sign_in(&cluster, 1, "cleo").await;
        cleo.ok("Typing", json!({ "target_username": "ann" })).await;
        let mut bob = sign_in(&cluster, 0, "bob").await;
        bob.ok("Typing", json!({ "target_username": "ann" })).await;
        for device in [&mut ann, &mut phone] {
            assert_eq!(device.next("Typing").await["sender_username"], "bob");
            device.heard_no("Typing").await;
        }
    }

    async fn list_of_blocked_users_has_pages(kind) {
        let cluster = start(kind).await;
        let mut ann = sign_in(&cluster, 0, "ann").await;
        for target in ["cleo", "bob", "dan"] {
            ann.ok("Block", json!({ "target_username": target, "on": true })).await;
        }
        let page = ann.ok("Blocked", json!({ "limit": 2 })).await;
        assert_eq!(page, json!({ "users": ["bob", "cleo"], "more": true }));
        let page = ann.ok("Blocked", json!({ "limit": 2, "after": "cleo" })).await;
        assert_eq!(page, json!({ "users": ["dan"], "more": false }));
        ann.refused("Block", json!({ "target_username": "ann", "on": true }), "invalid_message").await;
        ann.refused("Block", json!({ "target_username": "bob" }), "invalid_message").await;
        ann.refused("Block", json!({ "target_username": "a\u{2060}b", "on": true }), "invalid_message").await;
    }

    async fn blocked_user_still_meets_others_in_rooms(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "open").await;
        let mut bob = sign_in(&cluster, 1, "bob").await;
        bob.ok("Block", json!({ "target_username": "ann", "on": true })).await;
        bob.ok("Enter", json!({ "room": "ops" })).await;
        ann.say("ops", "hello").await;
        assert_eq!(bob.hears().await, "hello");
        // The invitation is stored in the room, and does not reach who blocks its sender.
        let error = ann.refused("Moderate", act("invite", "bob"), "forbidden").await;
        assert_eq!(error["outcome"], "unknown", "{error}");
        bob.heard_no("Invitation").await;
    }

    async fn block_without_authentication_is_refused(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut ann = cluster.enter(0, "ann", "ops").await;
        let error = ann.refused("Block", json!({ "target_username": "bob", "on": true }), "forbidden").await;
        assert!(error["message"].as_str().unwrap().contains("auth.enabled"), "{error}");
    }
}
