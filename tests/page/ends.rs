//! How connections end and are refused: a full node, too many connections, nothing that listens, an expired token. The page
//! says so in plain words, comes back by itself, and loses and repeats nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use super::page_fixture::PageFixture;
use super::person::{ENTER, PATIENCE, Person};
use crate::support::api::with_tokens;
use crate::support::client::Client;
use crate::support::cluster::{Kind, until};
use crate::support::fake_balancer::FakeBalancer;
use crate::support::raw::RawSocket;

const WAITING: &str = "document.querySelectorAll('.line.waiting').length";
const STORED: &str = "document.querySelectorAll('.line.stored.mine').length";

/// Each wait of the page has its minimum length, so that the time of the server decides.
async fn waits_shortly(person: &Person<'_>) {
    person.js("(Math.random = () => 0, 0)").await;
}

/// Writes a message while the page is not connected.
async fn says_later(person: &Person<'_>, text: &str) {
    person.says(text).await;
    person.sees("the message waits", &format!("{WAITING} === 1")).await;
}

/// A client that takes the seat of a node as soon as it is free.
async fn takes_the_seat(node: SocketAddr) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(mut client) = Client::connect_with(node, "bob", &[]).await {
            client.ok("Enter", json!({ "room": "ops" })).await;
            return client;
        }
        assert!(Instant::now() < deadline, "the seat is never free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_waits_for_a_seat_of_a_full_node() {
    let fixture = PageFixture::start_with(Kind::Embedded, |config| {
        with_tokens(config);
        config.auth.enabled = false;
        config.max_connections = 1;
    });
    let fixture = fixture.await;
    let node = fixture.cluster.address(0);
    fixture.balancer.prefer(node);
    let mut carol = fixture.other(1, "carol", "ops").await;
    let bob = fixture.other(0, "bob", "ops").await;

    // While the user signs in.
    let alice = Person::visits(&fixture.browser, &fixture.link("room=ops")).await;
    waits_shortly(&alice).await;
    alice.clicks("#token-show").await;
    alice.types("#token", &format!("0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10{ENTER}")).await;
    alice.reads("#problem", "The server is full.").await;
    alice.types("#name", &format!("alice{ENTER}")).await;
    alice.reads("#banner-text", "The server is full. Trying again in").await;
    alice.reads("#live", "The server is full.").await;
    says_later(&alice, "from the queue").await;
    drop(bob);
    assert_eq!(carol.hears().await, "from the queue");
    alice.is_online().await;
    alice.sees("the message is stored", &format!("{STORED} === 1")).await;

    // While the page comes back.
    fixture.balancer.shut();
    let bob = takes_the_seat(node).await;
    fixture.balancer.open();
    alice.reads("#banner-text", "The server is full. Trying again in").await;
    says_later(&alice, "from the queue again").await;
    carol.say("ops", "meanwhile").await;
    drop(bob);
    alice.sees_messages(&["from the queue", "meanwhile", "from the queue again"]).await;
    alice.reads("#banner-text", "Reconnected. Loaded missed messages: 1.").await;
    assert_eq!(
        (carol.hears().await, carol.hears().await),
        ("meanwhile".into(), "from the queue again".into())
    );
    carol.heard_no("GroupChat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_waits_when_its_address_gets_429() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    waits_shortly(&alice).await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    // Other programs of this address, which the node closes at once.
    for _ in 0..3 {
        let mut socket = RawSocket::connect(fixture.cluster.address(0)).await;
        socket.upgrade().await;
        // Without a mask.
        socket.send(&[0x81, 0x00]).await;
        assert_eq!(socket.closed().await.map(|(code, _)| code), Some(1002));
    }
    fixture.balancer.cut();
    alice.reads("#banner-text", "Too many connections from your network. Trying again in").await;
    says_later(&alice, "from the queue").await;
    assert_eq!(bob.hears().await, "from the queue");
    alice.is_online().await;
    alice.sees_messages(&["from the queue"]).await;
    alice.sees("the message is stored", &format!("{STORED} === 1")).await;
    bob.heard_no("GroupChat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_comes_back_when_nothing_listened() {
    let PageFixture { browser, balancer, cluster } = PageFixture::start().await;
    let (address, nodes) = (balancer.address, vec![cluster.address(0), cluster.address(1)]);
    let alice = Person::signs_in(&browser, &format!("http://{address}/#room=ops"), "alice").await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    alice.says("before").await;
    assert_eq!(bob.hears().await, "before");
    alice.sees("the message is stored", &format!("{STORED} === 1")).await;
    alice.types("#draft", "half a sen").await;
    drop(balancer);
    alice.reads("#banner-text", "No connection to the server. Trying again in").await;
    alice.types("#draft", &format!("tence{ENTER}")).await;
    alice.sees("the message waits", &format!("{WAITING} === 1")).await;
    alice.types("#draft", "and a draft").await;
    bob.say("ops", "meanwhile").await;
    let _balancer = FakeBalancer::start_at(address, nodes).await;
    alice.sees_messages(&["before", "meanwhile", "half a sentence"]).await;
    alice.is_online().await;
    alice.sees("the message is stored", &format!("{STORED} === 2")).await;
    assert_eq!(alice.js("document.getElementById('draft').value").await, "and a draft");
    assert_eq!((bob.hears().await, bob.hears().await), ("meanwhile".into(), "half a sentence".into()));
    bob.heard_no("GroupChat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balancer_without_nodes_is_no_full_node() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    waits_shortly(&alice).await;
    // As deploy/haproxy does it.
    let refuse = "(window.load = fetch, window.asked = [], window.fetch = async () => {
        asked.push(performance.now());
        return new Response(null, { status: 503, headers: { 'Retry-After': '2' } });
    }, 0)";
    alice.js(refuse).await;
    fixture.balancer.shut();
    alice.reads("#banner-text", "No connection to the server. Trying again in").await;
    says_later(&alice, "unsent").await;
    alice.sees("the page has asked twice", "asked.length >= 2").await;
    let wait = alice.js("asked[1] - asked[0]").await.as_f64().unwrap();
    assert!(wait > 1_900.0, "the page waited for {wait} ms");
    alice.js("(window.fetch = load, 0)").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    fixture.balancer.open();
    assert_eq!(bob.hears().await, "unsent");
    alice.is_online().await;
}

/// A user whose token is valid for some seconds, and another one in the same room.
async fn user_with_short_token<'a>(fixture: &'a PageFixture, seconds: u64) -> (Person<'a>, String, Client) {
    let mut bob = Client::connect(fixture.cluster.address(1), "bob").await;
    bob.token = Some(fixture.cluster.token(0, "bob").await);
    bob.ok("Enter", json!({ "room": "den" })).await;
    let alice = Person::visits(&fixture.browser, &fixture.link("room=den")).await;
    alice.clicks("#token-show").await;
    let request = json!({ "username": "alice", "ttl_seconds": seconds });
    let (status, issued) = fixture.cluster.call(0, "POST", "/tokens", request).await;
    assert_eq!(status, 201, "{issued}");
    let token = issued["token"].as_str().unwrap().to_owned();
    alice.types("#token", &format!("{token}{ENTER}")).await;
    alice.is_online().await;
    alice.says("before").await;
    assert_eq!(bob.hears().await, "before");
    alice.sees("the message is stored", &format!("{STORED} === 1")).await;
    (alice, token, bob)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_asks_for_a_new_token_when_one_expires() {
    let fixture = PageFixture::start_with(Kind::Embedded, with_tokens).await;
    let (alice, _, mut bob) = user_with_short_token(&fixture, 8).await;
    alice.types("#draft", "half a sen").await;
    alice.reads("#problem", "Your access token has expired or was revoked.").await;
    alice.reads("#sign-in-title", "Sign in again").await;
    alice.reads("#sign-in-hint", "Your rooms and messages are kept.").await;
    assert_eq!(alice.js("document.activeElement.id").await, "token");
    bob.say("den", "meanwhile").await;
    // One that is not valid does not end it.
    alice.types("#token", &format!("0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10{ENTER}")).await;
    alice.reads("#problem", "The server does not accept this token.").await;
    let token = fixture.cluster.token(0, "alice").await;
    alice.types("#token", &format!("{token}{ENTER}")).await;
    alice.is_online().await;
    alice.types("#draft", &format!("tence{ENTER}")).await;
    alice.sees_messages(&["before", "meanwhile", "half a sentence"]).await;
    assert_eq!((bob.hears().await, bob.hears().await), ("meanwhile".into(), "half a sentence".into()));
    bob.heard_no("GroupChat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsent_message_outlives_the_token() {
    let fixture = PageFixture::start_with(Kind::Embedded, with_tokens).await;
    let (alice, old, mut bob) = user_with_short_token(&fixture, 8).await;
    // The answer to one message is lost, and another one is written while nothing can be sent.
    fixture.balancer.mute();
    alice.says("stored").await;
    assert_eq!(bob.hears().await, "stored");
    fixture.balancer.shut();
    alice.says("unsent").await;
    alice.types("#draft", "and a draft").await;
    let node = fixture.cluster.address(0);
    until("the token has expired", async || {
        let mut client = Client::connect(node, "alice").await;
        client.token = Some(old.clone());
        client.ask("Ping", json!({})).await["message_type"] == "Error"
    })
    .await;
    fixture.balancer.open();
    alice.reads("#problem", "The server does not accept this token.").await;
    alice.reads("#sign-in-title", "Sign in again").await;
    let token = fixture.cluster.token(0, "alice").await;
    alice.types("#token", &format!("{token}{ENTER}")).await;
    alice.is_online().await;
    alice.sees_messages(&["before", "stored", "unsent"]).await;
    alice.sees("no message waits", &format!("{STORED} === 3")).await;
    assert_eq!(alice.js("document.getElementById('draft').value").await, "and a draft");
    assert_eq!(bob.hears().await, "unsent");
    bob.heard_no("GroupChat").await;
}
