//! `Rooms`: the rooms that the settings list, with the number of their members.

use serde_json::{Value, json};

use crate::support::api::with_api;
use crate::support::client::Client;
use crate::support::cluster::Cluster;

/// Reads all pages. Returns the names and the number of pages.
async fn follow(client: &mut Client, limit: u32) -> (Vec<String>, usize) {
    let (mut names, mut after) = (Vec::new(), Value::Null);
    for pages in 1..100 {
        let page = client.ok("Rooms", json!({ "limit": limit, "after": after })).await;
        let rooms = page["rooms"].as_array().unwrap();
        assert!(!rooms.is_empty() && rooms.len() <= limit as usize, "{page}");
        names.extend(rooms.iter().map(|room| room["room"].as_str().unwrap().to_owned()));
        after = rooms.last().unwrap()["room"].clone();
        if page["more"] == false {
            return (names, pages);
        }
    }
    panic!("the pages don't end: {names:?}");
}

on_each_store! {
    async fn listed_rooms_are_paged_with_their_members(kind) {
        let cluster = Cluster::start_with(kind, 2, |config| {
            with_api(config);
            config.rooms.listed = ["zoo", "lobby", "team-*", "team-a*", "日*"].map(str::to_owned).into();
        })
        .await;
        let mut clients = Vec::new();
        for (node, name, room) in [
            (0, "alice", "team-b"), (1, "bob", "team-b"), (1, "carol", "team-a"), (0, "dora", "secret"),
            (0, "erik", "team-"), (1, "fay", "team"), (0, "gus", "日本"), (1, "hana", "zoo"), (0, "ida", "tean"),
        ] {
            clients.push(cluster.enter(node, name, room).await);
        }
        let room = |room: &str, count: u64| json!({ "room": room, "count": count });
        let all = [room("lobby", 0), room("team-", 1), room("team-a", 1), room("team-b", 2), room("zoo", 1), room("日本", 1)];
        // Without an earlier request: it binds the connection to the user.
        let mut jo = cluster.connect(1, "jo").await;
        assert_eq!(jo.ok("Rooms", json!({})).await, json!({ "rooms": all, "more": false }));
        jo.refused("Rooms", json!({ "sender_username": "mallory" }), "identity_mismatch").await;
        for limit in [1, 2, 5, 6, 200] {
            let names = all.iter().map(|room| room["room"].as_str().unwrap().to_owned()).collect();
            assert_eq!(follow(&mut jo, limit).await, (names, 6_usize.div_ceil(limit as usize)), "{limit}");
        }
        for (after, first) in [("a", 0), ("team-a", 3), ("team-x", 4), ("zoo", 5)] {
            let page = jo.ok("Rooms", json!({ "after": after })).await;
            assert_eq!(page["rooms"], json!(all[first..]), "{after}");
        }
        assert_eq!(jo.ok("Rooms", json!({ "after": "日本" })).await, json!({ "rooms": [], "more": false }));
        for bad in [json!({ "limit": 0 }), json!({ "limit": 201 }), json!({ "after": " " })] {
            jo.refused("Rooms", bad, "invalid_message").await;
        }
        // The same numbers as the server API has.
        let (_, api) = cluster.call(0, "GET", "/rooms", Value::Null).await;
        let of_api = api["rooms"].as_array().unwrap();
        assert!(all.iter().filter(|room| room["count"] != 0).all(|room| of_api.contains(room)), "{api}");
    }

    async fn no_room_is_listed_by_default(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        assert_eq!(alice.ok("Rooms", json!({})).await, json!({ "rooms": [], "more": false }));
        let ack = alice.ok("Auth", json!({})).await;
        assert!(ack["features"].as_array().unwrap().contains(&json!("rooms")), "{ack}");
    }

    async fn listed_rooms_with_long_names_fit_into_frames(kind) {
        let name = |number: usize| format!("{number:03}{}", "\u{1d538}".repeat(61));
        let listed: Vec<String> = (0..200).map(name).collect();
        let cluster = Cluster::start_with(kind, 1, |config| config.rooms.listed = listed.clone()).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        alice.take_largest();
        assert_eq!(follow(&mut alice, 200).await, (listed, 2));
        assert!(alice.take_largest() <= 32_768);
    }
}
