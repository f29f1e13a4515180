//! Lost connections and reloads: no message is lost or shown twice, and drafts stay.

use std::time::{Duration, Instant};

use serde_json::json;

use super::browser::Browser;
use super::page_fixture::PageFixture;
use super::person::{ENTER, Person};
use crate::support::client::Client;
use crate::support::cluster::Kind;
use crate::support::fake_balancer::FakeBalancer;
use crate::support::process::NodeProcess;
use crate::support::redis_server::RedisServer;

/// `count` numbered texts.
fn texts(start: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{start} {number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_failure_while_typing_loses_no_message() {
    let mut fixture = PageFixture::start().await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    fixture.balancer.prefer(fixture.cluster.address(0));
    let alice = Person::signs_in(&fixture.browser, &fixture.link("room=ops"), "alice").await;
    alice.says("before 1").await;
    assert_eq!(bob.hears().await, "before 1");
    alice
        .sees("the message is acknowledged", "document.querySelectorAll('.line.stored.mine').length === 1")
        .await;
    // The node stores the next message, but its answer never arrives.
    fixture.balancer.mute();
    alice.says("before 2").await;
    assert_eq!(bob.hears().await, "before 2");
    alice.types("#draft", "half a sen").await;
    // The node ends without a drain, as if it were killed.
    drop(fixture.cluster.nodes.remove(0));
    fixture.balancer.cut();
    alice.types("#draft", &format!("tence{ENTER}")).await;
    assert_eq!(bob.hears().await, "half a sentence");
    bob.say("ops", "still there?").await;
    assert_eq!(bob.hears().await, "still there?");
    alice.sees_messages(&["before 1", "before 2", "half a sentence", "still there?"]).await;
    alice.sees("no message waits", "document.querySelectorAll('.line.stored.mine').length === 3").await;
    bob.heard_no("GroupChat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnect_loads_and_counts_missed_messages() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    bob.say("ops", "the last before").await;
    alice.sees_messages(&["the last before"]).await;
    fixture.balancer.prefer(fixture.cluster.address(1));
    fixture.balancer.shut();
    alice.says("from afar").await;
    for text in texts("missed", 12) {
        bob.say("ops", &text).await;
    }
    alice.reads("#banner-text", "Trying again in").await;
    assert!(fixture.balancer.turned_away() > 0);
    fixture.balancer.open();
    // The countdown may end at this moment, so the click does not wait for the button.
    alice.js("document.getElementById('retry').click()").await;
    alice.reads("#banner-text", "Reconnected. Loaded missed messages: 12.").await;
    let missed = texts("missed", 12);
    let mut wanted = vec!["the last before"];
    wanted.extend(missed.iter().map(String::as_str));
    wanted.push("from afar");
    alice.sees_messages(&wanted).await;
    for text in wanted {
        assert_eq!(bob.hears().await, text);
    }
    bob.heard_no("GroupChat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_keeps_rooms_drafts_and_unsent_messages() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    alice.says("stored").await;
    assert_eq!(bob.hears().await, "stored");
    alice.opens("room=tea").await;
    alice.types("#draft", "a draft for tea").await;
    alice.opens("room=ops").await;
    fixture.balancer.shut();
    alice.says("unsent one").await;
    alice.says("unsent two").await;
    alice.sees("both messages wait", "document.querySelectorAll('.line.waiting').length === 2").await;

    alice.reloads().await;
    alice.sees("both messages still wait", "document.querySelectorAll('.line.waiting').length === 2").await;
    alice.reads("#rooms", "tea").await;
    bob.heard_no("GroupChat").await;
    fixture.balancer.open();
    alice.is_online().await;
    assert_eq!(bob.hears().await, "unsent one");
    assert_eq!(bob.hears().await, "unsent two");
    alice.sees("no message waits", "document.querySelectorAll('.line.stored.mine').length === 3").await;
    alice.sees_messages(&["stored", "unsent one", "unsent two"]).await;
    bob.heard_no("GroupChat").await;
    alice.opens("room=tea").await;
    assert_eq!(alice.js("document.getElementById('draft').value").await, "a draft for tea");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_interruption_shows_no_banner() {
    let redis = RedisServer::start();
    let url = redis.url();
    let settings = [("CHAT_REDIS__URL", url.as_str())];
    let (mut first, second, browser) =
        tokio::join!(NodeProcess::start(&settings), NodeProcess::start(&settings), Browser::start());
    let balancer = FakeBalancer::start(vec![first.address, second.address]).await;
    let mut bob = Client::enter(second.address, "bob", "ops").await;
    let alice = Person::signs_in(&browser, &format!("http://{}/#room=ops", balancer.address), "alice").await;
    alice.says("one").await;
    assert_eq!(bob.hears().await, "one");
    alice.sees("the message is stored", "document.querySelectorAll('.line.stored.mine').length === 1").await;
    // The first wait has its maximum length, so the interruption is as long as possible.
    let watch = "(Math.random = () => 0.999, window.told = 0, new MutationObserver(() => told += !document.getElementById('banner').hidden)
        .observe(document.getElementById('banner'), { attributes: true }), true)";
    assert_eq!(alice.js(watch).await, true);
    alice.types("#draft", "two").await;
    first.kill();
    bob.say("ops", "are you there?").await;
    alice.types("#draft", ENTER).await;
    assert_eq!((bob.hears().await, bob.hears().await), ("are you there?".into(), "two".into()));
    alice.sees_messages(&["one", "are you there?", "two"]).await;
    alice.sees("no message waits", "document.querySelectorAll('.line.stored.mine').length === 2").await;
    bob.heard_no("GroupChat").await;
    assert_eq!(alice.js("told").await, 0, "changes of the visible banner");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gap_line_marks_messages_missing_from_the_log() {
    let fixture = PageFixture::start_with(Kind::Embedded, |config| config.history.max_messages = 5).await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    bob.say("ops", "the last before").await;
    alice.sees_messages(&["the last before"]).await;
    fixture.balancer.shut();
    alice.reads("#banner-text", "No connection to the server.").await;
    for text in texts("missed", 400) {
        bob.say("ops", &text).await;
    }
    fixture.balancer.open();
    alice.js("document.getElementById('retry').click()").await;
    alice.reads("#banner-text", "Reconnected. Some messages are missing.").await;
    alice.reads(".gap", "Messages are missing here. The server no longer has them.").await;
    let lines = "[...document.querySelectorAll('#timeline .text, #timeline .gap')]";
    // The line comes before the messages that the server still has.
    alice.sees("the messages after the gap are shown", &format!("{lines}.length >= 7")).await;
    let order = format!("{lines}.map((node) => node.className + node.textContent.at(-1))");
    let order = alice.js(&order).await;
    let order: Vec<&str> = order.as_array().unwrap().iter().map(|each| each.as_str().unwrap()).collect();
    assert_eq!(order[..3], ["texte", "gap.", "text6"], "{order:?}");
    assert_eq!(order.len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnect_starts_early_and_follows_the_network() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    // Each wait has its maximum length. Records the time of each attempt.
    let watch = "(Math.random = () => 0.999, window.tries = [], window.WebSocket = class extends WebSocket {
        constructor(address) { super(address); tries.push(Date.now() - cut); }
    }, window.cut = Date.now(), true)";
    assert_eq!(alice.js(watch).await, true);
    fixture.balancer.shut();
    alice.sees("the page tries again", "tries.length >= 1").await;
    let first = alice.js("tries[0]").await.as_f64().unwrap();
    assert!(first < 3_000.0, "the first try came {first} ms after the cut");
    alice
        .sees("the waits grow", "/in [5-8] s/.test(document.getElementById('banner-text').textContent)")
        .await;
    fixture.balancer.open();
    let began = Instant::now();
    alice.js("dispatchEvent(new Event('online'))").await;
    alice.is_online().await;
    assert!(began.elapsed() < Duration::from_secs(4), "the page waited for {:?}", began.elapsed());

    // An attempt that hangs ends early when the network returns.
    alice.js("(window.WebSocket = class { close() {} }, window.hangs = 0, 0)").await;
    fixture.balancer.cut();
    alice.reads("#banner-text", "Connecting…").await;
    alice.js("dispatchEvent(new Event('online'))").await;
    let began = Instant::now();
    alice.reads("#banner-text", "Trying again in").await;
    assert!(began.elapsed() < Duration::from_secs(7), "the attempt hung for {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_during_an_absence_are_marked_as_new() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=tea").await;
    let mut bob = fixture.other(1, "bob", "tea").await;
    bob.ok("Enter", json!({ "room": "ops" })).await;
    alice.opens("room=ops").await;
    bob.say("ops", "seen").await;
    alice.sees_messages(&["seen"]).await;
    // The page stores its state a moment later; then it is closed.
    alice.sees("the state is stored", "JSON.stringify(sessionStorage).includes('\\\\\"seq\\\\\":1')").await;
    alice.goes_to("about:blank").await;
    for number in 1..=3 {
        bob.say("tea", &format!("tea {number}")).await;
    }
    bob.say("ops", "new one").await;
    bob.say("ops", "new two").await;
    alice.goes_to(&fixture.link("room=ops")).await;
    alice.is_online().await;
    alice.unread("room=tea", 3).await;
    alice
        .sees(
            "the divider is above the first new message",
            "(() => {
        const line = document.querySelector('#timeline .divider');
        return line?.closest('li').querySelector('.text').textContent === 'new one';
    })()",
        )
        .await;
    alice
        .sees(
            "both messages are shown",
            "[...document.querySelectorAll('#timeline .text')].at(-1).textContent === 'new two'",
        )
        .await;
    alice.clicks("#draft").await;
    alice.unread("room=ops", 0).await;
    alice.opens("room=tea").await;
    alice.unread("room=tea", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_asks_for_the_server_before_it_opens_sockets() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    // Each wait has its minimum length.
    let watch = "(Math.random = () => 0, window.asked = 0, window.load = fetch, window.fetch = (...args) => {
        asked += 1;
        return load(...args);
    }, 0)";
    alice.js(watch).await;
    fixture.balancer.go_away();
    // Firefox delays sockets after failed ones, so the page tries only one.
    alice.sees("the page has asked three times", "asked >= 3").await;
    assert_eq!(fixture.balancer.turned_away(), 1, "sockets that were tried");
    fixture.balancer.open();
    alice.is_online().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_ordered_by_the_server_grow_and_differ() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let refuse = "(Math.random = () => 0.999, window.tries = [], window.WebSocket = class {
        constructor() {
            tries.push(performance.now());
            setTimeout(() => this.onclose({ code: 4013, reason: 'retry_after_ms=100; no room' }));
        }
        close() {}
    }, 0)";
    alice.js(refuse).await;
    fixture.balancer.cut();
    alice.sees("the page has tried three times", "tries.length >= 3").await;
    let waits = alice.js("[tries[1] - tries[0], tries[2] - tries[1]]").await;
    let waits: Vec<f64> = serde_json::from_value(waits).unwrap();
    assert!(waits[0] > 1_900.0 && waits[1] > 3_900.0, "{waits:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_after_1000_and_1002_begin_at_8_s() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    // Each wait has its maximum length. The test decides when a minute has passed.
    let watch = "(Math.random = () => 0.999, window.later = setTimeout, window.setTimeout = (f, ms) => {
        if (f.name === 'open') window.wait = ms;
        if (ms === 60_000) window.minute = f;
        return later(f, ms);
    }, window.Real = WebSocket, window.WebSocket = class extends Real {
        constructor(url) {
            super(url);
            window.last = this;
        }
    }, 0)";
    alice.js(watch).await;
    fixture.balancer.cut();
    let ends = async |code: u16, reason: &str, after_a_minute: bool| {
        alice.sees("the new connection is signed in", "Boolean(window.minute)").await;
        let minute = if after_a_minute { "minute()" } else { "0" };
        let end =
            format!("({minute}, minute = 0, last.onclose({{ code: {code}, reason: '{reason}' }}), wait)");
        let wait = alice.js(&end).await.as_f64().unwrap();
        // The network is there again: the page does not wait.
        alice.js("(ononline(), 0)").await;
        wait
    };
    assert!(ends(1006, "", true).await < 1_000.0, "a lost connection after a minute");
    assert!((7_900.0..8_000.0).contains(&ends(1002, "", true).await), "1002 after a minute");
    assert!((15_900.0..16_000.0).contains(&ends(1000, "", false).await), "1000 soon after it");
    assert!(ends(1006, "", true).await < 1_000.0, "a lost connection after another minute");
    // The reason counts, whatever the code.
    assert!((1_000.0..1_200.0).contains(&ends(4003, "retry_after_ms=100", true).await));
}
