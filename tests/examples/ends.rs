//! How connections end: a refused one, a restart, a killed node, a full node, an expired token. Each client comes back when it
//! helps, and loses and repeats nothing.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;

use super::example::Example;
use super::support::api::with_tokens;
use super::support::client::Client;
use super::support::cluster::{Cluster, Kind, until};
use super::support::fake_balancer::FakeBalancer;

async fn comes_back_after_every_end(start: impl AsyncFnOnce(&str) -> Example) {
    let mut cluster = Cluster::start_with(Kind::Embedded, 4, |config| config.max_connections = 1).await;
    let nodes: Vec<_> = (0..4).map(|node| cluster.address(node)).collect();
    let full = nodes[3];
    let bob = Client::enter(full, "bob", "ops").await;
    let balancer = FakeBalancer::start(nodes.clone()).await;
    let address = balancer.address;
    let mut alice = start(&format!("ws://{address}/ws")).await;
    let says = async |alice: &mut Example, number: usize| {
        alice.say(&format!("said {number}")).await;
        alice.shows("what she said", |shown| shown.len() == number).await;
    };
    says(&mut alice, 1).await;

    // Nothing listens.
    drop(balancer);
    until("nothing listens", async || TcpStream::connect(address).await.is_err()).await;
    // The first pauses are shorter than 1 s and 2 s: at least one attempt fails in this time.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let balancer = FakeBalancer::start_at(address, nodes).await;
    says(&mut alice, 2).await;

    // A full node, until a seat is free.
    balancer.prefer(full);
    let before = balancer.forwarded();
    balancer.cut();
    until("she was refused", async || balancer.forwarded() > before).await;
    alice.say("said 3").await;
    drop(bob);
    alice.shows("what she said", |shown| shown.len() == 3).await;

    // A restart.
    cluster.nodes[3].stop().await;
    says(&mut alice, 4).await;

    // The end of a process.
    drop(cluster.nodes.remove(0));
    balancer.cut();
    says(&mut alice, 5).await;
    let shown = alice.shown().await;
    assert_eq!(shown, [1, 2, 3, 4, 5].map(|number| format!("alice: said {number}")));
}

async fn stops_when_the_token_expires(start: impl AsyncFnOnce(&str) -> Example) {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_tokens).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0)]).await;
    let request = json!({ "username": "alice", "ttl_seconds": 8 });
    let (status, issued) = cluster.call(0, "POST", "/tokens", request).await;
    assert_eq!(status, 201, "{issued}");
    balancer.authorize(issued["token"].as_str().unwrap());
    let mut alice = start(&format!("ws://{}/ws", balancer.address)).await;
    alice.say("before").await;
    let shown = alice
        .shows("the end", |shown| shown.last().is_some_and(|line| line.starts_with("-- closed: ")))
        .await;
    assert_eq!((shown.len(), shown[0].as_str()), (2, "alice: before"), "{shown:?}");
    // A client that came back would be refused, and would try again.
    let before = balancer.forwarded();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(balancer.forwarded(), before);
}

/// A token that is not valid, then one that is about to end, one that is taken back, and a last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_javascript_renews_its_token() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_tokens).await;
    let issue = async |seconds: u64| {
        let request = json!({ "username": "alice", "ttl_seconds": seconds });
        let (status, issued) = cluster.call(0, "POST", "/tokens", request).await;
        assert_eq!(status, 201, "{issued}");
        issued["token"].as_str().unwrap().to_owned()
    };
    let (ending, next, last) = (issue(64).await, issue(600).await, issue(600).await);
    let header = [("authorization", format!("Bearer {ending}"))];
    let mut other_device = Client::connect_with(cluster.address(0), "alice", &header).await.unwrap();
    other_device.ok("Auth", json!({})).await;
    let tokens = ["0193a1c2-7d3e-4c51-9a53-2f1f0f6a9b10", &ending, &next, &last];
    let mut alice = Example::node_with_tokens(&format!("ws://{}/ws", cluster.address(0)), &tokens);
    let says = async |alice: &mut Example, text: &str| {
        alice.say(text).await;
        let shown = format!("alice: {text}");
        alice.shows("what she said", |lines| lines.last() == Some(&shown)).await;
    };
    let asked = |left: usize| format!("-- asked for a token of {left}");
    says(&mut alice, "before").await;
    // Four seconds later, a minute before its end.
    alice.shows("that the token was renewed", |lines| lines.contains(&asked(2))).await;
    // The node handles the requests of a connection in order, so by now it has the new token.
    says(&mut alice, "between").await;
    cluster.revoke(0, &ending).await;
    assert_eq!(other_device.closed().await.0, 4001);
    says(&mut alice, "after").await;
    let shown = alice.shown().await;
    assert!(!shown.contains(&asked(1)), "{shown:?}");
    cluster.revoke(0, &next).await;
    alice.shows("that she comes back", |lines| lines.contains(&asked(1))).await;
    says(&mut alice, "again").await;
    cluster.revoke(0, &last).await;
    let shown = alice.shows("the end", |lines| lines.last().unwrap() == "-- signed out").await;
    assert_eq!(shown.iter().filter(|line| line.contains("asked for")).count(), 5, "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_javascript_comes_back_in_chromium() {
    comes_back_after_every_end(Example::javascript).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_javascript_comes_back_in_node() {
    comes_back_after_every_end(async |url: &str| Example::node("built-in", url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_javascript_comes_back_with_ws() {
    comes_back_after_every_end(async |url: &str| Example::node("ws", url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_javascript_comes_back_with_websocket() {
    comes_back_after_every_end(async |url: &str| Example::node("websocket", url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_javascript_comes_back_with_faye() {
    comes_back_after_every_end(async |url: &str| Example::node("faye-websocket", url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_python_comes_back() {
    comes_back_after_every_end(async |url: &str| Example::python(url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_rust_comes_back() {
    comes_back_after_every_end(async |url: &str| Example::rust(url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_javascript_stops_when_the_token_expires() {
    stops_when_the_token_expires(Example::javascript).await;
    for library in ["built-in", "ws", "websocket", "faye-websocket"] {
        stops_when_the_token_expires(async |url: &str| Example::node(library, url)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_python_stops_when_the_token_expires() {
    stops_when_the_token_expires(async |url: &str| Example::python(url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_rust_stops_when_the_token_expires() {
    stops_when_the_token_expires(async |url: &str| Example::rust(url)).await;
}
