//! Names and contents with unusual characters: braces, colons, percent signs, scripts, emoji. Two names that look alike are
//! the same or one is refused; different names are never confused.

use serde_json::{Value, json};

use crate::support::api::{with_api, with_tokens};
use crate::support::client::Client;
use crate::support::cluster::Cluster;

/// Names with a special meaning elsewhere: in Redis Cluster, key schemes, URLs, glob patterns.
const NAMES: [&str; 16] = [
    "a}{b",
    "{a}",
    "{",
    "}",
    "日本",
    "a:b",
    "a",
    "b",
    "%7B",
    "%",
    "a b",
    "a*",
    "../a",
    "👩\u{200d}💻",
    "می\u{200c}خواهم",
    "A",
];

on_each_store! {
    async fn rooms_with_unusual_names_stay_separate(kind) {
        let cluster = Cluster::start_with(kind, 2, |c| c.limits.max_rooms_per_connection = 100).await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut bob = cluster.connect(1, "bob").await;
        for room in NAMES {
            assert_eq!(alice.ok("Enter", json!({ "room": room })).await["room"], room);
            bob.ok("Enter", json!({ "room": room })).await;
        }
        for room in NAMES {
            let ack = alice.say(room, &format!("to {room}")).await;
            assert_eq!(ack["seq"], 1, "{room}");
        }
        let mut heard: Vec<(String, String)> = Vec::new();
        for _ in NAMES {
            let message = bob.next("GroupChat").await;
            heard.push((message["room"].as_str().unwrap().into(), message["content"].as_str().unwrap().into()));
        }
        heard.sort();
        let mut said: Vec<(String, String)> = NAMES.iter().map(|room| ((*room).into(), format!("to {room}"))).collect();
        said.sort();
        assert_eq!(heard, said);
        for room in NAMES {
            let page = bob.ok("History", json!({ "room": room })).await;
            assert_eq!(page["messages"].as_array().unwrap().len(), 1, "{room}: {page}");
            assert_eq!(bob.ok("Members", json!({ "room": room })).await["members"], json!(["alice", "bob"]), "{room}");
        }
    }

    async fn users_with_unusual_names_get_their_own_messages(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut clients = Vec::new();
        for name in NAMES {
            // The room of the same name has a separate log.
            clients.push(cluster.enter(1, name, name).await);
        }
        let mut alice = cluster.connect(0, "alice").await;
        for name in NAMES {
            alice.whisper(name, &format!("for {name}")).await;
        }
        for client in &mut clients {
            let name = client.name().to_owned();
            let heard = client.next("PrivateChat").await;
            assert_eq!((&heard["content"], &heard["target_username"]), (&json!(format!("for {name}")), &json!(name)));
            client.heard_no("PrivateChat").await;
            client.heard_no("GroupChat").await;
        }
    }

    async fn name_is_trimmed_and_composed(kind) {
        let cluster = Cluster::start(kind, 2).await;
        // With a combining accent, as some keyboards produce it.
        let mut jose = cluster.connect(0, " jose\u{301}\u{a0}").await;
        let ack = jose.ok("Enter", json!({ "room": "\tcafe\u{301} " })).await;
        assert_eq!(ack["room"], "caf\u{e9}");
        let mut bob = cluster.enter(1, "bob", "caf\u{e9}").await;
        assert_eq!(bob.ok("Members", json!({})).await["members"], json!(["bob", "jos\u{e9}"]));
        bob.whisper("jos\u{e9}", "both are you").await;
        assert_eq!(jose.next("PrivateChat").await["target_username"], "jos\u{e9}");
        jose.say("cafe\u{301}", "hi").await;
        let heard = bob.next("GroupChat").await;
        assert_eq!((&heard["sender_username"], &heard["room"]), (&json!("jos\u{e9}"), &json!("caf\u{e9}")));
        jose.ok("Ping", json!({ "sender_username": "jos\u{e9}" })).await;
        assert_eq!(jose.ok("Leave", json!({ "room": "cafe\u{301}" })).await["room"], "caf\u{e9}");
        assert_eq!(bob.next("Leave").await["sender_username"], "jos\u{e9}");
        // Names are case-sensitive.
        bob.refused("GroupChat", json!({ "room": "CAF\u{c9}", "content": "x" }), "not_in_room").await;
    }

    async fn name_has_at_most_64_characters(kind) {
        let cluster = Cluster::start(kind, 1).await;
        for (room, is_good) in [
            ("x".repeat(64), true),
            ("x".repeat(65), false),
            ("日".repeat(64), true),
            ("日".repeat(65), false),
            ("👍".repeat(64), true),
            // The length counts after composing and trimming.
            ("e\u{301}".repeat(64), true),
            ("e\u{301}".repeat(65), false),
            (format!("  {}  ", "x".repeat(64)), true),
        ] {
            let mut alice = cluster.connect(0, "alice").await;
            if is_good {
                alice.ok("Enter", json!({ "room": room })).await;
                alice.say(&room, "x").await;
            } else {
                let error = alice.refused("Enter", json!({ "room": room }), "invalid_message").await;
                assert!(error["message"].as_str().unwrap().contains("64"), "{error}");
            }
        }
        let longest = "👍".repeat(64);
        let mut alice = cluster.enter(0, &longest, &longest).await;
        alice.whisper(&longest, "to myself").await;
        assert_eq!(alice.hears_privately().await, "to myself");
    }

    async fn invisible_name_is_refused(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let invisible = ['\u{0}', '\u{1f}', '\n', '\u{7f}', '\u{85}', '\u{ad}', '\u{200b}', '\u{200e}', '\u{202e}', '\u{2028}', '\u{2029}', '\u{2066}', '\u{feff}'];
        for character in invisible {
            let name = format!("a{character}b");
            let mut alice = cluster.connect(0, "alice").await;
            for (kind, body, field) in [
                ("Enter", json!({ "room": name }), "`room`"),
                ("Enter", json!({ "sender_username": name }), "`sender_username`"),
                ("PrivateChat", json!({ "target_username": name, "content": "x" }), "`target_username`"),
            ] {
                let error = alice.refused(kind, body, "invalid_message").await;
                let message = error["message"].as_str().unwrap();
                assert!(message.contains(field) && message.contains(&format!("U+{:04X}", character as u32)), "{message}");
            }
        }
    }

    async fn new_name_with_a_hidden_character_is_refused(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| c.rooms.default = "hall\u{200d}".into()).await;
        let mut alice = cluster.connect(0, "alice").await;
        for (kind, body, field) in [
            ("Enter", json!({ "room": "news\u{200d}" }), "`room`"),
            ("Enter", json!({ "sender_username": "ali\u{200c}ce" }), "`sender_username`"),
            ("Auth", json!({ "sender_username": "alice\u{200d}" }), "`sender_username`"),
            ("PrivateChat", json!({ "target_username": "bob\u{fe0f}", "content": "x" }), "`target_username`"),
        ] {
            let error = alice.refused(kind, body, "invalid_message").await;
            let message = error["message"].as_str().unwrap();
            assert!(message.starts_with(field) && message.contains("U+") && message.contains("leave it out"), "{message}");
        }
        let error = alice.refused("Enter", json!({ "room": "\u{301}" }), "invalid_message").await;
        assert!(error["message"].as_str().unwrap().contains("can be seen"), "{error}");
        // The connection is still nobody's, and a name of the settings is not new.
        assert_eq!(alice.ok("Enter", json!({})).await["room"], "hall\u{200d}");
        alice.ok("Enter", json!({ "room": "hall\u{200d}" })).await;
    }

    async fn name_that_exists_keeps_working(kind) {
        let cluster = Cluster::start_with(kind, 2, with_api).await;
        let said = json!({ "sender_username": "system", "content": "from before" });
        for path in ["/rooms/news%E2%80%8D/messages", "/users/bob%E2%80%8D/messages"] {
            assert_eq!(cluster.call(0, "POST", path, said.clone()).await.0, 201);
        }
        let mut alice = cluster.enter(0, "alice", "news\u{200d}").await;
        let mut bob = cluster.enter(1, "bob\u{200d}", "news\u{200d}").await;
        assert_eq!(bob.hears_privately().await, "from before");
        alice.say("news\u{200d}", "still works").await;
        assert_eq!(bob.hears().await, "still works");
        alice.whisper("bob\u{200d}", "you too").await;
        assert_eq!(bob.hears_privately().await, "you too");
    }

    async fn name_of_a_token_is_not_new(kind) {
        let cluster = Cluster::start_with(kind, 1, with_tokens).await;
        let name = "bob\u{200d}";
        let token = cluster.token(0, name).await;
        let header = [("authorization", format!("Bearer {token}"))];
        let mut bob = Client::connect_with(cluster.address(0), name, &header).await.unwrap();
        bob.ok("Enter", json!({ "room": "ops" })).await;
        bob.say("ops", "hello").await;
        // The same in the envelope of the first request.
        let mut bob = cluster.connect(0, name).await;
        let mut enter = bob.envelope("Enter", json!({ "room": "ops" }), Some("1"));
        enter["token"] = token.into();
        bob.send_text(enter.to_string()).await;
        assert_eq!(bob.answer("1").await["message_type"], "Ack");
    }

    async fn room_that_looks_read_only_is_read_only(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| {
            with_api(c);
            c.rooms.read_only = vec!["news".into()];
        })
        .await;
        let said = json!({ "sender_username": "system", "content": "from before" });
        assert_eq!(cluster.call(0, "POST", "/rooms/news%E2%80%8D/messages", said).await.0, 201);
        let mut alice = cluster.connect(0, "alice").await;
        // One from before the rule, and one with a Cyrillic letter.
        for room in ["news", "news\u{200d}", "n\u{435}ws"] {
            alice.ok("Enter", json!({ "room": room })).await;
            let chat = json!({ "room": room, "content": "free money" });
            let error = alice.refused("GroupChat", chat, "forbidden").await;
            assert!(error["message"].as_str().unwrap().contains("read-only"), "{error}");
        }
        alice.ok("Enter", json!({ "room": "News" })).await;
        alice.say("News", "another name").await;
    }

    async fn content_is_delivered_unchanged(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        for content in [
            " spaces stay ", "\u{0}\u{1}\n\r\t\u{7f}", "\"quoted\\\" {\"json\":[]}", "</script><b>&amp;", "e\u{301} is not composed",
            "\u{202e}backwards", "👩\u{200d}💻\u{1f3fd}", "\u{2028}\u{2029}", "%s%n{0}$1", "\u{fffd}\u{feff}", "KEYS * \r\nFLUSHALL\r\n",
        ] {
            alice.say("ops", content).await;
            assert_eq!(bob.hears().await, content);
            alice.whisper("bob", content).await;
            assert_eq!(bob.hears_privately().await, content);
        }
        let page = bob.ok("History", json!({ "limit": 1 })).await;
        assert_eq!(page["messages"][0]["content"], "KEYS * \r\nFLUSHALL\r\n");
    }

    async fn content_has_at_most_16384_bytes_after_decoding(kind) {
        // JSON spells a control character with six bytes.
        let cluster = Cluster::start_with(kind, 2, |config| config.limits.max_delivery_bytes = Some(128 << 10)).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        for longest in ["x".repeat(16_384), "日".repeat(5_461), "\u{0}".repeat(16_384), "\"".repeat(16_384)] {
            alice.say("ops", &longest).await;
            assert_eq!(bob.hears().await, longest);
            let longer = json!({ "content": longest.clone() + "日" });
            alice.refused("GroupChat", longer.clone(), "message_too_large").await;
            alice.refused("PrivateChat", json!({ "target_username": "bob", "content": longer["content"] }), "message_too_large").await;
        }
        // The encoding does not count: six bytes of JSON for each byte of content.
        let escaped = |count: usize| {
            format!(
                r#"{{"message_type":"GroupChat","message_body":{{"sender_username":"alice","content":"{}"}},"id":"{count}"}}"#,
                r"\u0041".repeat(count)
            )
        };
        alice.send_text(escaped(16_384)).await;
        assert_eq!(alice.answer("16384").await["message_type"], "Ack");
        assert_eq!(bob.hears().await, "A".repeat(16_384));
        alice.send_text(escaped(16_385)).await;
        assert_eq!(alice.answer("16385").await["message_body"]["code"], "message_too_large");
        bob.heard_no("GroupChat").await;
    }

    async fn lone_surrogate_is_refused(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        // JSON can encode half of a surrogate pair; UTF-8 can't.
        let half = r#"{"message_type":"GroupChat","message_body":{"sender_username":"alice","content":"\ud83d"},"id":"1"}"#;
        alice.send_text(half).await;
        assert_eq!(alice.answer("1").await["message_body"]["code"], "invalid_message");
        let whole = half.replace(r"\ud83d", r"\ud83d\ude00");
        alice.send_text(whole.replace("\"1\"", "\"2\"")).await;
        assert_eq!(alice.answer("2").await["message_type"], "Ack");
        assert_eq!(alice.hears().await, "😀");
    }

    async fn request_id_is_returned_unchanged(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        for id in ["1", " ", "\"}", "日本", "a\u{1f}b", "\u{0}", &"👍".repeat(64)] {
            let chat = alice.envelope("GroupChat", json!({ "content": "x" }), Some(id));
            alice.send_text(chat.to_string()).await;
            let ack = alice.answer(id).await;
            assert_eq!((&ack["message_type"], &ack["message_body"]["duplicate"]), (&json!("Ack"), &Value::Null), "{id:?}");
            assert_eq!(alice.next("GroupChat").await["client_id"], id);
            let history = alice.envelope("History", json!({ "limit": 1 }), Some(id));
            alice.send_text(history.to_string()).await;
            assert_eq!(alice.answer(id).await["message_body"]["messages"][0]["client_id"], id);
        }
    }
}
