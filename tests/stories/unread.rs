//! Unread counts, which the server computes from the log and the read markers: the same for every device, on every node.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::{Cluster, until};

/// The counts of a room.
async fn in_room(client: &mut Client, room: &str) -> (Value, Value) {
    let mut answer = client.ok("Unread", json!({ "rooms": [room] })).await;
    let counts = answer["rooms"][room].take();
    (counts["unread"].clone(), counts["mentions"].clone())
}

async fn of_peers(client: &mut Client) -> Value {
    client.ok("Unread", json!({ "rooms": [] })).await["users"].take()
}

on_each_store! {
    async fn unread_messages_of_a_room_are_those_that_are_held(kind) {
        let cluster = Cluster::start_with(kind, 2, |config| config.history.max_messages = 6).await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        let mut alice = cluster.connect(1, "alice").await;
        let mut ids = Vec::new();
        for count in 0..5 {
            let body = json!({ "room": "ops", "content": format!("m{count}"), "mentions": ["alice"] });
            ids.push(bob.ok("GroupChat", body).await["message_id"].take());
        }
        let answer = alice.ok("Unread", json!({ "rooms": ["ops", "nowhere"] })).await;
        let ops = &answer["rooms"]["ops"];
        assert_eq!((&ops["unread"], &ops["mentions"], &ops["seq"]), (&json!(5), &json!(5), &json!(5)));
        assert_eq!(answer["rooms"]["nowhere"], json!({ "unread": 0, "mentions": 0 }));
        assert_eq!((&answer["users"], &answer["more"]), (&json!({}), &json!(false)));
        // Changes are no messages; what was taken back does not count.
        bob.ok("Edit", json!({ "room": "ops", "message_id": ids[4], "content": "m4!" })).await;
        bob.ok("React", json!({ "room": "ops", "message_id": ids[4], "reaction": "+", "on": true })).await;
        bob.ok("Retract", json!({ "room": "ops", "message_id": ids[3] })).await;
        assert_eq!(in_room(&mut alice, "ops").await, (json!(4), json!(4)));
        // A marker on a message that was taken back, and on one that is trimmed.
        alice.ok("Enter", json!({ "room": "ops" })).await;
        alice.ok("Read", json!({ "room": "ops", "seq": 4 })).await;
        for device in [&mut alice, &mut cluster.connect(0, "alice").await] {
            assert_eq!(in_room(device, "ops").await, (json!(1), json!(1)));
        }
        for count in 5..12 {
            bob.say("ops", &format!("m{count}")).await;
        }
        assert_eq!(in_room(&mut alice, "ops").await, (json!(6), json!(0)));
        // Without a list: the rooms of the connection.
        let answer = alice.ok("Unread", json!({})).await;
        assert_eq!(answer["rooms"].as_object().unwrap().keys().collect::<Vec<_>>(), ["ops"]);
    }

    async fn read_marker_goes_back_if_the_user_sets_it(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        let mut phone = cluster.enter(0, "alice", "ops").await;
        let mut laptop = cluster.connect(1, "alice").await;
        laptop.ok("Auth", json!({})).await;
        let mut private = Vec::new();
        for count in 0..4 {
            bob.say("ops", &format!("m{count}")).await;
            private.push(bob.whisper("alice", "psst").await["message_id"].take());
        }
        while phone.hears().await != "m3" {}
        phone.ok("Read", json!({ "room": "ops", "seq": 4 })).await;
        assert_eq!(laptop.next("Read").await.get("set"), None);
        phone.ok("Read", json!({ "room": "ops", "seq": 1 })).await;
        phone.ok("Read", json!({ "room": "ops", "seq": 1, "set": true })).await;
        let event = laptop.next("Read").await;
        assert_eq!((&event["seq"], &event["set"]), (&json!(1), &json!(true)));
        assert_eq!(in_room(&mut laptop, "ops").await.0, 3);
        let read = |at: usize, set: bool| json!({ "target_username": "bob", "message_id": private[at], "set": set });
        phone.ok("Read", read(3, false)).await;
        assert_eq!(of_peers(&mut laptop).await, json!({}));
        phone.ok("Read", read(0, false)).await;
        assert_eq!(of_peers(&mut laptop).await, json!({}));
        phone.ok("Read", read(0, true)).await;
        assert_eq!(of_peers(&mut laptop).await, json!({ "bob": { "unread": 3 } }));
    }

    async fn sending_moves_the_senders_own_marker(kind) {
        let mut cluster = Cluster::start(kind, 2).await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        let mut alice = cluster.enter(1, "alice", "ops").await;
        for _ in 0..3 {
            bob.say("ops", "hello").await;
            bob.whisper("alice", "psst").await;
        }
        assert_eq!(in_room(&mut alice, "ops").await.0, 3);
        assert_eq!(of_peers(&mut alice).await, json!({ "bob": { "unread": 3 } }));
        alice.say("ops", "hello all").await;
        alice.whisper("bob", "yes?").await;
        assert_eq!(in_room(&mut alice, "ops").await.0, 0);
        assert_eq!(of_peers(&mut alice).await, json!({}));
        bob.whisper("alice", "nothing").await;
        assert_eq!(of_peers(&mut alice).await, json!({ "bob": { "unread": 1 } }));
        // The node writes them when it stops, at the latest.
        cluster.nodes[1].stop().await;
        let mut alice = cluster.connect(0, "alice").await;
        until("the markers are written", async || {
            let mut alice = cluster.connect(0, "alice").await;
            in_room(&mut alice, "ops").await.0 == 0
        })
        .await;
        assert_eq!(of_peers(&mut alice).await, json!({ "bob": { "unread": 1 } }));
    }

    async fn private_conversations_are_counted_one_by_one(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        alice.ok("Auth", json!({})).await;
        let mut of_bob = Vec::new();
        for (name, count) in [("bob", 3), ("c\"arl", 2), ("dora", 1)] {
            let mut sender = cluster.connect(0, name).await;
            for _ in 0..count {
                let sent = sender.whisper("alice", "hi").await;
                if name == "bob" {
                    of_bob.push(sent["message_id"].clone());
                }
            }
            if name == "bob" {
                sender.ok("Retract", json!({ "target_username": "alice", "message_id": of_bob[2] })).await;
                sender.ok("React", json!({ "target_username": "alice", "message_id": of_bob[0],
                    "reaction": "+", "on": true })).await;
            }
        }
        alice.whisper("alice", "a note").await;
        let expected = json!({ "bob": { "unread": 2 }, "c\"arl": { "unread": 2 }, "dora": { "unread": 1 } });
        assert_eq!(of_peers(&mut alice).await, expected);
        alice.ok("Read", json!({ "target_username": "bob", "message_id": of_bob[0] })).await;
        assert_eq!(of_peers(&mut alice).await["bob"], json!({ "unread": 1 }));
    }

    async fn wrong_lists_of_rooms_are_refused(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        let many: Vec<String> = (0..101).map(|number| format!("room {number}")).collect();
        for rooms in [json!(many), json!("ops"), json!([7]), json!([""])] {
            alice.refused("Unread", json!({ "rooms": rooms }), "invalid_message").await;
        }
        let rooms = &many[..100];
        let answer = alice.ok("Unread", json!({ "rooms": rooms })).await;
        assert_eq!(answer["rooms"].as_object().unwrap().len(), 100);
        let long: Vec<String> = (0..100).map(|number| format!("{number:02}{}", "\u{10348}".repeat(62))).collect();
        let answer = alice.ok("Unread", json!({ "rooms": long })).await;
        let counted = answer["rooms"].as_object().unwrap().len();
        assert!(counted < 100 && answer["more"] == true, "{counted}");
        assert!(long[..counted].iter().all(|room| !answer["rooms"][room].is_null()));
    }
}
