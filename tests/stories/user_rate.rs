//! How fast one user may store, over all connections and nodes: who sends too much is refused alone, and nobody else pays for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chatnode::config::{Config, Limits};
use serde_json::{Value, json};

use crate::support::api::with_tokens;
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, metric};
use crate::support::redis_server::RedisServer;

const UNANSWERED: &str = "chat_user_rate_unanswered_total";

fn strict(config: &mut Config) {
    config.limits.user_messages_per_second = Some(1);
    config.limits.user_burst = Some(40);
}

/// Signs a user in, and enters a room.
async fn enter(cluster: &Cluster, node: usize, token: &str, name: &str) -> Client {
    let mut client = cluster.connect(node, name).await;
    client.token = Some(token.to_owned());
    client.ok("Enter", json!({ "room": "ops" })).await;
    client
}

fn assert_over_the_rate(error: &Value) {
    assert_eq!((&error["code"], &error["outcome"]), (&json!("rate_limited"), &json!("refused")), "{error}");
    assert!(error["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0), "{error}");
    assert!(error["message"].as_str().unwrap().contains("all your connections"), "{error}");
}

/// Sends many messages over all connections at once. Returns how many were stored.
async fn hammer(connections: &mut [Client], each: usize) -> usize {
    let mut sent = Vec::new();
    for number in 0..each {
        for client in &mut *connections {
            sent.push(
                client.send("GroupChat", json!({ "room": "ops", "content": number.to_string() })).await,
            );
        }
    }
    let (count, mut stored) = (connections.len(), 0);
    for (at, id) in sent.iter().enumerate() {
        let answer = connections[at % count].answer(id).await;
        if answer["message_type"] == "Ack" {
            stored += 1;
        } else {
            assert_over_the_rate(&answer["message_body"]);
        }
    }
    stored
}

on_each_store! {
    async fn user_has_one_rate_over_all_connections_and_nodes(kind) {
        let cluster = Cluster::start_with(kind, 2, |c| {
            with_tokens(c);
            strict(c);
        })
        .await;
        let [of_alice, of_bob] = [cluster.token(0, "alice").await, cluster.token(0, "bob").await];
        let mut bob = enter(&cluster, 0, &of_bob, "bob").await;
        let mut connections = Vec::new();
        for node in [0, 1, 0, 1] {
            connections.push(enter(&cluster, node, &of_alice, "alice").await);
        }
        let unanswered = metric(cluster.address(0), UNANSWERED).await;
        let started = Instant::now();
        let stored = hammer(&mut connections, 50).await;
        // The free share of each node is a twentieth of the burst: two requests.
        let most = 40 + 2 * 2 + started.elapsed().as_secs() as usize + 1;
        assert!(stored >= 40, "{stored}");
        let passes = metric(cluster.address(0), UNANSWERED).await > unanswered;
        assert!(passes || stored <= most, "{stored} of at most {most}");
        // Whatever stores something counts, and nothing else does.
        let alice = &mut connections[0];
        let message = bob.say("ops", "hello").await["message_id"].clone();
        let react = json!({ "room": "ops", "message_id": message, "reaction": "+", "on": true });
        for (request, body) in [
            ("React", react),
            ("Retract", json!({ "room": "ops", "message_id": message })),
            ("Edit", json!({ "room": "ops", "message_id": message, "content": "x" })),
            ("PrivateChat", json!({ "target_username": "bob", "content": "psst" })),
            ("Room", json!({ "room": "mine", "kind": "private" })),
        ] {
            // Some of these are allowed on a machine where they take a second, or where the store takes long to answer.
            let answer = alice.ask(request, body).await;
            let error = &answer["message_body"];
            let is_late = passes || started.elapsed() > Duration::from_secs(1);
            assert!(is_late || error["code"] == "rate_limited", "{request}: {answer}");
        }
        alice.ok("History", json!({ "room": "ops" })).await;
        alice.ok("Typing", json!({ "room": "ops" })).await;
        // After the time that the answer names, a message passes.
        let said = json!({ "room": "ops", "content": "later" });
        while let Some(wait) = alice.ask("GroupChat", said.clone()).await["message_body"]["retry_after_ms"].as_u64() {
            // For what is missing, and what both nodes let pass without asking.
            assert!(wait <= 6_000, "{wait}");
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        // The server API has no such limit.
        let body = json!({ "sender_username": "alice", "content": "from the back end" });
        for _ in 0..60 {
            assert_eq!(cluster.call(0, "POST", "/rooms/ops/messages", body.clone()).await.0, 201);
        }
    }

    async fn address_has_one_rate_without_authentication(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| {
            strict(c);
            c.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        })
        .await;
        let connect = async |address: &str, name: &str| {
            let forwarded = [("x-forwarded-for", address.to_owned())];
            let mut client = Client::connect_with(cluster.address(0), name, &forwarded).await.unwrap();
            client.ok("Enter", json!({ "room": "ops" })).await;
            client
        };
        let mut same = vec![connect("2001:db8::1", "mallory").await, connect("2001:db8::2", "mallory 2").await];
        let mut other = connect("2001:db8:0:1::1", "alice").await;
        let unanswered = metric(cluster.address(0), UNANSWERED).await;
        let started = Instant::now();
        let stored = hammer(&mut same, 50).await;
        let most = 40 + 2 + started.elapsed().as_secs() as usize + 1;
        assert!(stored >= 40, "{stored}");
        // On a machine where the store takes longer than the limit waits, it passes.
        let passes = metric(cluster.address(0), UNANSWERED).await > unanswered;
        assert!(passes || stored <= most, "{stored} of at most {most}");
        other.say("ops", "hello").await;
    }
}

/// How often Redis has run each command for clients.
fn calls(redis: &RedisServer) -> BTreeMap<String, u64> {
    let statistics = redis.command(&["INFO", "commandstats"]).unwrap();
    let of_line = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    statistics.lines().filter_map(of_line).collect()
}

/// With the default limits, a message costs Redis the same as without any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_of_an_ordinary_user_costs_redis_nothing() {
    let mut costs = Vec::new();
    for per_second in [None, Some(0)] {
        let cluster = Cluster::start_with(Kind::Redis, 1, |c| {
            c.limits = Limits { user_messages_per_second: per_second, ..Limits::default() };
            // Renewing the lease is a script too.
            (c.node.lease, c.node.heartbeat) = (Duration::from_secs(600), Duration::from_secs(300));
        })
        .await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        alice.say("ops", "the first one opens a dedupe window").await;
        let redis = cluster.redis_server();
        redis.command(&["CONFIG", "RESETSTAT"]).unwrap();
        for number in 0..15 {
            alice.say("ops", &number.to_string()).await;
        }
        let mut calls = calls(redis);
        // The others are of the background too: of probes, leases and the common time.
        calls.retain(|name, _| ["evalsha", "eval", "get", "set", "xadd", "publish"].contains(&name.as_str()));
        let scripts = calls.remove("evalsha").unwrap();
        assert!((15..=17).contains(&scripts), "{scripts} calls for 15 messages");
        calls.remove("publish");
        costs.push(calls);
        assert_eq!(redis.command(&["EXISTS", "chat:{a:127.0.0.1}:rate"]).unwrap(), "0");
    }
    assert_eq!(costs[0], costs[1]);
    assert_eq!(costs[0], BTreeMap::from([("xadd".to_owned(), 15)]));
}

/// Data that no node wrote stands for a store that can't answer: a Redis that is away stores no message either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_passes_if_the_store_does_not_answer() {
    let cluster = Cluster::start_with(Kind::Redis, 1, strict).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let redis = cluster.redis_server();
    redis.command(&["HSET", "chat:{a:127.0.0.1}:rate", "not", "ours"]).unwrap();
    let before = metric(cluster.address(0), UNANSWERED).await;
    alice.say_many("ops", "x", 200).await;
    assert!(metric(cluster.address(0), UNANSWERED).await > before);
    // A value that is no number counts as nothing.
    redis.command(&["SET", "chat:{a:127.0.0.1}:rate", "nan"]).unwrap();
    // The node asks again after a second. Time alone ends this; there is no event to wait for.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let unanswered = metric(cluster.address(0), UNANSWERED).await;
    let stored = hammer(std::slice::from_mut(&mut alice), 100).await;
    // On a machine where the store takes longer than the limit waits, more pass.
    let passes = metric(cluster.address(0), UNANSWERED).await > unanswered;
    assert!(stored >= 38 && (passes || stored <= 50), "{stored}");
}

/// The time in Redis is what the nodes agree on, and it ends by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rate_in_redis_expires_when_all_is_paid_for() {
    let cluster = Cluster::start_with(Kind::Redis, 1, strict).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    // The store may answer too late, on a busy machine.
    while hammer(std::slice::from_mut(&mut alice), 60).await == 60 {}
    let left: u64 =
        cluster.redis_server().command(&["PTTL", "chat:{a:127.0.0.1}:rate"]).unwrap().trim().parse().unwrap();
    assert!((30_000..=82_000).contains(&left), "{left} ms");
}
