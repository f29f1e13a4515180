//! Edits, retractions and reactions, and what a message says beside its text, as clients see them.

use serde_json::{Value, json};

use crate::support::client::{Client, position};
use crate::support::cluster::{Cluster, Kind};

const UNKNOWN: &str = "0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10";

fn id_of(ack: &Value) -> &str {
    ack["message_id"].as_str().unwrap()
}

/// The newest messages of a page of history.
async fn history(client: &mut Client, request: Value) -> Vec<Value> {
    client.ok("History", request).await["messages"].as_array().unwrap().clone()
}

on_each_store! {
    async fn edit_reaches_members_and_history(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        let sent = alice.say("ops", "hi there").await;
        bob.next("GroupChat").await;
        let edit = json!({ "room": "ops", "message_id": sent["message_id"], "content": "hello \"you\"" });
        let ack = alice.ok("Edit", edit).await;
        assert_eq!((ack["seq"].as_u64(), &ack["epoch"]), (Some(2), &sent["epoch"]));
        for client in [&mut alice, &mut bob] {
            let event = client.next("Edit").await;
            assert_eq!((&event["content"], &event["sender_username"]), (&json!("hello \"you\""), &json!("alice")));
            assert_eq!(event["target"], json!({ "message_id": sent["message_id"] }));
            assert_eq!((&event["message_id"], &event["seq"]), (&ack["message_id"], &ack["seq"]));
            assert_eq!(event["room"], "ops");
        }
        let page = history(&mut bob, json!({ "room": "ops" })).await;
        assert_eq!(page.len(), 1);
        assert_eq!((&page[0]["content"], &page[0]["version"]), (&json!("hello \"you\""), &ack["message_id"]));
        assert_eq!((&page[0]["edited_at"], &page[0]["seq"]), (&ack["sent_at"], &json!(1)));
        // An edit moves the position, as a message does.
        let after_edit = json!({ "room": "ops", "since": { "epoch": ack["epoch"], "seq": 2, "message_id": ack["message_id"] } });
        let mut again = cluster.connect(1, "bob").await;
        assert_eq!(again.ok("Enter", after_edit).await["recovered"], true);
        alice.say("ops", "next").await;
        assert_eq!(again.next("GroupChat").await["seq"], 3);
    }

    async fn edit_of_an_older_version_is_a_conflict(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut phone = cluster.enter(1, "alice", "ops").await;
        let sent = alice.say("ops", "one").await;
        let edit = |version: &Value, content: &str| {
            json!({ "message_id": sent["message_id"], "content": content, "if_version": version })
        };
        let second = alice.ok("Edit", edit(&sent["message_id"], "two")).await;
        let error = phone.refused("Edit", edit(&sent["message_id"], "three"), "conflict").await;
        assert_eq!(error["current"], json!({ "version": second["message_id"], "content": "two" }));
        assert_eq!(error["outcome"], "refused");
        phone.ok("Edit", edit(&second["message_id"], "three")).await;
        assert_eq!(history(&mut alice, json!({})).await[0]["content"], "three");
    }

    async fn retracted_text_is_in_no_later_frame(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        let first = alice.say("ops", "before").await;
        let sent = alice.say("ops", "secret").await;
        let target = json!({ "room": "ops", "message_id": sent["message_id"] });
        let mut edit = target.clone();
        edit["content"] = json!("secret too");
        alice.ok("Edit", edit).await;
        let mut reason = target.clone();
        reason["reason"] = json!("wrong room");
        alice.ok("Retract", reason).await;
        for client in [&mut alice, &mut bob] {
            let event = client.next("Retract").await;
            assert_eq!((&event["reason"], &event["seq"]), (&json!("wrong room"), &json!(4)));
            assert_eq!(event["target"]["message_id"], sent["message_id"]);
        }
        for (kind, field) in [("Edit", json!({ "content": "x" })), ("Retract", json!({})), ("React", json!({ "reaction": "+1", "on": true }))] {
            let mut body = target.clone();
            body.as_object_mut().unwrap().extend(field.as_object().unwrap().clone());
            alice.refused(kind, body, "gone").await;
        }
        alice.say("ops", "after").await;
        // Who resumes on either node gets every entry, those that are erased as tombstones.
        let since = position(&first);
        for node in [0, 1] {
            let mut carol = cluster.connect(node, "carol").await;
            let joined = carol.ok("Enter", json!({ "room": "ops", "since": since })).await;
            assert_eq!(joined["recovered"], true);
            for seq in [2, 3] {
                let tombstone = carol.next("Tombstone").await;
                assert_eq!((&tombstone["seq"], &tombstone["sender_username"]), (&json!(seq), &json!("alice")));
                assert_eq!(tombstone["room"], "ops");
            }
            assert_eq!(carol.next("Retract").await["seq"], 4);
            assert_eq!(carol.hears().await, "after");
            let page = history(&mut carol, json!({ "room": "ops" })).await;
            let contents: Vec<&str> = page.iter().map(|message| message["content"].as_str().unwrap()).collect();
            assert_eq!(contents, ["before", "", "after"]);
            assert_eq!((&page[1]["retracted"], &page[1]["message_id"]), (&json!(true), &sent["message_id"]));
            assert!(!format!("{:?}", carol.seen()).contains("secret"));
        }
    }

    async fn reactions_are_counted_in_history(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        let sent = alice.say("ops", "shipped").await;
        let react = |reaction: &str, on: bool| json!({ "message_id": sent["message_id"], "reaction": reaction, "on": on });
        alice.ok("React", react("👍", true)).await;
        bob.ok("React", react("👍", true)).await;
        // Composed and decomposed texts are one reaction.
        bob.ok("React", react("caf\u{e9}", true)).await;
        let again = bob.ok("React", react("cafe\u{301}", true)).await;
        assert_eq!(again["unchanged"], true);
        assert_eq!((&again["message_id"], again.get("seq")), (&sent["message_id"], None));
        let event = alice.wait_for("bob's reaction", |frame| {
            frame["message_type"] == "React" && frame["message_body"]["sender_username"] == "bob"
        }).await;
        assert_eq!((&event["message_body"]["reaction"], &event["message_body"]["on"]), (&json!("👍"), &json!(true)));
        let page = history(&mut bob, json!({})).await;
        assert_eq!(page[0]["reactions"], json!({ "👍": { "count": 2, "mine": true }, "caf\u{e9}": { "count": 1, "mine": true } }));
        bob.ok("React", react("caf\u{e9}", false)).await;
        let page = history(&mut alice, json!({})).await;
        assert_eq!(page[0]["reactions"], json!({ "👍": { "count": 2, "mine": true } }));
    }

    async fn replies_are_counted_in_history(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        let (first, other) = (alice.say("ops", "a question").await, alice.say("ops", "another").await);
        let (first, other) = (id_of(&first), id_of(&other));
        let mut replies = Vec::new();
        for fields in [json!({ "reply_to": first }), json!({ "thread": first, "reply_to": other }),
            json!({ "thread": first, "reply_to": first }), json!({ "reply_to": UNKNOWN })] {
            let mut body = json!({ "room": "ops", "content": "an answer" });
            body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            replies.push(bob.ok("GroupChat", body).await);
        }
        let counts = |page: &[Value]| page.iter().map(|message| message["replies"].clone()).collect::<Vec<_>>();
        let page = history(&mut alice, json!({ "room": "ops" })).await;
        assert_eq!(counts(&page)[..3], [json!(3), json!(1), Value::Null]);
        bob.ok("Retract", json!({ "room": "ops", "message_id": id_of(&replies[1]) })).await;
        alice.ok("Retract", json!({ "room": "ops", "message_id": first })).await;
        let page = history(&mut alice, json!({ "room": "ops" })).await;
        assert_eq!(counts(&page)[..3], [json!(2), Value::Null, Value::Null], "a thread outlives its first message");
        let late = json!({ "room": "ops", "content": "late", "reply_to": other });
        bob.whisper("alice", "psst").await;
        bob.ok("GroupChat", late).await;
        assert_eq!(counts(&history(&mut bob, json!({ "room": "ops" })).await)[1], 1);
    }

    async fn edited_message_fits_into_a_frame_with_all_its_fields(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let file = |number| json!({ "url": format!("https://files.example/{number}/{}", "x".repeat(800)), "name": "a",
            "mime": "text/plain", "bytes": 1 });
        let files: Vec<Value> = (0..9).map(file).collect();
        let data = json!({ "of": "y".repeat(4_000) });
        let sent = alice.ok("GroupChat", json!({ "content": "one", "attachments": files, "data": data })).await;
        let edit = |content: String| json!({ "message_id": sent["message_id"], "content": content });
        let answer = alice.refused("Edit", edit("\"".repeat(10_000)), "message_too_large").await;
        assert!(answer["message"].as_str().unwrap().contains("shorten `content`"), "{answer}");
        alice.ok("Edit", edit("\"".repeat(8_000))).await;
        alice.take_largest();
        let page = history(&mut alice, json!({})).await;
        assert_eq!(page[0]["data"], data);
        assert!(alice.take_largest() <= 32_768);
    }

    async fn private_messages_change_for_both_users(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        let sent = alice.whisper("bob", "psst").await;
        bob.next("PrivateChat").await;
        let edit = json!({ "target_username": "bob", "message_id": sent["message_id"], "content": "hello" });
        alice.ok("Edit", edit).await;
        for client in [&mut alice, &mut bob] {
            let event = client.next("Edit").await;
            assert_eq!((&event["target_username"], &event["content"]), (&json!("bob"), &json!("hello")));
        }
        bob.ok("React", json!({ "target_username": "alice", "message_id": sent["message_id"], "reaction": "+1", "on": true })).await;
        for (client, peer) in [(&mut alice, "bob"), (&mut bob, "alice")] {
            let page = history(client, json!({ "target_username": peer })).await;
            assert_eq!((page.len(), &page[0]["content"]), (1, &json!("hello")));
            assert_eq!(page[0]["reactions"]["+1"]["count"], 1);
        }
        let target = json!({ "target_username": "alice", "message_id": sent["message_id"] });
        bob.refused("Retract", target, "forbidden").await;
        // Whoever learns the id of a message is no part of its conversation.
        let mut carol = cluster.connect(0, "carol").await;
        let reaction = json!({ "target_username": "bob", "message_id": sent["message_id"], "reaction": "+1", "on": true });
        carol.refused("React", reaction, "not_found").await;
        alice.ok("Retract", json!({ "target_username": "bob", "message_id": sent["message_id"] })).await;
        for (client, peer) in [(&mut alice, "bob"), (&mut bob, "alice")] {
            client.next("Retract").await;
            let page = history(client, json!({ "target_username": peer })).await;
            assert_eq!((&page[0]["content"], &page[0]["retracted"]), (&json!(""), &json!(true)));
        }
    }

    async fn change_is_refused_with_its_own_code(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| config.messages.edit_window = std::time::Duration::ZERO).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        let sent = alice.say("ops", "one").await;
        let id = id_of(&sent).to_owned();
        let wait = || async { is_late(&sent) };
        crate::support::cluster::until("the message is older than the window", wait).await;
        alice.refused("Edit", json!({ "message_id": id, "content": "x" }), "too_late").await;
        bob.refused("Retract", json!({ "message_id": id }), "forbidden").await;
        bob.refused("Retract", json!({ "message_id": UNKNOWN }), "not_found").await;
        bob.refused("React", json!({ "room": "other", "message_id": id, "reaction": "x", "on": true }), "not_in_room").await;
        for (request, body) in [
            ("Edit", json!({ "message_id": id })),
            ("Edit", json!({ "message_id": "", "content": "x" })),
            ("Edit", json!({ "message_id": id, "content": "" })),
            ("Edit", json!({ "message_id": id, "content": "x", "if_version": "y" })),
            ("Edit", json!({ "room": "ops", "target_username": "bob", "message_id": id, "content": "x" })),
            ("Retract", json!({ "message_id": id, "reason": "" })),
            ("React", json!({ "message_id": id, "reaction": "x" })),
            ("React", json!({ "message_id": id, "reaction": " ", "on": true })),
            ("React", json!({ "message_id": id, "reaction": "x".repeat(65), "on": true })),
            ("React", json!({ "message_id": id, "reaction": "a\u{7}", "on": true })),
        ] {
            let mut carol = cluster.enter(0, "carol", "ops").await;
            carol.refused(request, body, "invalid_message").await;
            carol.leave().await;
        }
        for n in 0..20 {
            bob.ok("React", json!({ "message_id": id, "reaction": n.to_string(), "on": true })).await;
        }
        bob.refused("React", json!({ "message_id": id, "reaction": "more", "on": true }), "too_many_changes").await;
        assert_eq!(history(&mut bob, json!({})).await[0]["reactions"].as_object().unwrap().len(), 20);
    }

    async fn message_keeps_what_it_says_beside_its_text(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        let root = alice.say("ops", "root").await;
        let mut body = json!({
            "room": "ops", "content": "see @bob", "reply_to": root["message_id"], "thread": root["message_id"],
            "mentions": ["bob"], "data": { "n": 1, "deep": [{}] },
            "attachments": [{ "url": "https://files.example/a.png", "name": "a.png", "mime": "image/png", "bytes": 9, "width": 2, "height": 3 }],
        });
        alice.ok("GroupChat", body.clone()).await;
        bob.next("GroupChat").await;
        let heard = bob.next("GroupChat").await;
        body.as_object_mut().unwrap().remove("room");
        for (name, value) in body.as_object().unwrap() {
            assert_eq!(heard[name], *value, "{name}");
        }
        assert_eq!(history(&mut bob, json!({ "limit": 1 })).await[0], heard);
        for (field, value) in [
            ("attachments", json!([{ "url": "http://files.example/a", "name": "a", "mime": "m/m", "bytes": 1 }])),
            ("mentions", json!(vec!["x"; 21])),
            ("data", json!([])),
            ("reply_to", json!("x")),
        ] {
            let mut wrong = json!({ "content": "x" });
            wrong[field] = value;
            let error = alice.refused("GroupChat", wrong, "invalid_message").await;
            assert!(error["message"].as_str().unwrap().starts_with(&format!("`{field}")), "{error}");
        }
        let large = json!({ "content": "x".repeat(15_000), "attachments": vec![json!({
            "url": format!("https://files.example/{}", "x".repeat(1_900)), "name": "a", "mime": "m/m", "bytes": 1 }); 4],
            "data": { "x": "y".repeat(4_000) }, "mentions": [] });
        alice.ok("GroupChat", large).await;
        let quotes = json!({ "content": "\"".repeat(14_000), "data": { "x": "y".repeat(4_000) } });
        let error = alice.refused("GroupChat", quotes, "message_too_large").await;
        assert!(error["message"].as_str().unwrap().contains("shorten `content`"), "{error}");
    }
}

/// Whether a message was stored at least a few milliseconds ago, by the clock that its time is of.
fn is_late(sent: &Value) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_millis() as u64 > sent["sent_at"].as_u64().unwrap() + 5
}

/// What a node read before a retraction is not sent after it: neither a page, nor the present text in a conflict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_was_read_before_its_retraction_is_not_sent() {
    let mut cluster = Cluster::start(Kind::Redis, 1).await;
    let proxy = cluster.put_proxy().await;
    cluster.add_node().await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut phone = cluster.enter(1, "alice", "ops").await;
    for (kind, body) in [("History", json!({})), ("Edit", json!({ "content": "new", "if_version": UNKNOWN }))]
    {
        let sent = alice.say("ops", "secret").await;
        phone.next("GroupChat").await;
        let mut held = proxy.hold_answer("secret");
        let mut request = body;
        if kind == "Edit" {
            request["message_id"] = sent["message_id"].clone();
        }
        let id = phone.send(kind, request).await;
        held.reached().await;
        alice.ok("Retract", json!({ "message_id": sent["message_id"] })).await;
        phone.next("Retract").await;
        drop(held);
        let answer = phone.answer(&id).await;
        assert!(!answer.to_string().contains("secret"), "{answer}");
        match kind {
            "History" => assert_eq!(answer["message_body"]["messages"][0]["retracted"], true),
            _ => assert_eq!(answer["message_body"]["code"], "gone"),
        }
    }
}
