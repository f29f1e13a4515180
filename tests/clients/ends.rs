//! How connections end, and how a node refuses one: what each library tells, against the table in `docs/clients.md`.

use serde_json::json;

use super::driver::{Driver, End, words};
use super::library::with_each;
use super::table::Row;
use crate::support::api::{self, KEY, with_tokens};
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, get, until};
use crate::support::fake_balancer::FakeBalancer;
use crate::support::process::NodeProcess;

/// A node, and another one that a client comes back to.
async fn two_nodes(settings: &[(&str, &str)]) -> (NodeProcess, NodeProcess) {
    (NodeProcess::start(settings).await, NodeProcess::start(settings).await)
}

/// The client opens a connection to another node, and uses it. Returns what was told of the last one meanwhile.
async fn comes_back(alice: &mut Driver, node: &NodeProcess) -> Vec<End> {
    let more = alice.open(node.address).await;
    alice.ok("Enter", json!({ "room": "ops" })).await;
    more
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_tells_4012_and_the_time_at_a_drain() {
    with_each(|library| async move {
        let settings = [("CHAT_DRAIN__DELAY", "0s"), ("CHAT_DRAIN__SPREAD", "0s")];
        let (node, other) = two_nodes(&settings).await;
        let mut alice = Driver::start(library);
        alice.enter(node.address).await;
        node.terminate();
        let mut ends = vec![alice.ended().await];
        ends.extend(comes_back(&mut alice, &other).await);
        for end in &ends {
            if let End::Closed(Some(code), reason) = end {
                let time = reason.strip_prefix("retry_after_ms=").map(str::parse::<u64>);
                assert!(*code == 4012 && matches!(time, Some(Ok(_))), "{}: {end:?}", library.name);
            }
        }
        Row::of(library).says("drain", &words(&ends));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_tells_the_end_of_a_killed_node() {
    with_each(|library| async move {
        let (mut node, other) = two_nodes(&[]).await;
        let mut alice = Driver::start(library);
        alice.enter(node.address).await;
        node.kill();
        let mut ends = vec![alice.ended().await];
        ends.extend(comes_back(&mut alice, &other).await);
        Row::of(library).says("kill", &words(&ends));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_tells_that_a_node_is_full() {
    with_each(|library| async move {
        let node = NodeProcess::start(&[("CHAT_MAX_CONNECTIONS", "1")]).await;
        let bob = Client::enter(node.address, "bob", "ops").await;
        let mut alice = Driver::start(library);
        let mut ends = vec![alice.try_open(node.address).await.expect_err("the node has no seat")];
        // Wait until the seat is free, without a try that would be told too.
        drop(bob);
        until("the seat is free", async || {
            let metrics = get(node.address, "/metrics").await.1;
            metrics.lines().any(|line| line == "chat_connections 0")
        })
        .await;
        ends.extend(comes_back(&mut alice, &node).await);
        Row::of(library).says("full", &words(&ends));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_tells_that_its_token_is_not_valid() {
    let open = Cluster::start(Kind::Embedded, 1).await;
    let lenient = open.address(0);
    with_each(|library| async move {
        // One for each: a node refuses an address with many failed tokens.
        let tokens = Cluster::start_with(Kind::Embedded, 1, with_tokens).await;
        // It adds the token to the upgrade, which not every library can.
        let balancer = FakeBalancer::start(vec![tokens.address(0)]).await;
        balancer.authorize("0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10");
        let mut alice = Driver::start(library);
        let mut ends = vec![alice.try_open(balancer.address).await.expect_err("the token is not valid")];
        ends.extend(alice.open(lenient).await);
        Row::of(library).says("401", &words(&ends));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_tells_4001_when_the_token_expires() {
    with_each(|library| async move {
        let node = NodeProcess::start(&[("CHAT_AUTH__ENABLED", "true"), ("CHAT_AUTH__ADMIN_KEY", KEY)]).await;
        let body = json!({ "username": "alice", "ttl_seconds": 5 });
        let mut alice = Driver::start(library);
        alice.open(node.address).await;
        let (status, issued) = api::call(node.address, "POST", "/tokens", body).await;
        assert_eq!(status, 201, "{issued}");
        alice.token = Some(issued["token"].as_str().unwrap().to_owned());
        alice.ok("Enter", json!({ "room": "ops" })).await;
        let mut ends = vec![alice.ended().await];
        ends.extend(alice.open(node.address).await);
        // As at a drain, with the other code.
        Row::of(library).says("drain", &words(&ends).replace("4001", "4012"));
        let answer = alice.ask("Enter", json!({ "room": "ops" })).await;
        assert_eq!(answer["message_body"]["code"], "unauthorized", "{}: {answer}", library.name);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_tells_that_nothing_listens() {
    with_each(|library| async move {
        let (mut node, other) = two_nodes(&[]).await;
        node.kill();
        let mut alice = Driver::start(library);
        let mut ends = vec![alice.try_open(node.address).await.expect_err("the node is gone")];
        ends.extend(comes_back(&mut alice, &other).await);
        // Whatever it is, it is none of the codes after which a client stays away.
        assert!(
            ends.iter().all(|end| !matches!(end, End::Closed(Some(1003 | 1007..=1009 | 4001 | 4003), _))),
            "{}",
            library.name
        );
    })
    .await;
}
