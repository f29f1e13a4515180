//! What a token of an identity provider grants in rooms with rights, beside the role that its user has there.

use chatnode::config::RoomCreators;
use serde_json::{Value, json};

use super::room_rights::act;
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind};
use crate::support::jwt::{SECRET, now, signed_with, with_secret};

async fn start(kind: Kind) -> Cluster {
    Cluster::start_with(kind, 2, with_secret).await
}

/// A token of a user that grants something in rooms.
fn granting(user: &str, rooms: &Value) -> String {
    signed_with(SECRET, &json!({ "sub": user, "exp": now() + 3_600, "iat": now(), "rooms": rooms }))
}

/// A client that shows a token at the handshake.
async fn connect(cluster: &Cluster, node: usize, name: &str, rooms: &Value) -> Client {
    let header = [("authorization", format!("Bearer {}", granting(name, rooms)))];
    Client::connect_with(cluster.address(node), name, &header).await.unwrap()
}

/// A room of ann, who is in it.
async fn room_of_ann(cluster: &Cluster, room: &str, kind: &str) -> Client {
    let mut ann = connect(cluster, 0, "ann", &json!([])).await;
    ann.ok("Room", json!({ "room": room, "kind": kind })).await;
    ann.ok("Enter", json!({ "room": room })).await;
    ann
}

on_each_store! {
    async fn token_opens_a_private_room(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "ops-night", "private").await;
        ann.say("ops-night", "secret").await;
        let mut reader = connect(&cluster, 1, "bob", &json!([{ "room": "ops*", "can": ["read"] }])).await;
        let ack = reader.ok("Enter", json!({ "room": "ops-night", "history": 10 })).await;
        assert_eq!(ack["rights"], json!({ "kind": "private" }));
        assert_eq!(reader.hears().await, "secret");
        let page = reader.ok("History", json!({ "room": "ops-night" })).await;
        assert_eq!(page["messages"][0]["content"], "secret");
        let members = reader.ok("Members", json!({ "room": "ops-night" })).await;
        assert_eq!(members["members"], json!(["ann", "bob"]));
        let counts = reader.ok("Unread", json!({ "rooms": ["ops-night"] })).await;
        assert_eq!(counts["rooms"]["ops-night"]["unread"], 1);
        reader.refused("GroupChat", json!({ "room": "ops-night", "content": "x" }), "forbidden").await;
        // Several entries about a room add up.
        let both = json!([{ "room": "ops-night", "can": ["write"] }, { "room": "ops*", "can": ["read"] }]);
        let mut writer = connect(&cluster, 1, "cleo", &both).await;
        let ack = writer.ok("Enter", json!({ "room": "ops-night" })).await;
        assert_eq!(ack["rights"], json!({ "kind": "private", "may_write": true }));
        writer.say("ops-night", "granted").await;
        assert_eq!(ann.hears().await, "secret");
        assert_eq!(ann.hears().await, "granted");
        // The grant is of other rooms.
        let mut other = connect(&cluster, 1, "dan", &json!([{ "room": "ops", "can": ["read"] }])).await;
        other.refused("Enter", json!({ "room": "ops-night" }), "forbidden").await;
    }

    async fn ban_and_mute_win_over_a_grant(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "ops", "announce").await;
        let all = json!([{ "room": "*", "can": ["read", "write"] }]);
        let mut bob = connect(&cluster, 1, "bob", &all).await;
        bob.ok("Enter", json!({ "room": "ops" })).await;
        bob.say("ops", "an announcement").await;
        assert_eq!(ann.hears().await, "an announcement");
        bob.refused("Moderate", act("kick", "ann"), "forbidden").await;
        ann.ok("Moderate", act("mute", "bob")).await;
        bob.refused("GroupChat", json!({ "room": "ops", "content": "x" }), "forbidden").await;
        ann.ok("Moderate", act("ban", "bob")).await;
        assert_eq!(bob.next("Removed").await["action"], "ban");
        bob.refused("Enter", json!({ "room": "ops" }), "forbidden").await;
    }

    async fn member_stays_in_a_room_that_becomes_private(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "ops", "open").await;
        let mut bob = connect(&cluster, 1, "bob", &json!([{ "room": "ops", "can": ["read"] }])).await;
        bob.ok("Enter", json!({ "room": "ops" })).await;
        let mut cleo = connect(&cluster, 1, "cleo", &json!([{ "room": "lobby", "can": ["read"] }])).await;
        cleo.ok("Enter", json!({ "room": "ops" })).await;
        ann.ok("Room", json!({ "room": "ops", "kind": "private" })).await;
        assert_eq!(cleo.next("Removed").await["action"], "private");
        ann.say("ops", "among us").await;
        assert_eq!(bob.hears().await, "among us");
    }

    async fn newer_token_ends_what_only_the_older_one_granted(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "ops", "private").await;
        ann.ok("Room", json!({ "room": "team", "kind": "private" })).await;
        ann.ok("Moderate", json!({ "room": "team", "action": "role", "target_username": "bob", "role": "member" })).await;
        let all = json!([{ "room": "*", "can": ["read", "write"] }]);
        let mut bob = connect(&cluster, 1, "bob", &all).await;
        for room in ["lobby", "team", "ops"] {
            bob.ok("Enter", json!({ "room": room })).await;
        }
        // A token that grants as much changes nothing.
        bob.token = Some(granting("bob", &json!([{ "room": "ops", "can": ["read"] }])));
        bob.ok("Ping", json!({})).await;
        bob.refused("GroupChat", json!({ "room": "ops", "content": "x" }), "forbidden").await;
        ann.say("ops", "still here").await;
        assert_eq!(bob.hears().await, "still here");
        bob.token = Some(granting("bob", &json!([])));
        bob.ok("Ping", json!({})).await;
        let removed = bob.next("Removed").await;
        assert_eq!((&removed["room"], &removed["action"]), (&json!("ops"), &json!("private")));
        ann.say("ops", "without bob").await;
        // Open rooms, and those in which bob has a role, stay.
        bob.say("lobby", "one").await;
        bob.say("team", "two").await;
        bob.refused("History", json!({ "room": "ops" }), "not_in_room").await;
        let is_heard = bob.seen().iter().any(|frame| frame["message_body"]["content"] == "without bob");
        assert!(!is_heard);
    }

    async fn token_grants_making_rooms(kind) {
        let cluster = Cluster::start_with(kind, 2, |config| {
            with_secret(config);
            config.rooms.create = RoomCreators::Token;
        })
        .await;
        let new_room = |room: &str| json!({ "room": room, "kind": "private" });
        let grants = json!([{ "room": "team-*", "can": ["create"] }, { "room": "ops", "can": ["read", "write"] }]);
        let mut ann = connect(&cluster, 0, "ann", &grants).await;
        ann.ok("Room", new_room("team-a")).await;
        let error = ann.refused("Room", new_room("ops"), "forbidden").await;
        assert!(error["message"].as_str().unwrap().contains("token does not grant"), "{error}");
        // What she may do in her room comes from her role, whatever the token.
        let mut later = connect(&cluster, 1, "ann", &json!([])).await;
        later.ok("Room", json!({ "room": "team-a", "topic": "plans" })).await;
        later.refused("Room", new_room("team-b"), "forbidden").await;
        // Tokens of the server API grant nothing.
        let mut bob = Client::connect_with(
            cluster.address(0), "bob",
            &[("authorization", format!("Bearer {}", cluster.token(0, "bob").await))],
        ).await.unwrap();
        bob.refused("Room", new_room("team-c"), "forbidden").await;
    }
}
