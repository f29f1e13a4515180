//! Pages of a room's history, of a private conversation, and of a room's members.

use serde_json::{Value, json};

use crate::support::api::with_api;
use crate::support::client::Client;
use crate::support::cluster::Cluster;

fn contents(page: &Value) -> Vec<&str> {
    page["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect()
}

/// Reads pages backwards to the first one. Returns all contents, oldest first, and the number of pages.
async fn read_back(client: &mut Client, mut request: Value) -> (Vec<String>, usize) {
    let mut all = Vec::new();
    for pages in 1..100 {
        let page = client.ok("History", request.clone()).await;
        let earlier: Vec<String> = contents(&page).into_iter().map(str::to_owned).collect();
        all.splice(0..0, earlier);
        if page["more"] == false {
            return (all, pages);
        }
        request["before"] = page["messages"][0]["seq"].clone();
        request["epoch"] = page["epoch"].clone();
    }
    panic!("the pages don't end: {} messages", all.len());
}

on_each_store! {
    async fn room_history_is_paged_backwards(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let all: Vec<String> = (1..=25).map(|count| format!("m{count}")).collect();
        for content in &all {
            alice.say("ops", content).await;
        }
        let mut bob = cluster.enter(1, "bob", "ops").await;
        for (limit, pages) in [(1, 25), (7, 4), (24, 2), (25, 1), (200, 1)] {
            assert_eq!(read_back(&mut bob, json!({ "limit": limit })).await, (all.clone(), pages), "{limit}");
        }
        let page = bob.ok("History", json!({ "limit": 2 })).await;
        assert_eq!((contents(&page), &page["more"]), (vec!["m24", "m25"], &json!(true)));
        // A message in a page is the same as the live message.
        let live = loop {
            let heard = alice.next("GroupChat").await;
            if heard["content"] == "m25" {
                break heard;
            }
        };
        assert_eq!(page["messages"][1], live);
        // The default limit is 50.
        for _ in 0..40 {
            alice.say("ops", "more").await;
        }
        assert_eq!(contents(&bob.ok("History", json!({})).await).len(), 50);
    }

    async fn position_of_another_log_gives_an_empty_page(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let said = alice.say("ops", "one").await;
        for epoch in ["0123456789abcdef", "", "nonsense"] {
            let page = alice.ok("History", json!({ "before": 2, "epoch": epoch })).await;
            assert_eq!((&page["messages"], &page["more"]), (&json!([]), &json!(false)), "{epoch}");
        }
        for (before, expected) in [(0, 0), (1, 0), (2, 1), (9_007_199_254_740_991_u64, 1)] {
            let page = alice.ok("History", json!({ "before": before, "epoch": said["epoch"] })).await;
            assert_eq!((contents(&page).len(), &page["more"]), (expected, &json!(false)), "{before}");
        }
        alice.refused("History", json!({ "before": 9_007_199_254_740_992_u64, "epoch": said["epoch"] }), "invalid_message").await;
    }

    async fn trimmed_history_sets_more_to_false(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| c.history.max_messages = 10).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        for count in 1..=25 {
            alice.say("ops", &format!("m{count}")).await;
        }
        let held: Vec<String> = (16..=25).map(|count| format!("m{count}")).collect();
        assert_eq!(read_back(&mut alice, json!({ "limit": 4 })).await, (held, 3));
    }

    async fn full_page_cuts_no_reactions_of_its_messages(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        for count in 0..40 {
            let said = alice.say("ops", &"x".repeat(count + 1)).await;
            for reaction in ["first", "second"] {
                let body = json!({ "room": "ops", "message_id": said["message_id"], "reaction": reaction, "on": true });
                alice.ok("React", body).await;
            }
        }
        let (mut request, mut seen) = (json!({ "max_bytes": 4_096 }), 0);
        loop {
            let page = alice.ok("History", request.clone()).await;
            for message in page["messages"].as_array().unwrap() {
                assert_eq!(message["reactions"].as_object().unwrap().len(), 2, "{message}");
                seen += 1;
            }
            if page["more"] == false {
                break;
            }
            request["before"] = page["messages"][0]["seq"].clone();
            request["epoch"] = page["epoch"].clone();
        }
        assert_eq!(seen, 40);
    }

    async fn history_page_has_at_most_256_kib(kind) {
        let cluster = Cluster::start_with(kind, 1, with_api).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        // A user who has connected may have many unread messages.
        cluster.connect(0, "bob").await.ok("Auth", json!({})).await;
        for count in 0..40 {
            alice.say("ops", &format!("{count:02}{}", "x".repeat(16_000))).await;
            alice.whisper("bob", &format!("{count:02}{}", "x".repeat(16_000))).await;
        }
        for target in [json!({ "room": "ops" }), json!({ "target_username": "bob" })] {
            let mut request = target.clone();
            (request["limit"], request["max_bytes"]) = (json!(200), json!(262_144));
            let page = alice.ok("History", request.clone()).await;
            let size = page.to_string().len();
            assert!(size <= 256 << 10 && size > 200 << 10, "{target}: {size} bytes");
            assert_eq!(page["more"], true);
            let (all, _) = read_back(&mut alice, request).await;
            let numbers: Vec<usize> = all.iter().map(|content| content[..2].parse().unwrap()).collect();
            assert_eq!(numbers, (0..40).collect::<Vec<_>>(), "{target}");
        }
        let (status, page) = cluster.call(0, "GET", "/rooms/ops/messages?limit=200", Value::Null).await;
        let size = page.to_string().len();
        assert!(status == 200 && page["more"] == true && size <= 256 << 10 && size > 240 << 10, "{size} bytes");
    }

    async fn private_history_contains_one_conversation(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut bob = cluster.connect(1, "bob").await;
        let mut carol = cluster.connect(0, "carol").await;
        let mut expected = Vec::new();
        for count in 0..30 {
            expected.push(format!("to bob {count}"));
            alice.whisper("bob", &expected[expected.len() - 1]).await;
            alice.whisper("carol", "not for bob").await;
            carol.whisper("alice", "nor for bob").await;
            carol.whisper("bob", "not alice's").await;
            alice.whisper("alice", "to myself").await;
            if count % 3 == 0 {
                expected.push(format!("to alice {count}"));
                bob.whisper("alice", &expected[expected.len() - 1]).await;
            }
        }
        for limit in [1, 7, 200] {
            assert_eq!(read_back(&mut alice, json!({ "target_username": "bob", "limit": limit })).await.0, expected, "{limit}");
            assert_eq!(read_back(&mut bob, json!({ "target_username": "alice", "limit": limit })).await.0, expected, "{limit}");
        }
        assert_eq!(read_back(&mut alice, json!({ "target_username": "alice" })).await.0, vec!["to myself"; 30]);
        assert_eq!(read_back(&mut alice, json!({ "target_username": "dora" })).await, (vec![], 1));
        // Each reader gets the positions of its own log.
        let of_alice = alice.ok("History", json!({ "target_username": "bob", "limit": 1 })).await;
        let of_bob = bob.ok("History", json!({ "target_username": "alice", "limit": 1 })).await;
        assert_eq!(of_alice["messages"][0]["message_id"], of_bob["messages"][0]["message_id"]);
        assert_ne!(of_alice["epoch"], of_bob["epoch"]);
    }

    async fn members_are_paged_in_name_order(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let names = ["Zoe", "alice", "bob", "{carol}", "émile", "日本"];
        let mut clients = Vec::new();
        for (index, name) in names.iter().rev().enumerate() {
            clients.push(cluster.enter(index % 2, name, "ops").await);
        }
        // A user with two connections counts once.
        clients.push(cluster.enter(0, "bob", "ops").await);
        let client = &mut clients[0];
        let all = client.ok("Members", json!({})).await;
        assert_eq!(all, json!({ "room": "ops", "members": names, "count": 6, "more": false }));
        for limit in 1..=6 {
            let mut after = Value::Null;
            let mut found: Vec<Value> = Vec::new();
            loop {
                let page = client.ok("Members", json!({ "room": "ops", "limit": limit, "after": after })).await;
                assert_eq!(page["count"], 6);
                let members = page["members"].as_array().unwrap();
                assert!(members.len() <= limit);
                found.extend(members.iter().cloned());
                after = members.last().cloned().unwrap_or(Value::Null);
                if page["more"] == false {
                    break;
                }
            }
            assert_eq!(found, names.map(|name| json!(name)), "{limit}");
        }
        // `after` need not be the name of a member.
        let page = client.ok("Members", json!({ "after": "b" })).await;
        assert_eq!(page["members"], json!(names[2..]));
    }
}
