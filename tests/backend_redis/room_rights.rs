//! What rights of rooms cost in Redis, how long they live there, and that no node of an earlier version opens such a room.

use std::collections::BTreeMap;

use chatnode::backend::{Asker, BackendError, NewEntry, Publish, Range, RightsUpdate, Stored};
use chatnode::protocol::{Grant, MessageId, RoomKind, Topic};

use crate::support::backend::{ALL, Harness, message, room, room_name, user_name};
use crate::support::listener::eventually;
use crate::support::older_node::{KEYS, OlderNode};
use crate::support::redis_server::RedisServer;

async fn make(node: &Harness, topic: &Topic) -> Result<Stored, BackendError> {
    let (kind, owner) = (Some(RoomKind::Private), Some(user_name("ann")));
    let update = RightsUpdate::Room { kind, topic: None, slow_mode_ms: None, owner };
    let key = MessageId::generate().to_string();
    let body = r#""change":"Room","sender_username":"ann""#;
    let asker = Asker::User(user_name("ann"), Grant::default());
    let publish = Publish { asker, entry: NewEntry::Rights(update), ..message(&[topic], &key, body) };
    node.backend.broker.publish(publish).await
}

async fn say(node: &Harness, topic: &Topic) {
    let key = MessageId::generate().to_string();
    let publish = Publish {
        asker: Asker::User(user_name("ann"), Grant::default()),
        ..message(&[topic], &key, "hello")
    };
    node.backend.broker.publish(publish).await.unwrap();
}

/// How often Redis has run each command.
fn calls(server: &RedisServer) -> BTreeMap<String, u64> {
    let statistics = server.command(&["INFO", "commandstats"]).unwrap();
    let of_line = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    statistics.lines().filter_map(of_line).collect()
}

/// The commands that so many messages of one user cost, without what the node does in the background.
async fn cost(node: &Harness, server: &RedisServer, topic: &Topic, messages: u64) -> BTreeMap<String, u64> {
    // The first one opens a dedupe window.
    say(node, topic).await;
    server.command(&["CONFIG", "RESETSTAT"]).unwrap();
    for _ in 0..messages {
        say(node, topic).await;
    }
    let of_messages =
        ["evalsha", "time", "hmget", "hget", "hset", "hsetnx", "xadd", "publish", "hexists", "zscore"];
    calls(server).into_iter().filter(|(name, _)| of_messages.contains(&name.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn message_with_rights_costs_one_call_more() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let (open, private) = (room("open"), room("private"));
    make(&node, &private).await.unwrap();
    let open = cost(&node, &server, &open, 50).await;
    let private = cost(&node, &server, &private, 50).await;
    for (name, count) in &private {
        // The node looks at its subscriptions and at quiet topics meanwhile.
        let more = if name == "hmget" { 50 } else { 0 };
        let expected = open.get(name).copied().unwrap_or(0) + more;
        assert!(
            count.abs_diff(expected) < 10,
            "{name}: {count}, and {expected} were expected: {open:?} {private:?}"
        );
    }
    assert_eq!(private["xadd"], 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_never_expire() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |config| {
        config.history.max_age = std::time::Duration::from_secs(2);
    })
    .await;
    let lobby = room("lobby");
    node.page(&lobby, Range::Top, ALL).await;
    make(&node, &lobby).await.unwrap();
    let expires = |key: &str| server.command(&["PTTL", key]).unwrap() != "-1";
    let keep = || [KEYS[0], "chat:{r:lobby}:rights"].map(expires);
    assert_eq!(keep(), [false, false]);
    // Neither reading the log, nor a message that extends what expires, nor the end of all entries changes that.
    for _ in 0..3 {
        node.page(&lobby, Range::Top, ALL).await;
        node.backend.broker.tops(std::slice::from_ref(&lobby)).await.unwrap();
        say(&node, &lobby).await;
        assert_eq!(keep(), [false, false]);
    }
    eventually("the entries expire", || async { node.log(&lobby).await.is_empty() }).await;
    eventually("their stream expires", || async { server.command(&["EXISTS", KEYS[1]]).unwrap() == "0" })
        .await;
    assert_eq!(keep(), [false, false]);
    let rights = node.backend.broker.rights(&room_name("lobby"), &user_name("ann")).await.unwrap();
    assert_eq!(rights.unwrap().kind, RoomKind::Private);
    say(&node, &lobby).await;
    assert!(node.page(&lobby, Range::Top, ALL).await.has_rights);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_node_opens_no_room_with_rights() {
    let server = RedisServer::start();
    let older = OlderNode { server: &server, max_messages: "40", max_bytes: "3000" };
    older.starts();
    let node = Harness::redis(&server, |_| {}).await;
    let lobby = room("lobby");
    // As long as it runs, no room gets rights.
    assert_eq!(make(&node, &lobby).await, Err(BackendError::OlderNodes));
    older.ends();
    eventually("the older node is gone", || async { make(&node, &lobby).await.is_ok() }).await;
    say(&node, &lobby).await;
    // It comes back.
    older.starts();
    let before = server.command(&["HGETALL", KEYS[0]]).unwrap();
    for error in older.errors() {
        assert!(error.starts_with("BADLOG") || error.starts_with("ERR"), "{error}");
    }
    assert_eq!(server.command(&["HGETALL", KEYS[0]]).unwrap(), before);
    say(&node, &lobby).await;
    assert_eq!(node.log(&lobby).await.len(), 3);
}
