//! What logs leave behind in Redis: rooms that were only entered, dedupe records, and changes of messages.

use bytes::Bytes;
use chatnode::backend::{Change, ChangeKind, Links, NewEntry, Publish, Range};
use chatnode::protocol::{MessageId, Topic};

use crate::support::backend::{ALL, Harness, message, room, user, user_name};
use crate::support::redis_server::RedisServer;

fn ttl_minutes(server: &RedisServer, key: &str) -> i64 {
    server.command(&["PTTL", key]).unwrap().trim().parse::<i64>().unwrap() / 60_000
}

#[tokio::test(flavor = "multi_thread")]
async fn room_without_messages_is_forgotten_after_ten_minutes() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let (empty, used, alice) = (room("empty"), room("used"), user("alice"));
    for topic in [&empty, &used, &alice] {
        node.page(topic, Range::Top, ALL).await;
    }
    node.say(&used, "hello").await;
    assert!((9..=10).contains(&ttl_minutes(&server, "chat:{r:empty}:meta")));
    assert!(ttl_minutes(&server, "chat:{r:used}:meta") > 30 * 24 * 60);
    assert!(ttl_minutes(&server, "chat:{u:alice}:meta") > 30 * 24 * 60, "this user has connected");
    // A node with members looks at the room again and again.
    server.command(&["PEXPIRE", "chat:{r:empty}:meta", "200000"]).unwrap();
    let epoch = node.backend.broker.tops(std::slice::from_ref(&empty)).await.unwrap()[0].unwrap().epoch;
    assert!((9..=10).contains(&ttl_minutes(&server, "chat:{r:empty}:meta")));
    assert_eq!(node.page(&empty, Range::Top, ALL).await.top.epoch, epoch);
    // With the first message, it is a room like any other.
    assert_eq!(node.say(&empty, "hello").await.position.epoch, epoch);
    assert!(ttl_minutes(&server, "chat:{r:empty}:meta") > 30 * 24 * 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn dedupe_record_has_one_size_whatever_its_key() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let sizes =
        [("a", "1".to_owned()), ("b", "\u{10348}".repeat(200))].map(|(name, key)| (room(name), name, key));
    let mut bytes = Vec::new();
    for (topic, name, key) in sizes {
        node.publish(&[&topic], &key, "x").await.unwrap();
        assert!(node.publish(&[&topic], &key, "x").await.unwrap().duplicate);
        // The time decides which of the two holds it.
        let halves = ["0", "1"].map(|half| {
            let usage = server.command(&["MEMORY", "USAGE", &format!("chat:{{r:{name}}}:d{half}")]).unwrap();
            usage.parse().unwrap_or(0_u64)
        });
        bytes.push(halves.iter().sum::<u64>());
    }
    assert!(bytes[0] > 0 && bytes[0] == bytes[1], "{bytes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dedupe_record_of_an_older_node_is_recognised() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let ops = room("ops");
    let first = node.publish(&[&ops], "key", "x").await.unwrap();
    let rename = "for _, half in ipairs({ 'd0', 'd1' }) do
        local key = 'chat:{r:ops}:' .. half
        local all = redis.call('HGETALL', key)
        for i = 1, #all, 2 do
          if all[i] ~= 'w' then
            redis.call('HDEL', key, all[i])
            redis.call('HSET', key, 'kkey', all[i + 1])
          end
        end
      end";
    server.command(&["EVAL", rename, "0"]).unwrap();
    // Such a node leaves a state that is not that of the log.
    server.command(&["HDEL", "chat:{r:ops}:meta", "z"]).unwrap();
    let again = node.publish(&[&ops], "key", "x").await.unwrap();
    assert!(again.duplicate && again.position == first.position);
    assert!(!node.publish(&[&ops], "another key", "x").await.unwrap().duplicate);
}

async fn change(node: &Harness, topic: &Topic, target: MessageId, kind: ChangeKind) {
    let change = Change { target, author: Bytes::new(), window: None, kind };
    let publish = message(&[topic], &MessageId::generate().to_string(), r#""change":"X""#);
    node.backend.broker.publish(Publish { entry: NewEntry::Change(change), ..publish }).await.unwrap();
}

fn reaction(on: bool) -> ChangeKind {
    ChangeKind::React { user: user_name("bob"), reaction: "+1".into(), on }
}

/// The bytes of all changes of the lobby, as the hash counts them, and as they are.
fn bytes_of_changes(server: &RedisServer) -> [u64; 2] {
    let sum = "local sum = 0
        for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
            if #field > 1 then sum = sum + #field + redis.call('HSTRLEN', KEYS[1], field) end
        end
        return sum";
    let counted = server.command(&["HGET", "chat:{r:lobby}:x", "b"]).unwrap();
    let real = server.command(&["EVAL", sum, "1", "chat:{r:lobby}:x"]).unwrap();
    [counted, real].map(|bytes| bytes.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_changes_are_those_that_are_held() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |config| config.history.max_messages = 40).await;
    let lobby = room("lobby");
    for _ in 0..5 {
        let target = node.say(&lobby, "hi").await.position.message_id;
        for turn in 0..5 {
            let text = Bytes::from("x".repeat(turn));
            change(
                &node,
                &lobby,
                target,
                ChangeKind::Edit { if_version: None, text, max_bytes: usize::MAX >> 1 },
            )
            .await;
            change(&node, &lobby, target, reaction(turn % 2 == 0)).await;
            let [counted, real] = bytes_of_changes(&server);
            assert_eq!(counted, real, "turn {turn}");
        }
        let tombstone = Bytes::from_static(b"gone");
        change(&node, &lobby, target, ChangeKind::Retract { tombstone, moderated: None }).await;
        let [counted, real] = bytes_of_changes(&server);
        assert_eq!(counted, real);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_links_are_those_that_are_held() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |config| config.history.max_messages = 40).await;
    let lobby = room("lobby");
    let first = node.say(&lobby, "hi").await.position.message_id;
    let mut ids = vec![first];
    for turn in 0..8 {
        let named = ids[turn / 2];
        let mut answers = vec![first, named];
        answers.dedup();
        let links = Links { answers, mentions: vec![user_name("bob"), user_name("日本")] };
        let body = format!(r#""reply_to":"{first}","thread":"{named}","mentions":["bob","日本"]"#);
        let publish =
            Publish { entry: NewEntry::Message(links), ..message(&[&lobby], &turn.to_string(), &body) };
        ids.push(node.backend.broker.publish(publish).await.unwrap().position.message_id);
        let [counted, real] = bytes_of_changes(&server);
        assert_eq!(counted, real, "turn {turn}");
        assert!(ttl_minutes(&server, "chat:{r:lobby}:x") > 24 * 60);
    }
    for target in ids {
        change(
            &node,
            &lobby,
            target,
            ChangeKind::Retract { tombstone: Bytes::from_static(b"gone"), moderated: None },
        )
        .await;
        let [counted, real] = bytes_of_changes(&server);
        assert_eq!(counted, real);
    }
    let fields = server.command(&["HKEYS", "chat:{r:lobby}:x"]).unwrap();
    assert!(!fields.lines().any(|field| field.contains("bob") || field.contains("日本")), "{fields}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hash_of_changes_forgets_trimmed_messages() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |config| config.history.max_messages = 40).await;
    let lobby = room("lobby");
    for _ in 0..10 {
        let target = node.say(&lobby, "hi").await.position.message_id;
        change(&node, &lobby, target, reaction(true)).await;
    }
    let fields = || server.command(&["HLEN", "chat:{r:lobby}:x"]).unwrap();
    let state = 3;
    assert_eq!(fields(), (10 + state).to_string());
    let [of_ten, _] = bytes_of_changes(&server);
    for _ in 0..60 {
        node.say(&lobby, "hi").await;
    }
    let target = node.say(&lobby, "hi").await.position.message_id;
    change(&node, &lobby, target, reaction(true)).await;
    assert_eq!(fields(), (1 + state).to_string());
    let [counted, _] = bytes_of_changes(&server);
    assert!(counted < of_ten / 5, "{counted} of {of_ten}");
}
