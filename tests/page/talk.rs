//! Users chat over two nodes: rooms, private messages, typing and read markers.

use std::time::Instant;

use serde_json::json;

use super::page_fixture::PageFixture;
use super::person::{ENTER, PATIENCE, SHIFT};
use crate::support::cluster::Kind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_users_chat_over_two_nodes() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let bob = fixture.person(1, "bob", "room=ops").await;
    let carol = fixture.person(0, "carol", "room=tea").await;

    alice.says("hello").await;
    bob.sees_messages(&["hello"]).await;
    bob.types("#draft", &format!("two{SHIFT}{ENTER}{SHIFT}lines{ENTER}")).await;
    alice.sees_messages(&["hello", "two\nlines"]).await;
    alice
        .sees(
            "the own message is marked as sent",
            "document.querySelectorAll('.line.stored.mine').length === 1",
        )
        .await;
    alice.reads("#subtitle", "2 online").await;

    // The server forwards one `Typing` per second and target, so the first ones may be too early after the last
    // message.
    let mut written = String::new();
    let deadline = Instant::now() + PATIENCE;
    while bob.js("document.getElementById('typing').textContent").await != "alice is typing…" {
        assert!(Instant::now() < deadline, "bob does not see that alice is typing");
        alice.types("#draft", "la").await;
        written.push_str("la");
    }
    alice.says("!").await;
    written.push('!');
    bob.sees_messages(&["hello", "two\nlines", &written]).await;
    bob.sees("alice has stopped typing", "document.getElementById('typing').textContent === ''").await;

    // Carol enters a second room, and receives the messages of both.
    carol.opens("room=ops").await;
    carol.sees_messages(&["hello", "two\nlines", &written]).await;
    carol.opens("room=tea").await;
    bob.reads("#subtitle", "3 online").await;
    bob.says("where is carol?").await;
    bob.says("carol?").await;
    carol.unread("room=ops", 2).await;
    carol.reads("title", "(2)").await;
    carol.opens("room=ops").await;
    carol
        .sees(
            "the first new message is marked",
            "document.querySelectorAll('#timeline .divider').length === 1",
        )
        .await;

    // The link to the room, and leaving it.
    carol.js("(navigator.clipboard.writeText = async (text) => { window.copied = text }, 0)").await;
    carol.clicks("#copy").await;
    carol.reads("#notice", "Link copied.").await;
    assert_eq!(carol.js("copied").await, json!(fixture.link("room=ops")));
    carol.clicks("#leave").await;
    bob.reads("#subtitle", "2 online").await;
    carol.reads("#title", "#tea").await;
    assert_eq!(carol.js("document.querySelectorAll('#rooms a').length").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_message_reaches_only_its_two_users() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let bob = fixture.person(1, "bob", "room=ops").await;
    let carol = fixture.person(1, "carol", "room=ops").await;

    alice.opens("peer=bob").await;
    alice.says("psst").await;
    bob.unread("peer=alice", 1).await;
    bob.opens("peer=alice").await;
    bob.sees_messages(&["psst"]).await;
    bob.says("yes?").await;
    alice.sees_messages(&["psst", "yes?"]).await;

    // Carol receives this message after everything that was sent to her before.
    alice.opens("room=ops").await;
    alice.says("hello all").await;
    carol.sees_messages(&["hello all"]).await;
    let peers = carol.js("document.querySelectorAll('#peers a').length").await;
    assert_eq!(peers, 0, "carol has no private conversation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_messages_do_not_count_as_unread() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    bob.ok("Enter", json!({ "room": "tea" })).await;
    // Written without a connection, and sent while another room is open.
    fixture.balancer.shut();
    alice.says("first").await;
    alice.says("second").await;
    alice.opens("room=tea").await;
    fixture.balancer.open();
    assert_eq!((bob.hears().await, bob.hears().await), ("first".into(), "second".into()));
    // From another device of alice. One after the message from bob would mark that as read, within ten seconds.
    let mut device = fixture.other(1, "alice", "ops").await;
    device.say("ops", "third").await;
    device.say("ops", "fourth").await;
    bob.say("ops", "hello").await;
    bob.say("tea", "tea?").await;
    alice.sees_messages(&["tea?"]).await;
    alice.unread("room=ops", 1).await;
    alice.reloads().await;
    alice.is_online().await;
    bob.say("tea", "tea!").await;
    alice.sees_messages(&["tea?", "tea!"]).await;
    alice.unread("room=ops", 1).await;
    alice.opens("room=ops").await;
    alice.clicks("#draft").await;
    alice.unread("room=ops", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_fast_senders_get_the_rate_limit_notice() {
    let fixture = PageFixture::start_with(Kind::Embedded, |config| {
        // Slower than a busy machine answers: the page has few messages on their way.
        config.limits.messages_per_second = 5;
        config.limits.burst = 30;
    });
    let fixture = fixture.await;
    let alice = fixture.person(0, "alice", "room=one").await;
    for room in ["two", "three", "four", "five", "six", "seven"] {
        alice.opens(&format!("room={room}")).await;
        alice.reads("#members", "alice").await;
    }
    // A reload enters all rooms at once, which exceeds the rate limit.
    let mut bob = fixture.other(1, "bob", "seven").await;
    alice.reloads().await;
    alice.says("in").await;
    assert_eq!(bob.hears().await, "in");
    alice.sees_messages(&["in"]).await;
    let told = "document.getElementById('notice').textContent";
    assert_eq!(alice.js(told).await, "");

    let carol = fixture.person(0, "carol", "room=one").await;
    // These messages exceed the limit too, and the user sent them.
    let many = "(() => {
        const field = document.getElementById('draft');
        for (let number = 0; number < 50; number++) {
            field.value = `number ${number}`;
            field.form.requestSubmit();
        }
        return true;
    })()";
    assert_eq!(carol.js(many).await, true);
    carol.reads("#notice", "You are sending too fast. The server delays your messages.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switcher_buttons_choose_room_or_person() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let _carol = fixture.other(1, "carol", "ops").await;
    alice.reads("#members", "carol").await;
    // The Enter key opens the direct messages if there is a user with this name.
    for (press, title) in [("", "carol"), ("button:not(#write)", "#carol"), ("#write", "carol")] {
        alice.opens("room=ops").await;
        alice.clicks("#go").await;
        alice.types("#find", if press.is_empty() { "carol\u{e007}" } else { "carol" }).await;
        if !press.is_empty() {
            alice.clicks(&format!("#go-form {press}")).await;
        }
        let is_open = format!("document.getElementById('title').textContent === '{title}'");
        alice.sees(&format!("{title} after {press:?}"), &is_open).await;
        assert_eq!(alice.js("document.getElementById('switcher').open").await, false);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_room_takes_no_text() {
    let fixture =
        PageFixture::start_with(Kind::Embedded, |config| config.rooms.read_only = vec!["news".into()]).await;
    let alice = fixture.person(0, "alice", "room=news").await;
    let disabled = "document.getElementById('draft').disabled";
    alice.sees("the text field is closed", disabled).await;
    assert_eq!(
        alice.js("document.getElementById('draft').placeholder").await,
        "Only administrators write here"
    );
    alice.opens("room=ops").await;
    alice.sees("the text field is open", &format!("!{disabled}")).await;
    alice.says("hello").await;
    alice.sees_messages(&["hello"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn name_of_an_object_property_is_an_ordinary_name() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut other = fixture.other(1, "constructor", "tea").await;
    other.whisper("alice", "one").await;
    alice.unread("peer=constructor", 1).await;
    alice.sees("the state is stored", "JSON.stringify(sessionStorage).includes('peer')").await;
    alice.reloads().await;
    alice.is_online().await;
    other.whisper("alice", "two").await;
    alice.unread("peer=constructor", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_counts_unread_messages_without_frames() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=tea").await;
    alice.opens("room=ops").await;
    // A tab that becomes hidden gets no more frames, not even those that it has asked for.
    alice.js("window.requestAnimationFrame = () => 1").await;
    let mut bob = fixture.other(1, "bob", "tea").await;
    bob.say("tea", "one").await;
    bob.say("tea", "two").await;
    alice.reads("title", "(2)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_shown_without_check_visibility() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    // Safari has this method since version 17.4.
    alice.js("delete Element.prototype.checkVisibility").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    bob.say("ops", "hello").await;
    alice.sees_messages(&["hello"]).await;
}
