//! Faults of the store: it is killed, stalls, or is full, and returns. Connections stay open, the reported outcomes are correct,
//! and the node recovers without help.

use std::time::{Duration, Instant};

use chatnode::config::Config;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, get, until};
use crate::support::program::Program;
use crate::support::redis_server::RedisServer;

const LEASE: Duration = Duration::from_millis(1_500);

/// Short times for leases and checks.
fn quick(config: &mut Config) {
    config.node.heartbeat = Duration::from_millis(300);
    config.node.lease = LEASE;
    config.node.idle_check = Duration::from_millis(500);
}

async fn members(client: &mut Client) -> Value {
    client.ask("Members", json!({ "room": "ops" })).await["message_body"]["members"].take()
}

/// Repeats a publish until it is acknowledged; returns the body of the `Ack` and the outcomes of the failed attempts.
async fn publish_until_stored(client: &mut Client, room: &str, content: &str) -> (Value, Vec<String>) {
    let id = format!("{}-{content}", client.name());
    let body = json!({ "room": room, "content": content });
    let envelope = client.envelope("GroupChat", body, Some(&id)).to_string();
    let mut outcomes = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        assert!(Instant::now() < deadline, "never acknowledged: {outcomes:?}");
        client.send_text(envelope.clone()).await;
        let mut answer = client.answer(&id).await;
        if answer["message_type"] == "Ack" {
            return (answer["message_body"].take(), outcomes);
        }
        assert_eq!(answer["message_body"]["code"], "unavailable", "{answer}");
        outcomes.push(answer["message_body"]["outcome"].as_str().unwrap().to_owned());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn numbers(reply: &str) -> Vec<u64> {
    reply.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The clock of Redis, ms.
fn now(redis: &RedisServer) -> u64 {
    let now = numbers(&redis.command(&["TIME"]).unwrap());
    now[0] * 1_000 + now[1] / 1_000
}

/// Whether the leases of all nodes expired at least one heartbeat ago.
fn leases_expired(redis: &RedisServer) -> bool {
    let longest = redis.command(&["ZRANGE", "chat:leases", "-1", "-1", "WITHSCORES"]).unwrap();
    now(redis) > numbers(&longest).last().expect("a node has a lease") + 300
}

/// Whether all nodes have renewed their leases since this time.
fn leases_renewed(redis: &RedisServer, since: u64) -> bool {
    let shortest = redis.command(&["ZRANGE", "chat:leases", "0", "0", "WITHSCORES"]).unwrap();
    *numbers(&shortest).last().expect("a node has a lease") > since + LEASE.as_millis() as u64
}

/// Waits until every node is ready, or until none is.
async fn nodes_are_ready(cluster: &Cluster, is_ready: bool) {
    let status = if is_ready { 200 } else { 503 };
    for node in &cluster.nodes {
        until(&format!("/readyz answers {status}"), async || {
            get(node.operators, "/readyz").await.0 == status
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_store_gives_errors_until_it_returns() {
    let mut cluster = Cluster::start_on(RedisServer::start_durable(), 2, quick).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    let mut carol = cluster.enter(0, "carol", "ops").await;
    alice.say("ops", "before").await;
    cluster.redis().kill();
    for _ in 0..3 {
        let asked = Instant::now();
        let error = alice.refused("GroupChat", json!({ "content": "lost" }), "unavailable").await;
        assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());
        assert!(["refused", "unknown"].contains(&error["outcome"].as_str().unwrap()), "{error}");
        assert!(error["retry_after_ms"].is_u64(), "{error}");
    }
    alice.ok("Ping", json!({})).await;
    // A `Leave` takes effect at once, even if the store learns of it later.
    carol.ok("Leave", json!({})).await;
    for node in [0, 1] {
        let address = cluster.address(node);
        until("the node is not ready for balancers", async || get(address, "/readyz").await.0 == 503).await;
        assert_eq!(get(address, "/healthz").await.0, 200);
    }
    cluster.redis().restart();
    for node in [0, 1] {
        let address = cluster.address(node);
        until("the node is ready again", async || get(address, "/readyz").await.0 == 200).await;
    }
    let (ack, _) = publish_until_stored(&mut alice, "ops", "after").await;
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.hears().await, "before");
        let after = client.next("GroupChat").await;
        assert_eq!((&after["content"], &after["seq"]), (&json!("after"), &ack["seq"]));
        client.heard_no("Gap").await;
    }
    assert_eq!(ack["seq"], 2, "refused messages are not in the log");
    let bob = tokio::sync::Mutex::new(bob);
    until("presence is restored", async || members(&mut *bob.lock().await).await == json!(["alice", "bob"]))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_that_returns_empty_is_filled_again() {
    let mut cluster = Cluster::start_with(Kind::Redis, 2, quick).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    alice.say("ops", "lost").await;
    for client in [&mut alice, &mut bob] {
        client.hears_seqs(1..=1).await;
    }
    cluster.redis().restart();
    let (ack, _) = publish_until_stored(&mut alice, "ops", "new").await;
    assert_eq!(ack["seq"], 1);
    for client in [&mut alice, &mut bob] {
        let is_of_room =
            |frame: &Value| frame["message_type"] == "Gap" && frame["message_body"]["room"] == "ops";
        let gap = client.wait_for("the room's Gap", is_of_room).await;
        assert_eq!(gap["message_body"]["reason"], "epoch", "{gap}");
        let new = client.next("GroupChat").await;
        assert_eq!((&new["content"], &new["epoch"]), (&json!("new"), &ack["epoch"]));
    }
    let bob = tokio::sync::Mutex::new(bob);
    until("presence is restored", async || members(&mut *bob.lock().await).await == json!(["alice", "bob"]))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_started_before_its_store_becomes_ready_later() {
    let mut redis = RedisServer::start();
    redis.kill();
    let mut cluster = Cluster::start_on(redis, 0, |_| {}).await;
    let address = cluster.add_unready_node().await;
    until("the node is alive", async || get(address, "/healthz").await.0 == 200).await;
    assert_eq!(get(address, "/readyz").await.0, 503);
    let mut early = cluster.connect(0, "early").await;
    early.refused("Enter", json!({ "room": "ops" }), "unavailable").await;
    cluster.redis().restart();
    until("the node is ready", async || get(address, "/readyz").await.0 == 200).await;
    early.ok("Enter", json!({ "room": "ops" })).await;
    early.say("ops", "hello").await;
    assert_eq!(early.hears().await, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_store_refuses_publishes_until_memory_is_free() {
    let cluster = Cluster::start_with(Kind::Redis, 2, quick).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    let mut carol = cluster.enter(1, "carol", "elsewhere").await;
    alice.say("ops", "before").await;
    cluster.redis_server().command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let full_since = now(cluster.redis_server());
    for body in [json!({ "content": "refused" }), json!({ "content": "refused too" })] {
        let error = alice.refused("GroupChat", body, "unavailable").await;
        assert_eq!(error["outcome"], "refused", "{error}");
    }
    let error = alice
        .refused("PrivateChat", json!({ "target_username": "new", "content": "x" }), "unavailable")
        .await;
    assert_eq!(error["outcome"], "refused", "{error}");
    // Leases and members may go over the limit: the nodes stay ready, and presence stays right.
    until("all leases are renewed", async || leases_renewed(cluster.redis_server(), full_since)).await;
    nodes_are_ready(&cluster, true).await;
    assert_eq!(members(&mut alice).await, json!(["alice", "bob"]));
    carol.ok("Enter", json!({ "room": "ops" })).await;
    assert_eq!(members(&mut alice).await, json!(["alice", "bob", "carol"]));
    carol.ok("Leave", json!({ "room": "ops" })).await;
    let events = ["Enter", "Enter", "Enter", "Leave"];
    for (kind, name) in events.into_iter().zip(["alice", "bob", "carol", "carol"]) {
        assert_eq!(alice.next(kind).await["sender_username"], name);
    }
    cluster.redis_server().command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    let ack = alice.say("ops", "after").await;
    assert_eq!(ack["seq"], 2);
    for client in [&mut alice, &mut bob] {
        for content in ["before", "after"] {
            assert_eq!(client.hears().await, content);
        }
    }
    assert_eq!(bob.next("Leave").await["sender_username"], "carol");
    assert_eq!(members(&mut bob).await, json!(["alice", "bob"]));
    bob.heard_no("Leave").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_refuses_publishes_until_space_is_free() {
    let cluster = Cluster::start_on(RedisServer::start_written_each_second(), 2, quick).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    alice.say("ops", "before").await;
    cluster.redis_server().fill_disk();
    // Redis notices the full disk when it writes, shortly after it accepted a message.
    let mut stored = vec!["before".to_owned()];
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        assert!(Instant::now() < deadline, "the disk is not full");
        let content = format!("message {}", stored.len());
        let answer = alice.ask("GroupChat", json!({ "content": content })).await;
        if answer["message_type"] == "Error" {
            assert_eq!(answer["message_body"]["outcome"], "refused", "{answer}");
            break;
        }
        stored.push(content);
    }
    for body in [json!({ "content": "refused" }), json!({ "content": "refused too" })] {
        let error = alice.refused("GroupChat", body, "unavailable").await;
        assert_eq!(error["outcome"], "refused", "{error}");
        assert!(error["retry_after_ms"].is_u64(), "{error}");
    }
    let to_bob = json!({ "target_username": "bob", "content": "x" });
    let error = alice.refused("PrivateChat", to_bob, "unavailable").await;
    assert_eq!(error["outcome"], "refused", "{error}");
    // Reading still works.
    assert_eq!(
        alice.ok("History", json!({ "limit": 1 })).await["messages"].as_array().map(Vec::len),
        Some(1)
    );
    // Renewing a lease is refused, too: the nodes are not ready, and presence is unknown, but never empty.
    until("all leases have expired", async || leases_expired(cluster.redis_server())).await;
    nodes_are_ready(&cluster, false).await;
    for client in [&mut alice, &mut bob] {
        client.refused("Members", json!({ "room": "ops" }), "unavailable").await;
    }
    cluster.redis_server().free_disk();
    nodes_are_ready(&cluster, true).await;
    let (ack, outcomes) = publish_until_stored(&mut alice, "ops", "after").await;
    assert!(outcomes.iter().all(|outcome| outcome == "refused"), "{outcomes:?}");
    stored.push("after".to_owned());
    assert_eq!(ack["seq"], stored.len());
    for client in [&mut alice, &mut bob] {
        for content in &stored {
            assert_eq!(client.hears().await, *content);
        }
    }
    let bob = tokio::sync::Mutex::new(bob);
    until("all members are listed", async || {
        members(&mut *bob.lock().await).await == json!(["alice", "bob"])
    })
    .await;
    bob.into_inner().heard_no("Leave").await;
}

/// Redis answers everything else, so the list of the members would be empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_that_fails_makes_presence_unknown_and_never_empty() {
    let cluster = Cluster::start_with(Kind::Redis, 2, quick).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    assert_eq!(members(&mut alice).await, json!(["alice", "bob"]));
    // Only the renewal uses this command.
    cluster.redis_server().command(&["ACL", "SETUSER", "default", "-zscore"]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !leases_expired(cluster.redis_server()) {
        assert!(Instant::now() < deadline, "the leases do not expire");
        for client in [&mut alice, &mut bob] {
            let answer = client.ask("Members", json!({ "room": "ops" })).await;
            let is_unknown = answer["message_body"]["code"] == "unavailable";
            let list = &answer["message_body"]["members"];
            assert!(is_unknown || *list == json!(["alice", "bob"]), "{answer}");
        }
    }
    nodes_are_ready(&cluster, false).await;
    for client in [&mut alice, &mut bob] {
        client.refused("Members", json!({ "room": "ops" }), "unavailable").await;
    }
    alice.say("ops", "meanwhile").await;
    cluster.redis_server().command(&["ACL", "SETUSER", "default", "+zscore"]).unwrap();
    nodes_are_ready(&cluster, true).await;
    for client in [&mut alice, &mut bob] {
        let client = tokio::sync::Mutex::new(client);
        until("all members are listed", async || {
            let list = members(&mut **client.lock().await).await;
            assert!(list.is_null() || list == json!(["alice", "bob"]), "{list}");
            !list.is_null()
        })
        .await;
        client.into_inner().heard_no("Leave").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeat_after_a_stall_is_stored_once() {
    let cluster = Cluster::start_with(Kind::Redis, 2, |_| {}).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    alice.say("ops", "before").await;
    cluster.redis_server().stop();
    let talking = tokio::spawn(async move {
        let stored = publish_until_stored(&mut alice, "ops", "stalled").await;
        (alice, stored)
    });
    // The stall has to be longer than the timeout for Redis, so that the outcome is unknown.
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.redis_server().cont();
    let (mut alice, (ack, outcomes)) = talking.await.unwrap();
    assert_eq!(outcomes.first().map(String::as_str), Some("unknown"), "{outcomes:?}");
    assert_eq!(ack["seq"], 2);
    alice.say("ops", "after").await;
    for client in [&mut alice, &mut bob] {
        for content in ["before", "stalled", "after"] {
            assert_eq!(client.hears().await, content);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeat_after_a_lost_answer_is_a_duplicate() {
    let mut cluster = Cluster::start_with(Kind::Redis, 1, |config| {
        config.redis.timeout = Duration::from_millis(500);
    })
    .await;
    let proxy = cluster.put_proxy().await;
    cluster.add_node().await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let mut alice = cluster.enter(1, "alice", "ops").await;
    proxy.lose_the_answer_to("only once");
    let (ack, outcomes) = publish_until_stored(&mut alice, "ops", "only once").await;
    assert_eq!(outcomes.first().map(String::as_str), Some("unknown"), "{outcomes:?}");
    assert_eq!((&ack["duplicate"], &ack["seq"]), (&json!(true), &json!(1)), "{ack}");
    alice.say("ops", "after").await;
    for client in [&mut alice, &mut bob] {
        for content in ["only once", "after"] {
            assert_eq!(client.hears().await, content);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeat_at_another_node_after_a_kill_is_a_duplicate() {
    let mut cluster = Cluster::start(Kind::Redis, 1).await;
    let proxy = cluster.put_proxy().await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let requests = [
        ("GroupChat", json!({ "room": "ops", "content": "to all, once" })),
        ("PrivateChat", json!({ "target_username": "bob", "content": "to bob, once" })),
    ];
    for (kind, body) in requests {
        // A long timeout, so that the node reports no unknown outcome before it is killed.
        let environment = [("CHAT_REDIS__URL", proxy.url()), ("CHAT_REDIS__TIMEOUT", "4s".into())];
        let mut doomed = Program::start(&environment.each_ref().map(|(name, value)| (*name, value.as_str())));
        until("the node is ready", async || get(doomed.address, "/readyz").await.0 == 200).await;
        let mut alice = Client::enter(doomed.address, "alice", "ops").await;
        proxy.lose_the_answer_to(body["content"].as_str().unwrap());
        let id = alice.send(kind, body.clone()).await;
        // The message is in the log, but the node that sent it there does not know.
        let first = bob.next(kind).await;
        doomed.kill();
        assert_eq!(alice.closed().await.0, 1006);
        assert!(alice.seen().iter().all(|frame| frame["id"] != id), "{:?}", alice.seen());

        let mut alice = cluster.enter(0, "alice", "ops").await;
        let envelope = alice.envelope(kind, body, Some(&id));
        alice.send_text(envelope.to_string()).await;
        let ack = alice.answer(&id).await["message_body"].take();
        let of_first = (&json!(true), &first["message_id"], &first["sent_at"]);
        assert_eq!((&ack["duplicate"], &ack["message_id"], &ack["sent_at"]), of_first, "{ack}");
        bob.heard_no(kind).await;
        alice.leave().await;
    }
}
