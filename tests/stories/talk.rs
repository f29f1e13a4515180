//! The four base requests as they are documented, without any extension, on one node and across two.

use serde_json::json;

use crate::support::cluster::Cluster;

on_each_store! {
    async fn two_users_on_different_nodes_talk(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        alice.wait_for("bob's Enter", |f| f["message_type"] == "Enter" && f["message_body"]["sender_username"] == "bob").await;
        let ack = alice.say("ops", "hello").await;
        let heard = bob.next("GroupChat").await;
        assert_eq!(heard["content"], "hello");
        assert_eq!(heard["sender_username"], "alice");
        assert_eq!(heard["message_id"], ack["message_id"]);
        assert_eq!((&heard["epoch"], &heard["seq"]), (&ack["epoch"], &ack["seq"]));
        assert_eq!(alice.hears().await, "hello");
        bob.say("ops", "hello back").await;
        assert_eq!(alice.hears().await, "hello back");
    }

    async fn client_with_only_the_four_base_requests_can_chat(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut bob = cluster.connect(1, "bob").await;
        alice.tell("Enter", json!({})).await;
        alice.next("Enter").await;
        bob.tell("Enter", json!({})).await;
        bob.next("Enter").await;
        alice.tell("GroupChat", json!({ "content": "hi" })).await;
        assert_eq!(bob.hears().await, "hi");
        bob.tell("PrivateChat", json!({ "target_username": "alice", "content": "psst" })).await;
        assert_eq!(alice.hears_privately().await, "psst");
        assert_eq!(bob.hears_privately().await, "psst");
        bob.tell("Leave", json!({})).await;
        let left = alice.next("Leave").await;
        assert_eq!(left, json!({ "sender_username": "bob", "room": "lobby" }));
    }
}
