//! What the clients lose, repeat, hide and tell, while connections break and the store fails.

use std::time::Duration;

use serde_json::{Value, json};

use super::example::Example;
use super::support::api::with_api;
use super::support::backend::user_name;
use super::support::cluster::{Cluster, Kind, metric, until};
use super::support::fake_balancer::FakeBalancer;
use super::support::process::NodeProcess;
use super::support::redis_server::RedisServer;

/// The lines with this start, in order.
fn of<'a>(shown: &'a [String], start: &str) -> Vec<&'a str> {
    shown.iter().filter_map(|line| line.strip_prefix(start)).collect()
}

/// Connections break between messages, inside messages, and between a message and its answer.
async fn loses_and_repeats_nothing(start: impl AsyncFnOnce(&str) -> Example) {
    let cluster = Cluster::start_with(Kind::Embedded, 2, with_api).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0), cluster.address(1)]).await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    let mut alice = start(&format!("ws://{}/ws", balancer.address)).await;
    alice.say("said 1").await;
    alice.shows("what she said", |shown| shown.len() == 1).await;
    assert_eq!(bob.hears().await, "said 1");

    // The message is stored, but the answer is lost. The client repeats it with the same id, and it is stored once.
    balancer.mute();
    alice.say("said 2").await;
    assert_eq!(bob.hears().await, "said 2");
    balancer.prefer(cluster.address(1));
    balancer.cut();
    alice.shows("what she said again", |shown| shown.len() == 2).await;

    // Without a connection: messages of others come later, and her own are sent later.
    balancer.shut();
    for number in 1..=5 {
        bob.say("ops", &format!("missed {number}")).await;
        bob.whisper("alice", &format!("secret {number}")).await;
    }
    for number in 3..=5 {
        alice.say(&format!("said {number}")).await;
    }
    balancer.open();
    alice.shows("what she said", |shown| shown.contains(&"alice: said 5".to_owned())).await;

    // The connection breaks four times while messages are sent. Each time it moves to the other node.
    for round in 0..4 {
        for number in 1..=8 {
            alice.say(&format!("said {}", 5 + round * 8 + number)).await;
            bob.say("ops", &format!("busy {}", round * 8 + number)).await;
            if number == 4 {
                balancer.prefer(cluster.address(round % 2));
                balancer.cut();
            }
        }
        // Wait until she is connected again, so that the next cut hits a connection.
        let last = format!("alice: said {}", 13 + round * 8);
        alice.shows(&last, |shown| shown.contains(&last)).await;
    }
    let numbers =
        |word: &str, count| (1..=count).map(|number| format!("{word} {number}")).collect::<Vec<_>>();
    let all = 37 + 5 + 5 + 32;
    let shown = alice.shows("all of it", |shown| shown.len() >= all).await;
    assert_eq!(of(&shown, "alice: "), numbers("said", 37));
    // There are two logs, and each keeps its own order.
    let (secret, open): (Vec<&str>, _) =
        of(&shown, "bob: ").iter().partition(|said| said.starts_with("secret"));
    assert_eq!(open, [numbers("missed", 5), numbers("busy", 32)].concat());
    assert_eq!(secret, numbers("secret", 5));
    assert_eq!(shown.len(), all, "nothing else was shown: {shown:#?}");

    // Others received every message once.
    let mut heard = vec!["said 1".to_owned(), "said 2".to_owned()];
    while heard.len() < 37 {
        let message = bob.next("GroupChat").await;
        if message["sender_username"] == "alice" {
            heard.push(message["content"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(heard, numbers("said", 37));

    // A client that an administrator removes does not come back.
    assert_eq!(cluster.call(0, "POST", "/users/alice/disconnect", Value::Null).await.0, 204);
    alice.shows("the end", |shown| shown.last().unwrap().starts_with("-- closed: ")).await;
}

/// A refused message, a store that is away, and a store that comes back empty.
async fn hides_nothing(start: impl AsyncFnOnce(&str) -> Example) {
    let mut cluster = Cluster::start_with(Kind::Redis, 1, |_| ()).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0)]).await;
    let mut alice = start(&format!("ws://{}/ws", balancer.address)).await;
    alice.say(&"far too long ".repeat(2_000)).await;
    alice.say("before").await;
    let shown = alice.shows("what was refused, and the next", |shown| shown.len() == 2).await;
    assert!(shown[0].starts_with("-- ") && shown[1] == "alice: before", "{shown:?}");

    // Foreign data replaces the log of the room until an operator repairs it.
    cluster.redis().command(&["RENAME", "chat:{r:ops}:meta", "aside"]).unwrap();
    cluster.redis().command(&["SET", "chat:{r:ops}:meta", "x"]).unwrap();
    alice.say("patience").await;
    alice.shows("what is wrong", |shown| shown.iter().any(|line| line.contains("operator"))).await;
    cluster.redis().command(&["RENAME", "aside", "chat:{r:ops}:meta"]).unwrap();
    alice.shows("what waited", |shown| shown.last().unwrap() == "alice: patience").await;

    cluster.redis().kill();
    alice.say("meanwhile 1").await;
    alice.say("meanwhile 2").await;
    alice.shows("that the store is away", |shown| shown.iter().any(|line| line.contains("store"))).await;
    cluster.redis().restart();
    let shown = alice.shows("the rest", |shown| shown.iter().any(|line| line == "alice: meanwhile 2")).await;
    assert_eq!(of(&shown, "alice: "), ["before", "patience", "meanwhile 1", "meanwhile 2"]);
    assert!(shown.iter().any(|line| line == "-- messages may be missing here"), "{shown:?}");
    let mut bob = cluster.connect(0, "bob").await;
    bob.ok("Enter", json!({ "room": "ops", "history": 50 })).await;
    assert_eq!((bob.hears().await, bob.hears().await), ("meanwhile 1".into(), "meanwhile 2".into()));
    bob.heard_no("GroupChat").await;
}

/// The server learns from the client what was shown, and not from its library, which answers pings.
async fn receives_what_is_shown(start: impl AsyncFnOnce(&str) -> Example) {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let backend = cluster.backend().await;
    let cursor = async |user: &str| {
        backend.markers.cursor(&user_name(user)).await.unwrap().map(|position| position.seq)
    };
    let mut alice = start(&format!("ws://{}/ws", cluster.address(0))).await;
    alice.say("here").await;
    alice.shows("what she said", |shown| shown.len() == 1).await;
    let (mut bob, mut carol) = (cluster.connect(0, "bob").await, cluster.connect(0, "carol").await);
    carol.ok("Auth", json!({})).await;
    bob.whisper("alice", "psst").await;
    alice.shows("what bob said", |shown| shown.len() == 2).await;
    // Another user's pong counts, and is written together with all that count.
    bob.whisper("carol", "psst").await;
    carol.answers_a_ping().await;
    until("carol's cursor moves", async || cursor("carol").await == Some(1)).await;
    assert_eq!(cursor("alice").await, None);
    alice.say("any request").await;
    until("alice's cursor moves", async || cursor("alice").await == Some(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_javascript_receives_what_is_shown() {
    receives_what_is_shown(Example::javascript).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_python_receives_what_is_shown() {
    receives_what_is_shown(async |url: &str| Example::python(url)).await;
}

/// The store is away: each connection is refused with the same time to come back.
async fn comes_back_less_and_less_often(start: impl AsyncFnOnce(&str) -> Example) {
    let redis = RedisServer::start();
    // The metrics of a process are those of one node only if it has no other.
    let node = NodeProcess::start(&[("CHAT_REDIS__URL", &redis.url())]).await;
    let balancer = FakeBalancer::start(vec![node.address]).await;
    let mut alice = start(&format!("ws://{}/ws", balancer.address)).await;
    alice.say("before").await;
    alice.shows("that she is there", |shown| shown.len() == 1).await;
    let upgrades = async || metric(node.address, "chat_handshakes_total{result=\"ok\"}").await;
    let before = upgrades().await;
    redis.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap();
    balancer.cut();
    // The test is about a number in a time.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let tries = upgrades().await - before;
    assert!((1.0..=8.0).contains(&tries), "{tries} upgrades in 12 s");
    redis.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).unwrap();
    alice.say("after").await;
    let is_back = |shown: &[String]| shown.last().unwrap() == "alice: after";
    alice.shows("that she came back", is_back).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_javascript_comes_back_less_often() {
    comes_back_less_and_less_often(Example::javascript).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_python_comes_back_less_often() {
    comes_back_less_and_less_often(async |url: &str| Example::python(url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_rust_comes_back_less_often() {
    comes_back_less_and_less_often(async |url: &str| Example::rust(url)).await;
}

/// As in Node, where a refused upgrade is an `error` without a `close`; and as in libraries that report 1012 as 1002.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_javascript_returns_after_odd_ends() {
    let node = NodeProcess::start(&[]).await;
    let prelude = "const Real = WebSocket;
        const ends = [(s) => s.onerror({}), (s) => s.onclose({ code: 1002, reason: '' }),
            (s) => { s.onerror({}); s.onclose({ code: 1000, reason: '' }); }];
        window.WebSocket = function (url) {
            const end = ends.shift();
            if (!end) return new Real(url);
            setTimeout(() => end(this));
        };";
    let url = format!("ws://{}/ws", node.address);
    let mut alice = Example::javascript_after(prelude, &url).await;
    alice.say("still here").await;
    let shown = alice.shows("what she said", |shown| !shown.is_empty()).await;
    assert_eq!(shown, ["alice: still here"]);
    assert_eq!(metric(node.address, "chat_handshakes_total{result=\"ok\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_javascript_hides_nothing() {
    hides_nothing(Example::javascript).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_python_hides_nothing() {
    hides_nothing(async |url: &str| Example::python(url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_rust_hides_nothing() {
    hides_nothing(async |url: &str| Example::rust(url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_javascript_loses_and_repeats_nothing() {
    loses_and_repeats_nothing(Example::javascript).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_python_loses_and_repeats_nothing() {
    loses_and_repeats_nothing(async |url: &str| Example::python(url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_rust_loses_and_repeats_nothing() {
    loses_and_repeats_nothing(async |url: &str| Example::rust(url)).await;
}
