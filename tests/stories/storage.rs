//! What a user may store: who stores too much or too fast is refused alone, and everybody else goes on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::api::{with_api, with_tokens};
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, until};
use crate::support::redis_server::RedisServer;

/// A client behind a proxy, with an address of its own.
async fn connect_from(cluster: &Cluster, address: &str, name: &str) -> Client {
    let forwarded = [("x-forwarded-for", address.to_owned())];
    Client::connect_with(cluster.address(0), name, &forwarded).await.unwrap()
}

/// A publish with an id of 64 characters of four bytes each.
async fn publish_with_long_id(client: &mut Client, number: usize) -> Value {
    let id = format!("{number:06}{}", "\u{10348}".repeat(58));
    let body = json!({ "room": "noise", "content": "x" });
    let envelope = client.envelope("GroupChat", body, Some(&id));
    client.send_text(envelope.to_string()).await;
    client.answer(&id).await
}

/// Without authentication, names prove nothing: the address is what is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_that_fills_the_embedded_store_is_refused_alone() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| {
        c.history.embedded_bytes = 1 << 20;
        c.limits.stored_bytes_per_second = Some(u32::MAX);
        c.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let mut alice = connect_from(&cluster, "198.51.100.7", "alice").await;
    alice.ok("Enter", json!({ "room": "calm" })).await;
    let mut mallory = connect_from(&cluster, "203.0.113.9", "mallory").await;
    mallory.ok("Enter", json!({ "room": "noise" })).await;
    let mut refused = Value::Null;
    for number in 0..5_000 {
        let answer = publish_with_long_id(&mut mallory, number).await;
        if answer["message_type"] == "Error" {
            refused = answer["message_body"].clone();
            break;
        }
    }
    assert_eq!(
        (&refused["code"], &refused["outcome"]),
        (&json!("rate_limited"), &json!("refused")),
        "{refused}"
    );
    assert!(refused["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0), "{refused}");
    // Another name from the same address is no way around.
    let mut second = connect_from(&cluster, "203.0.113.9", "mallory 2").await;
    second.ok("Enter", json!({ "room": "other" })).await;
    second.refused("GroupChat", json!({ "room": "other", "content": "x" }), "rate_limited").await;
    for _ in 0..100 {
        alice.say("calm", "hello").await;
    }
    alice.whisper("bob", "hello").await;
}

/// Memory of the data of Redis, bytes.
fn used_memory(redis: &RedisServer) -> u64 {
    let info = redis.command(&["INFO", "memory"]).unwrap();
    let number = |name: &str| -> u64 {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().trim().parse().unwrap()
    };
    number("used_memory") - number("mem_not_counted_for_evict")
}

fn error_of(answer: &Value) -> (&Value, &Value) {
    (&answer["message_body"]["code"], &answer["message_body"]["outcome"])
}

/// Whatever memory is left is for presence, leases, tokens and markers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_redis_refuses_messages_and_nothing_else() {
    let lease = Duration::from_secs(2);
    let cluster = Cluster::start_with(Kind::Redis, 2, |c| {
        with_tokens(c);
        c.node.lease = lease;
        c.node.heartbeat = lease / 5;
    })
    .await;
    let sign_in = async |node: usize, name: &str| {
        let mut client = cluster.connect(node, name).await;
        client.token = Some(cluster.token(node, name).await);
        client
    };
    let mut alice = sign_in(0, "alice").await;
    alice.ok("Enter", json!({ "room": "lobby" })).await;
    alice.say("lobby", "before").await;
    let mut bob = sign_in(1, "bob").await;
    bob.ok("Enter", json!({ "room": "lobby" })).await;
    let content = "x".repeat(16 << 10);
    for number in 0..100 {
        alice.whisper(&format!("nobody {number}"), &content).await;
    }
    let redis = cluster.redis_server();
    let max = used_memory(redis) / 95 * 100;
    let reserve = max.to_string();
    redis.command(&["CONFIG", "SET", "maxmemory", &reserve]).unwrap();
    let client = tokio::sync::Mutex::new((alice, Value::Null));
    until("messages are refused", async || {
        let (alice, answer) = &mut *client.lock().await;
        *answer = alice.ask("GroupChat", json!({ "room": "lobby", "content": "filler" })).await;
        answer["message_type"] == "Error"
    })
    .await;
    let (mut alice, refused) = client.into_inner();
    // Each node looks once a second.
    let client = tokio::sync::Mutex::new(bob);
    until("the other node refuses messages too", async || {
        let answer =
            client.lock().await.ask("GroupChat", json!({ "room": "lobby", "content": "filler" })).await;
        answer["message_type"] == "Error"
    })
    .await;
    let mut bob = client.into_inner();
    assert!(used_memory(redis) < max, "Redis itself would still store it");
    assert_eq!(error_of(&refused), (&json!("unavailable"), &json!("refused")), "{refused}");
    let message = refused["message_body"]["message"].as_str().unwrap();
    assert!(message.contains("full"), "{message}");
    // What will never fit is not worth another try, whether the log exists or not.
    for target in ["bob", "nobody ever heard of"] {
        let body = json!({ "target_username": target, "content": "\"".repeat(16 << 10) });
        alice.refused("PrivateChat", body, "message_too_large").await;
    }
    // Somebody who never connected before signs in, enters rooms that exist and that do not, and reads.
    for (name, maxmemory) in [("carl", reserve.as_str()), ("carol", "1mb")] {
        redis.command(&["CONFIG", "SET", "maxmemory", maxmemory]).unwrap();
        let mut carl = sign_in(1, name).await;
        carl.ok("Auth", json!({})).await;
        carl.ok("Enter", json!({ "room": "lobby", "history": 200 })).await;
        assert_eq!(carl.hears().await, "before");
        carl.ok("Enter", json!({ "room": format!("room of {name}") })).await;
        carl.ok("Read", json!({ "room": "lobby", "seq": 1 })).await;
        carl.ok("History", json!({ "room": "lobby" })).await;
        carl.refused("GroupChat", json!({ "room": "lobby", "content": "x" }), "unavailable").await;
        // Presence stays right for longer than a lease.
        let end = Instant::now() + lease + lease / 2;
        while Instant::now() < end {
            let members = bob.ok("Members", json!({ "room": "lobby" })).await;
            assert_eq!(members["members"], json!(["alice", "bob", name]), "{members}");
        }
        let leave = carl.ok("Leave", json!({ "room": "lobby" })).await;
        assert_eq!(leave["room"], "lobby");
    }
    redis.command(&["CONFIG", "SET", "maxmemory", &reserve]).unwrap();
    assert!(used_memory(redis) < max, "the rest is enough for everything else");
    // Publishing comes back once there is memory.
    let delete = "for _, key in ipairs(redis.call('KEYS', '*nobody*')) do redis.call('DEL', key) end";
    redis.command(&["EVAL", delete, "0"]).unwrap();
    let bob = tokio::sync::Mutex::new(bob);
    until("publishing works again", async || {
        let answer = bob.lock().await.ask("GroupChat", json!({ "room": "lobby", "content": "after" })).await;
        answer["message_type"] == "Ack"
    })
    .await;
    alice.wait_for("the message", |frame| frame["message_body"]["content"] == "after").await;
}

/// Messages for a user, sent until one is refused. Returns how many were stored, and the error.
async fn whisper_until_refused(client: &mut Client, target: &str, content: &str) -> (usize, Value) {
    for count in 0..1_000 {
        let body = json!({ "target_username": target, "content": content });
        let answer = client.ask("PrivateChat", body).await;
        if answer["message_type"] == "Error" {
            return (count, answer);
        }
    }
    panic!("{target} is never full");
}

on_each_store! {
    /// Nothing unread is trimmed in silence: the sender hears of it instead.
    async fn inbox_of_an_unknown_user_is_small_until_the_user_connects(kind) {
        let cluster = Cluster::start_with(kind, 2, with_api).await;
        let mut alice = cluster.connect(0, "alice").await;
        let (count, refused) = whisper_until_refused(&mut alice, "bob", "hello").await;
        assert_eq!(count, 64, "{refused}");
        assert_eq!(error_of(&refused), (&json!("forbidden"), &json!("refused")), "{refused}");
        let (count, _) = whisper_until_refused(&mut alice, "carl", &"x".repeat(16_000)).await;
        assert_eq!(count, 4, "of 16,000 bytes in 64 KiB");
        // The back end of the product is not limited.
        let body = json!({ "sender_username": "alice", "content": "from the back end" });
        let (status, _) = cluster.call(1, "POST", "/users/bob/messages", body).await;
        assert_eq!(status, 201);
        let mut bob = cluster.connect(1, "bob").await;
        bob.ok("Auth", json!({})).await;
        for _ in 0..64 {
            assert_eq!(bob.hears_privately().await, "hello");
        }
        assert_eq!(bob.hears_privately().await, "from the back end");
        bob.leave().await;
        // From now on the log is that of a known user, present or not.
        for _ in 0..100 {
            alice.whisper("bob", "hello again").await;
        }
    }

    /// A repeat of a stored message needs no space.
    async fn repeat_of_a_message_in_a_full_inbox_is_acknowledged(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        let body = json!({ "target_username": "bob", "content": "first" });
        let first = alice.envelope("PrivateChat", body, Some("first")).to_string();
        alice.send_text(first.clone()).await;
        alice.answer("first").await;
        whisper_until_refused(&mut alice, "bob", "hello").await;
        let mut alice = cluster.connect(0, "alice").await;
        alice.send_text(first).await;
        let answer = alice.answer("first").await;
        assert_eq!(answer["message_body"]["duplicate"], json!(true), "{answer}");
    }

    /// The first message to a new name makes the store keep a log, which is much more than a short message.
    async fn messages_to_invented_names_cost_their_logs(kind) {
        const BURST: u32 = 400_000;
        let cluster = Cluster::start_with(kind, 1, |c| {
            c.limits.stored_bytes_per_second = Some(1);
            c.limits.stored_bytes_burst = BURST;
        })
        .await;
        let memory = || matches!(kind, Kind::Redis).then(|| used_memory(cluster.redis_server()));
        let mut mallory = cluster.connect(0, "mallory").await;
        mallory.whisper("nobody", "x").await;
        let before = memory();
        let mut stored = 0;
        loop {
            let body = json!({ "target_username": format!("nobody {stored}"), "content": "x" });
            let answer = mallory.ask("PrivateChat", body).await;
            if answer["message_type"] == "Error" {
                assert_eq!(error_of(&answer), (&json!("rate_limited"), &json!("refused")), "{answer}");
                break;
            }
            stored += 1;
            assert!(stored < 200, "mallory is never refused");
        }
        if let (Some(before), Some(after)) = (before, memory()) {
            let grown = after.saturating_sub(before);
            assert!(grown < u64::from(BURST) * 3 / 2, "{stored} messages took {grown} bytes");
        }
    }

    async fn fast_storer_is_refused_alone(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| {
            with_tokens(c);
            c.limits.stored_bytes_per_second = Some(1_000);
            c.limits.stored_bytes_burst = 20_000;
        })
        .await;
        let sign_in = async |name: &str| {
            let mut client = cluster.connect(0, name).await;
            client.token = Some(cluster.token(0, name).await);
            client.ok("Enter", json!({ "room": "lobby" })).await;
            client
        };
        let (mut mallory, mut second, mut bob) =
            (sign_in("mallory").await, sign_in("mallory").await, sign_in("bob").await);
        let mut stored = 0;
        let refused = loop {
            let answer = mallory.ask("GroupChat", json!({ "room": "lobby", "content": "x" })).await;
            if answer["message_type"] == "Error" {
                break answer;
            }
            stored += 1;
            assert!(stored < 1_000, "mallory is never refused");
        };
        assert!((15..60).contains(&stored), "{stored}");
        assert_eq!(error_of(&refused), (&json!("rate_limited"), &json!("refused")), "{refused}");
        let retry_after = refused["message_body"]["retry_after_ms"].as_u64().unwrap();
        assert!((1..=2_000).contains(&retry_after), "{refused}");
        // All connections of the user count together; others do not notice.
        second.refused("GroupChat", json!({ "content": "x" }), "rate_limited").await;
        bob.say("lobby", "hello").await;
        let body = json!({ "sender_username": "mallory", "content": "from the back end" });
        let (status, _) = cluster.call(0, "POST", "/rooms/lobby/messages", body).await;
        assert_eq!(status, 201);
        let mallory = tokio::sync::Mutex::new(mallory);
        until("mallory may store again", async || {
            let answer = mallory.lock().await.ask("GroupChat", json!({ "content": "later" })).await;
            answer["message_type"] == "Ack"
        })
        .await;
    }
}
