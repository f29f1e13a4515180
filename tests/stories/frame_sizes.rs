//! The size of frames: none is larger than common client libraries take, whatever is stored.

use chatnode::backend::Move;
use chatnode::config::Config;
use chatnode::protocol::MessageId;
use serde_json::{Value, json};

use crate::support::api::with_api;
use crate::support::backend::{room_name, user_name};
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind};

/// The default of `limits.max_delivery_bytes`.
const LIMIT: usize = 32_768;

/// What a message leaves free in its frame.
const SPARE: usize = 2_048;

/// A name of the maximum length, in characters of four bytes.
fn long_name(count: usize) -> String {
    format!("{count:04}{}", "\u{1d538}".repeat(60))
}

/// The size of a message's frame at the largest `seq`, by this frame of the message.
fn size_at_largest_seq(frame: &Value) -> usize {
    let mut frame = frame.clone();
    frame["message_body"]["seq"] = json!(9_007_199_254_740_991_u64);
    frame.to_string().len()
}

/// Requests a page after the other to the last one. Returns all entries and the number of pages.
async fn follow(client: &mut Client, kind: &str, mut body: Value, list: &str) -> (Vec<Value>, usize) {
    let mut all = Vec::new();
    for pages in 1..1_000 {
        let page = client.ok(kind, body.clone()).await;
        let entries = page[list].as_array().unwrap();
        assert!(!entries.is_empty(), "{page}");
        all.extend(entries.iter().cloned());
        if page["more"] == false {
            return (all, pages);
        }
        let last = &entries[entries.len() - 1];
        body["after"] = last.get("target_username").unwrap_or(last).clone();
    }
    panic!("the pages don't end: {} entries", all.len());
}

on_each_store! {
    async fn message_is_stored_if_its_frame_fits(kind) {
        let cluster = Cluster::start_with(kind, 1, with_api).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut bob = cluster.connect(0, "bob").await;
        bob.ok("Auth", json!({})).await;
        let target = |to: &str, content: &str| {
            let field = if to == "ops" { "room" } else { "target_username" };
            json!({ field: to, "content": content })
        };
        for (request, to) in [("GroupChat", "ops"), ("PrivateChat", "bob")] {
            for content in ["\"".repeat(16_384), "\u{1}".repeat(16_384), "\\".repeat(16_300)] {
                let error = alice.refused(request, target(to, &content), "message_too_large").await;
                assert!(error["message"].as_str().unwrap().contains("the limit is 32768"), "{error}");
            }
            // Up to the last byte: the frame with the largest `seq` leaves 2,048 bytes free.
            alice.ok(request, target(to, "x")).await;
            let frame = alice.wait_for(request, |frame| frame["message_type"] == request).await;
            let free = LIMIT - SPARE - size_at_largest_seq(&frame) + 1;
            let fits = format!("{}{}", "\"".repeat(free - 16_300), "x".repeat(2 * 16_300 - free));
            assert!(fits.len() <= 16_384);
            let first_id = frame["message_body"]["client_id"].as_str().unwrap().to_owned();
            let id = |last: char| format!("{}{last}", &first_id[1..]);
            let mut envelope = alice.envelope(request, target(to, &fits), Some(&id('x')));
            alice.send_text(envelope.to_string()).await;
            let stored = alice.wait_for(request, |frame| frame["message_type"] == request).await;
            assert_eq!(size_at_largest_seq(&stored), LIMIT - SPARE);
            envelope["id"] = json!(id('y'));
            envelope["message_body"]["content"] = json!(format!("{fits}x"));
            alice.send_text(envelope.to_string()).await;
            let refused = alice.answer(&id('y')).await;
            assert_eq!(refused["message_body"]["code"], "message_too_large", "{refused}");
        }
        for path in ["/rooms/ops/messages", "/users/bob/messages"] {
            let body = json!({ "sender_username": "bot", "content": "\"".repeat(16_384) });
            let (status, error) = cluster.call(0, "POST", path, body).await;
            assert_eq!((status, &error["code"]), (413, &json!("message_too_large")), "{error}");
        }
        // A refused message is stored nowhere.
        let history = alice.ok("History", json!({ "room": "ops" })).await;
        assert_eq!(history["messages"].as_array().unwrap().len(), 2);
        assert_eq!(alice.ok("History", json!({ "target_username": "bob" })).await["messages"].as_array().unwrap().len(), 2);
    }

    async fn repeat_is_answered_whatever_its_size(kind) {
        let larger = |config: &mut Config| config.limits.max_delivery_bytes = Some(131_072);
        let mut cluster = Cluster::start_with(kind, 1, |config| { with_api(config); larger(config) }).await;
        cluster.adjust(|config| config.limits.max_delivery_bytes = None);
        cluster.add_node().await;
        let content = "\u{1}".repeat(16_000);
        let mut before = cluster.enter(0, "alice", "ops").await;
        let mut after = cluster.enter(1, "alice", "ops").await;
        for body in [json!({ "room": "ops", "content": content }), json!({ "target_username": "bob", "content": content })] {
            let request = if body["room"].is_null() { "PrivateChat" } else { "GroupChat" };
            let id = before.send(request, body.clone()).await;
            let first = before.answer(&id).await["message_body"].take();
            let repeat = after.envelope(request, body.clone(), Some(&id));
            after.send_text(repeat.to_string()).await;
            let mut answer = after.answer(&id).await["message_body"].take();
            assert_eq!(answer["duplicate"].take(), true, "{answer}");
            answer.as_object_mut().unwrap().remove("duplicate");
            assert_eq!(answer, first);
            // What is stored is delivered whatever its size: live, and in a page of its own.
            assert_eq!(after.next(request).await["content"], content);
            let target = if body["room"].is_null() { json!({ "target_username": "bob" }) } else { json!({}) };
            let page = after.ok("History", target).await;
            assert_eq!(page["messages"][0]["content"], content);
            after.refused(request, body, "message_too_large").await;
        }
        let body = json!({ "sender_username": "bot", "content": content, "id": "once" });
        for path in ["/rooms/ops/messages", "/users/carol/messages"] {
            let (status, first) = cluster.call(0, "POST", path, body.clone()).await;
            assert_eq!((status, &first["duplicate"]), (201, &json!(false)), "{first}");
            let (status, again) = cluster.call(1, "POST", path, body.clone()).await;
            assert_eq!((status, &again["duplicate"]), (201, &json!(true)), "{again}");
            assert_eq!(again["message_id"], first["message_id"]);
        }
    }

    async fn history_pages_are_cut_by_bytes(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| config.limits.max_delivery_bytes = None).await;
        let (room, peer) = (long_name(1), long_name(2));
        let mut alice = cluster.enter(0, &long_name(3), &room).await;
        cluster.connect(0, &peer).await.ok("Auth", json!({})).await;
        for count in 0..60 {
            let content = format!("{count:02}{}", "\"".repeat(if count % 5 == 0 { 14_000 } else { 40 * count }));
            alice.say(&room, &content).await;
            alice.whisper(&peer, &content).await;
        }
        for target in [json!({ "room": room }), json!({ "target_username": peer })] {
            for (max_bytes, most) in [(Value::Null, LIMIT), (json!(4_096), 4_096), (json!(262_144), 262_144)] {
                let (mut request, mut numbers, mut largest) = (target.clone(), Vec::new(), 0);
                request["limit"] = json!(200);
                request["max_bytes"] = max_bytes;
                loop {
                    alice.heard_no("Gap").await;
                    alice.take_largest();
                    let id = alice.envelope("History", request.clone(), Some(&"\u{1}".repeat(64)));
                    alice.send_text(id.to_string()).await;
                    let page = alice.answer(&"\u{1}".repeat(64)).await["message_body"].take();
                    let size = alice.take_largest();
                    let messages = page["messages"].as_array().unwrap();
                    assert!(size <= most || messages.len() == 1 && size <= LIMIT, "{size} bytes, {} messages", messages.len());
                    largest = largest.max(size);
                    let number = |message: &Value| message["content"].as_str().unwrap()[..2].parse::<usize>().unwrap();
                    numbers.splice(0..0, messages.iter().map(number));
                    if page["more"] == false {
                        break;
                    }
                    (request["before"], request["epoch"]) = (messages[0]["seq"].clone(), page["epoch"].clone());
                }
                assert_eq!(numbers, (0..60).collect::<Vec<_>>(), "{target} {most}");
                assert!(largest > most / 2, "{largest} of {most}");
            }
        }
        for (bad, kind) in [4_095, 262_145].into_iter().flat_map(|bad| [(bad, "History"), (bad, "Members")]) {
            let error = alice.refused(kind, json!({ "max_bytes": bad }), "invalid_message").await;
            assert_eq!(error["message"], "`max_bytes` must be a whole number from 4096 to 262144");
        }
    }

    async fn members_pages_are_cut_by_bytes(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let room = long_name(0);
        let backend = cluster.backend().await;
        backend.presence.renew().await.unwrap();
        let mut names: Vec<String> = (1..=300).map(long_name).collect();
        for name in &names {
            backend.presence.add(&room_name(&room), &user_name(name), bytes::Bytes::new()).await.unwrap();
        }
        let mut alice = cluster.enter(0, "alice", &room).await;
        names.push("alice".into());
        for (max_bytes, most) in [(Value::Null, LIMIT), (json!(4_096), 4_096), (json!(262_144), 262_144)] {
            alice.take_largest();
            let request = json!({ "max_bytes": max_bytes });
            let (all, pages) = follow(&mut alice, "Members", request, "members").await;
            assert_eq!(all, names.iter().map(|name| json!(name)).collect::<Vec<_>>());
            let (largest, least_pages) = (alice.take_largest(), 300 * 256 / most + 1);
            assert!(largest <= most && pages >= least_pages && pages <= 2 * least_pages, "{largest}, {pages} pages");
        }
        // A page has at least one name, and no more than were asked for.
        let (all, pages) = follow(&mut alice, "Members", json!({ "limit": 1 }), "members").await;
        assert_eq!((all.len(), pages), (301, 301));
    }

    async fn auth_tells_the_peers_read_last_and_markers_all(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let backend = cluster.backend().await;
        let id = MessageId::generate();
        let alice = user_name("alice");
        let mut client = cluster.connect(0, "alice").await;
        assert_eq!(client.ok("Markers", json!({})).await, json!({ "markers": [], "more": false }));
        for count in 0..600 {
            backend.markers.mark_private(&alice, &user_name(&long_name(count)), id, Move::Forward).await.unwrap();
        }
        let answer = client.ok("Auth", json!({})).await;
        let read = answer["read"].as_object().unwrap();
        assert_eq!(answer["read_more"], true);
        assert!((90..120).contains(&read.len()), "{}", read.len());
        assert!((600 - read.len()..600).all(|count| read.contains_key(&long_name(count))), "the peers read last");
        let (all, pages) = follow(&mut client, "Markers", json!({}), "markers").await;
        let wanted: Vec<Value> =
            (0..600).map(|count| json!({ "target_username": long_name(count), "message_id": id })).collect();
        assert_eq!((all, pages), (wanted.clone(), 7));
        assert!(client.take_largest() <= LIMIT);
        let page = client.ok("Markers", json!({ "after": long_name(4), "limit": 2 })).await;
        assert_eq!(page, json!({ "markers": wanted[5..7], "more": true }));
        let page = client.ok("Markers", json!({ "after": long_name(598) })).await;
        assert_eq!(page, json!({ "markers": wanted[599..], "more": false }));
        for bad in [json!({ "limit": 0 }), json!({ "limit": 1_001 }), json!({ "after": "" })] {
            client.refused("Markers", bad, "invalid_message").await;
        }
        // Few markers are all in the answer.
        let mut bob = cluster.connect(0, "bob").await;
        assert_eq!(bob.ok("Auth", json!({})).await.get("read_more"), None);
    }
}

/// Without an id it repeats nothing, so only its size counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_message_without_an_id_needs_no_store() {
    let cluster = Cluster::start(Kind::Redis, 1).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    cluster.redis_server().stop();
    for (request, target) in [("GroupChat", "room"), ("PrivateChat", "target_username")] {
        alice.tell(request, json!({ target: "ops", "content": "\"".repeat(16_384) })).await;
        let error = alice.next("Error").await;
        assert_eq!(error["code"], "message_too_large", "{error}");
    }
    cluster.redis_server().cont();
    alice.say("ops", "hello").await;
}
