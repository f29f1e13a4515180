//! Long conversations: scrolling up loads older messages, and thousands of messages do not slow the page.

use std::time::Instant;

use serde_json::{Value, json};

use super::engine::Engine;
use super::page_fixture::PageFixture;
use super::person::Person;
use crate::support::cluster::Kind;

/// The `seq` of each message in the document, oldest first.
async fn seqs(person: &Person<'_>) -> Vec<u64> {
    let seqs =
        person.js("[...document.querySelectorAll('#timeline > li')].map((node) => node.item.seq)").await;
    serde_json::from_value(seqs).unwrap()
}

/// Sends `count` messages, over several connections, so that the queue of each stays short.
async fn says_many(fixture: &PageFixture, count: usize) {
    for start in (0..count).step_by(500) {
        let mut bob = fixture.other(1, "bob", "ops").await;
        bob.say_many("ops", "one of very many", (count - start).min(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scrolling_up_loads_older_messages() {
    let fixture = PageFixture::start().await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    for number in 1..=300 {
        bob.say("ops", &format!("number {number}")).await;
    }
    let alice = fixture.person(0, "alice", "room=ops").await;
    alice
        .sees("the newest messages are shown", "document.querySelectorAll('#timeline .text').length === 80")
        .await;
    assert_eq!(seqs(&alice).await.first(), Some(&221));

    // The visible messages don't move while older ones are added above them.
    let scroll = "new Promise((done) => {
        const scroller = document.getElementById('scroller');
        scroller.scrollTop = 300;
        const read = [...document.querySelectorAll('#timeline > li')].find((node) => node.getBoundingClientRect().top > 100);
        window.read = { seq: read.item.seq, top: read.getBoundingClientRect().top };
        done(window.read.seq);
    })";
    alice.js(scroll).await;
    alice
        .sees("older messages have arrived", "document.querySelector('#timeline > li').item.seq < 221")
        .await;
    let moved = "[...document.querySelectorAll('#timeline > li')].find((node) => node.item.seq === read.seq)
        .getBoundingClientRect().top - read.top";
    let moved = alice.js(moved).await.as_f64().unwrap();
    assert!(moved.abs() < 2.0, "the messages moved by {moved} px");

    let up = "(document.getElementById('scroller').scrollTop = 0, document.querySelector('#timeline > li').item.seq === 1)";
    alice.sees("the oldest message is shown", up).await;
    let all = seqs(&alice).await;
    assert!(all.iter().zip(1..).all(|(seq, expected)| *seq == expected), "not in order: {all:?}");
    alice.reads("#older", "The server has no earlier messages.").await;

    alice.reads("#jump", "Latest").await;
    bob.say("ops", "number 301").await;
    alice.reads("#jump", "↓ 1 new").await;
    alice.clicks("#jump").await;
    alice
        .sees(
            "the newest message is on the screen",
            "(() => {
        const last = [...document.querySelectorAll('#timeline .text')].at(-1);
        return last.textContent === 'number 301' && last.getBoundingClientRect().bottom < innerHeight;
    })()",
        )
        .await;
    assert_eq!(alice.js("document.getElementById('jump').hidden").await, true);
}

/// The median and the maximum of the time between two frames, while the page scrolls up and loads older messages.
async fn frames(person: &Person<'_>) -> (f64, f64) {
    let run = "(window.frames = [], (function next(at) {
        frames.push(at);
        document.getElementById('scroller').scrollTop -= 300;
        if (frames.length < 100) requestAnimationFrame(next);
    })(performance.now()), true)";
    person.js(run).await;
    person.sees("all frames are drawn", "window.frames.length === 100").await;
    let frames: Vec<f64> = serde_json::from_value(person.js("window.frames").await).unwrap();
    let mut times: Vec<f64> = frames.windows(2).map(|pair| pair[1] - pair[0]).collect();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() - 1])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_stays_fast_with_ten_thousand_messages() {
    let fixture = PageFixture::start_with(Kind::Embedded, |config| {
        config.history.max_messages = 13_000;
        config.history.max_bytes = 64 << 20;
    });
    let fixture = fixture.await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let began = Instant::now();
    says_many(&fixture, 11_990).await;
    let newest =
        |seq: u64| format!("document.querySelector('#timeline > li:last-child')?.item.seq === {seq}");
    alice.sees("all messages have arrived", &newest(11_990)).await;
    println!("11,990 messages took {:?}", began.elapsed());
    assert!(seqs(&alice).await.len() <= 200);

    let (coming, ()) = tokio::join!(frames(&alice), says_many(&fixture, 5));
    println!("frames while scrolling and receiving: {coming:?} ms");
    assert!(coming.0 < 60.0, "half of the frames take longer than {} ms, one {} ms", coming.0, coming.1);

    // Scroll up to the first message; then more messages arrive than the page keeps.
    let up = "(function up() {
        document.getElementById('scroller').scrollTop = 0;
        if (document.querySelector('#timeline > li').item.seq > 1) requestAnimationFrame(up);
    })()";
    alice.js(up).await;
    alice.sees("the first message is shown", "document.querySelector('#timeline > li').item.seq === 1").await;
    says_many(&fixture, 30).await;
    // Some of the five earlier messages may have arrived while the list was at its end.
    alice
        .sees(
            "the new messages are counted",
            "parseInt(document.getElementById('jump').textContent.slice(2)) >= 30",
        )
        .await;
    let shown = seqs(&alice).await;
    assert_eq!((shown[0], shown.len() <= 220), (1, true), "{} messages are in the document", shown.len());
    says_many(&fixture, 12_000).await;
    alice
        .sees(
            "the new messages have arrived",
            "parseInt(document.getElementById('jump').textContent.slice(2)) >= 12_030",
        )
        .await;
    let shown = seqs(&alice).await;
    assert!(
        shown[0] > 1 && shown.len() <= 220,
        "{} messages are in the document, from {}",
        shown.len(),
        shown[0]
    );
    alice.clicks("#jump").await;
    alice.sees("the newest message is shown", &newest(24_025)).await;
    assert_eq!(alice.js("document.querySelectorAll('#timeline .gap').length").await, json!(0));
    assert_ne!(alice.js("document.getElementById('scroller').scrollTop").await, Value::from(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_room_opens_at_its_first_new_message_in_chromium() {
    long_room_opens_at_its_first_new_message(Engine::Chromium).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_room_opens_at_its_first_new_message_in_firefox() {
    long_room_opens_at_its_first_new_message(Engine::Firefox).await;
}

async fn long_room_opens_at_its_first_new_message(engine: Engine) {
    let fixture = PageFixture::start_in(engine).await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    says_many(&fixture, 300).await;
    alice
        .sees(
            "all messages have arrived",
            "document.querySelector('#timeline > li:last-child')?.item.seq === 300",
        )
        .await;
    alice.opens("room=tea").await;
    says_many(&fixture, 25).await;
    alice.unread("room=ops", 25).await;
    alice.opens("room=ops").await;
    alice
        .sees(
            "the first new message is on the screen, below the line",
            "(() => {
        const line = document.querySelector('#timeline .divider');
        const { top, bottom } = line?.getBoundingClientRect() ?? {};
        return line?.closest('li').item.seq === 301 && top > 0 && bottom < innerHeight;
    })()",
        )
        .await;
}
