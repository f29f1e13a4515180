//! A store that stops, returns empty or contains invalid data: the page reports exactly what it knows.

use serde_json::json;

use super::browser::Browser;
use super::page_fixture::PageFixture;
use super::person::Person;
use crate::support::cluster::{Cluster, Kind};
use crate::support::fake_balancer::FakeBalancer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_reports_a_stopped_and_an_emptied_store() {
    let mut fixture = PageFixture::start_with(Kind::Redis, |_| {}).await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    {
        let alice = fixture.person(0, "alice", "room=ops").await;
        alice.says("before").await;
        assert_eq!(bob.hears().await, "before");
        fixture.cluster.redis_server().stop();
        alice.says("perhaps").await;
        let unknown = "document.querySelector('.line.waiting')";
        alice.sees("no answer has arrived", &format!("{unknown} !== null")).await;
        alice.reads("#me", "Waiting for the server…").await;
        // The clock of the page moves on by a minute.
        alice.js("(window.now = Date.now, Date.now = () => now() + 61_000)").await;
        alice
            .reads(
                ".failure",
                "This message may have been sent. The server can’t read or store messages right now.",
            )
            .await;
        assert_eq!(alice.js("document.querySelectorAll('.failure button').length").await, 3);
        fixture.cluster.redis_server().cont();
        // The copy arrives, so the message was stored.
        assert_eq!(bob.hears().await, "perhaps");
        alice
            .sees("the message is stored", "document.querySelectorAll('.line.stored.mine').length === 2")
            .await;
        alice.sees_messages(&["before", "perhaps"]).await;
        alice.js("Date.now = now").await;
        alice.is_online().await;
    }

    let alice = fixture.person(0, "anna", "room=ops").await;
    alice.notes("notice", "document.getElementById('notice').textContent").await;
    fixture.cluster.redis_server().command(&["FLUSHALL"]).unwrap();
    bob.say("ops", "afresh").await;
    alice
        .reads(".gap", "Messages may be missing here. The server lost some, or all, of its stored messages.")
        .await;
    alice
        .sees(
            "the gap is before the newest message",
            "[...document.querySelectorAll('#timeline .text')].at(-1).textContent === 'afresh'",
        )
        .await;
    bob.whisper("anna", "psst").await;
    alice.unread("peer=bob", 1).await;
    alice
        .sees(
            "the page reports the gap in the private log",
            "told.includes('Private messages may be missing.')",
        )
        .await;
    fixture.cluster.redis().kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_page_notices_that_the_store_is_away() {
    let mut fixture = PageFixture::start_with(Kind::Redis, |_| {}).await;
    {
        let alice = fixture.person(0, "alice", "room=ops").await;
        fixture.cluster.redis_server().stop();
        // The clock of the page moves on by a minute, and the return of the network makes it send a `Ping`.
        alice.js("(window.now = Date.now, Date.now = () => now() + 61_000, 0)").await;
        alice.js("(dispatchEvent(new Event('online')), 0)").await;
        alice.reads("#me", "Waiting for the server…").await;
        fixture.cluster.redis_server().cont();
        alice.is_online().await;
    }
    fixture.cluster.redis().kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_room_is_not_reported_as_caught_up() {
    let fixture = PageFixture::start_with(Kind::Redis, |_| {}).await;
    let redis = |words: &[&str]| fixture.cluster.redis_server().command(words).unwrap();
    let alice = fixture.person(0, "alice", "room=bad").await;
    alice.says("before").await;
    alice.sees("the message is stored", "document.querySelectorAll('.line.stored.mine').length === 1").await;
    alice.notes("banner-text", "document.getElementById('banner-text').textContent").await;
    redis(&["RENAME", "chat:{r:bad}:meta", "aside"]);
    redis(&["SET", "chat:{r:bad}:meta", "x"]);
    // The second node has not loaded the room yet.
    fixture.balancer.prefer(fixture.cluster.address(1));
    fixture.balancer.cut();
    alice.reads("#banner-text", "Can’t join #bad yet: Something is wrong on the server.").await;
    alice.says("later").await;
    alice.sees("the message waits", "document.querySelectorAll('.line.waiting').length === 1").await;
    let told = alice.js("told").await;
    assert!(!told.to_string().contains("Reconnected"), "{told}");
    redis(&["DEL", "chat:{r:bad}:meta"]);
    redis(&["RENAME", "aside", "chat:{r:bad}:meta"]);
    alice.sees("the message is stored", "document.querySelectorAll('.line.stored.mine').length === 2").await;
    alice.sees_messages(&["before", "later"]).await;
    alice.reads("#banner-text", "Reconnected. No messages missed.").await;
    alice.sees("the banner is hidden again", "document.getElementById('banner').hidden").await;
    assert_eq!(alice.js("document.querySelectorAll('.gap').length").await, json!(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gap_is_reported_once_in_a_silent_room() {
    // Each cluster has its own store, so the second one is empty.
    let (first, second, browser) =
        tokio::join!(Cluster::start(Kind::Embedded, 1), Cluster::start(Kind::Embedded, 1), Browser::start());
    let balancer = FakeBalancer::start(vec![first.address(0), second.address(0)]).await;
    let alice = Person::signs_in(&browser, &format!("http://{}/#room=ops", balancer.address), "alice").await;
    let mut bob = first.enter(0, "bob", "ops").await;
    bob.say("ops", "before").await;
    bob.whisper("alice", "psst").await;
    alice.unread("peer=bob", 1).await;
    alice.sees_messages(&["before"]).await;
    balancer.prefer(second.address(0));
    balancer.cut();
    alice.reads("#banner-text", "Reconnected. Some messages are missing.").await;

    for reload in [true, false] {
        if reload {
            alice.reloads().await;
        } else {
            balancer.cut();
        }
        // The page sends these requests after it has resumed all conversations, so their answers arrive later.
        alice.opens("room=tea").await;
        alice.says("hello").await;
        let stored = "document.querySelectorAll('.line.stored.mine').length";
        alice.sees("the message is stored", &format!("{stored} === {}", if reload { 1 } else { 2 })).await;
        let told = alice.js("document.getElementById('banner-text').textContent").await;
        assert_ne!(told, "Reconnected. Some messages are missing.", "reload: {reload}");
    }
    // Messages in the new logs arrive.
    let mut bob = second.enter(0, "bob", "ops").await;
    alice.opens("room=ops").await;
    bob.say("ops", "after").await;
    alice
        .sees(
            "the new message has arrived",
            "[...document.querySelectorAll('#timeline .text')].at(-1)?.textContent === 'after'",
        )
        .await;
}
