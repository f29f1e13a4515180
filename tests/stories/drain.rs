//! Draining: running requests are finished, clients get a time to reconnect, and nothing is lost.

use std::time::{Duration, Instant};

use chatnode::config::Config;
use serde_json::json;

use crate::support::client::{Client, position};
use crate::support::cluster::{Cluster, Kind, get, until};
use crate::support::process::NodeProcess;
use crate::support::raw::RawSocket;
use crate::support::redis_server::RedisServer;

/// Whether this is the close frame of a drain: its code, and a time to reconnect.
fn is_restart((code, reason): &(u16, String)) -> bool {
    *code == 4012 && reason.strip_prefix("retry_after_ms=").is_some_and(|ms| ms.parse::<u64>().is_ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_node_closes_its_clients_and_exits_with_0() {
    let redis = RedisServer::start();
    let url = redis.url();
    let mut node = NodeProcess::start(&[
        ("CHAT_REDIS__URL", &url),
        ("CHAT_DRAIN__DELAY", "1s"),
        ("CHAT_DRAIN__SPREAD", "100ms"),
    ])
    .await;
    let mut alice = Client::enter(node.address, "alice", "ops").await;
    node.terminate();
    until("the node is not ready for balancers", async || get(node.address, "/readyz").await.0 == 503).await;
    assert_eq!(get(node.address, "/healthz").await.0, 200);
    alice.say("ops", "still served").await;
    let closed = alice.closed().await;
    assert!(is_restart(&closed), "{closed:?}");
    assert_eq!(node.ended().await.code(), Some(0));
    assert_eq!(redis.command(&["ZCARD", "chat:leases"]).unwrap(), "0", "the lease is released");
    assert_eq!(redis.command(&["ZCARD", "chat:{r:ops}:m"]).unwrap(), "0", "no member is left in the store");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_node_drains_on_termination() {
    let mut node = NodeProcess::start(&[("CHAT_DRAIN__SPREAD", "100ms")]).await;
    let mut alice = Client::enter(node.address, "alice", "ops").await;
    node.terminate();
    let closed = alice.closed().await;
    assert!(is_restart(&closed), "{closed:?}");
    assert_eq!(node.ended().await.code(), Some(0));
}

/// With the default settings: one browser tab is closed at once, and the node stops then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_of_few_clients_is_short() {
    let mut node = NodeProcess::start(&[]).await;
    let mut alice = Client::enter(node.address, "alice", "ops").await;
    let asked = Instant::now();
    node.terminate();
    let closed = alice.closed().await;
    assert!(is_restart(&closed), "{closed:?}");
    assert_eq!(node.ended().await.code(), Some(0));
    assert!(asked.elapsed() < Config::default().drain.spread, "{:?}", asked.elapsed());
}

/// The client had sent half of its upgrade request when the node closed the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_connects_during_a_drain_gets_4012() {
    let mut node = NodeProcess::start(&[("CHAT_SERVER__ALLOWED_HOSTS", "chat.example.com")]).await;
    let mut alice = Client::enter(node.address, "alice", "ops").await;
    // This client reads nothing, so the node waits for it until its deadline.
    let mut idle = RawSocket::connect(node.address).await;
    idle.upgrade().await;
    let mut late = RawSocket::connect(node.address).await;
    let request = RawSocket::upgrade_request("");
    let (first, rest) = request.split_at(request.len() / 2);
    late.send(first.as_bytes()).await;
    // The node reads that half before it reads this later request.
    alice.ok("Ping", json!({})).await;
    node.terminate();
    let closed = alice.closed().await;
    assert!(is_restart(&closed), "{closed:?}");
    late.send(rest.as_bytes()).await;
    assert_eq!(late.head().await.status, 101);
    let closed = late.closed().await.expect("a close frame with a reason");
    assert!(is_restart(&closed), "{closed:?}");
    drop((idle, late));
    assert_eq!(node.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_signal_exits_at_once() {
    let redis = RedisServer::start();
    let url = redis.url();
    let mut node = NodeProcess::start(&[("CHAT_REDIS__URL", &url), ("CHAT_DRAIN__DELAY", "20s")]).await;
    node.terminate();
    until("the node drains", async || get(node.address, "/readyz").await.0 == 503).await;
    node.terminate();
    assert_eq!(node.ended().await.code(), Some(128 + 15));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_publish_is_acknowledged_before_the_close() {
    let patient = |config: &mut Config| {
        config.redis.timeout = Duration::from_secs(10);
        config.limits.request_timeout = Duration::from_secs(15);
    };
    let mut cluster = Cluster::start_with(Kind::Redis, 1, patient).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    cluster.redis().command(&["CLIENT", "PAUSE", "60000", "WRITE"]).unwrap();
    let content = "x".repeat(10_000);
    let id = alice.send("GroupChat", json!({ "content": content })).await;
    let redis = cluster.redis_server();
    until("the publish waits in Redis", async || holds_request_of(redis, content.len())).await;
    cluster.nodes[0].drain();
    let address = cluster.address(0);
    until("the node accepts no connection", async || get(address, "/healthz").await.0 != 200).await;
    redis.command(&["CLIENT", "UNPAUSE"]).unwrap();
    let answer = alice.answer(&id).await;
    assert_eq!(answer["message_type"], "Ack", "{answer}");
    let closed = alice.closed().await;
    assert!(is_restart(&closed), "{closed:?}");
    cluster.nodes[0].stop().await;
}

/// Whether Redis holds a request of this size that it has not executed.
fn holds_request_of(redis: &RedisServer, bytes: usize) -> bool {
    let list = redis.command(&["CLIENT", "LIST"]).unwrap();
    let field = |line: &str, name: &str| -> usize {
        let value = line.split(' ').find_map(|word| word.strip_prefix(name));
        value.map_or(0, |value| value.parse().unwrap())
    };
    list.lines().any(|line| field(line, "qbuf=") + field(line, "argv-mem=") >= bytes)
}

on_each_store! {
    async fn clients_of_a_drained_node_resume_at_another_without_loss(kind) {
        const MESSAGES: usize = 300;
        let mut cluster = Cluster::start(kind, 2).await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        let mut alice = cluster.enter(1, "alice", "ops").await;
        let talking = tokio::spawn(async move {
            for i in 0..MESSAGES {
                alice.say("ops", &i.to_string()).await;
            }
            alice
        });
        let mut last = bob.next("GroupChat").await;
        assert_eq!(last["content"], "0");
        cluster.nodes[0].drain();
        let closed = bob.closed().await;
        assert!(is_restart(&closed), "{closed:?}");
        let mut heard = 1;
        while bob.seen().iter().any(|frame| frame["message_type"] == "GroupChat") {
            last = bob.next("GroupChat").await;
            assert_eq!(last["content"], heard.to_string());
            heard += 1;
        }
        cluster.nodes[0].stop().await;
        let mut bob = cluster.connect(1, "bob").await;
        let ack = bob.ok("Enter", json!({ "room": "ops", "since": position(&last) })).await;
        assert_eq!(ack["recovered"], true, "{ack}");
        for i in heard..MESSAGES {
            assert_eq!(bob.hears().await, i.to_string());
        }
        talking.await.unwrap();
    }
}
