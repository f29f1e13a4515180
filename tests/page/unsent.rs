//! Messages that can't be sent: the page keeps them, and reports their state correctly.

use serde_json::json;

use super::page_fixture::PageFixture;
use super::person::Person;
use crate::support::cluster::Kind;

const FAILED: &str = "document.querySelectorAll('.line.failed').length";

/// Sends a text that is too long to type.
async fn pastes(person: &Person<'_>, text: &str) {
    let paste = "document.getElementById('draft')";
    let text = json!(text);
    let script = format!("({paste}.value = {text}, {paste}.oninput(), {paste}.form.requestSubmit(), true)");
    assert_eq!(person.js(&script).await, true);
}

/// Presses a button of a failed message.
async fn presses(person: &Person<'_>, label: &str) {
    let find = "[...document.querySelectorAll('.failure button')].find";
    let script = format!("{find}((button) => button.textContent === {})?.click()", json!(label));
    person.js(&script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_long_message_fails_and_can_be_edited_or_deleted() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    // Above the limit for messages, and above the limit for frames.
    for length in [17_000, 140_000] {
        pastes(&alice, &"x".repeat(length)).await;
        alice.sees("the message has failed", &format!("{FAILED} === 1")).await;
        alice.reads(".failure", "Not sent. ").await;
        alice.reads("#rooms .alarm", "!").await;
        presses(&alice, "Retry").await;
        alice.sees("the message fails again", &format!("{FAILED} === 1")).await;
        presses(&alice, "Edit").await;
        alice.sees("the message has left the screen", &format!("{FAILED} === 0")).await;
        assert_eq!(alice.js("document.getElementById('draft').value.length").await, length);
        pastes(&alice, &"y".repeat(length)).await;
        alice.sees("the message has failed", &format!("{FAILED} === 1")).await;
        presses(&alice, "Delete").await;
        alice.sees("the message is gone", &format!("{FAILED} === 0")).await;
    }
    alice.says("short").await;
    assert_eq!(bob.hears().await, "short");
    bob.heard_no("GroupChat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_asks_before_it_drops_unsent_messages() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    alice.says("stored").await;
    assert_eq!(bob.hears().await, "stored");
    fixture.balancer.shut();
    alice.says("unsent").await;
    alice.sees("the message waits", "document.querySelectorAll('.line.waiting').length === 1").await;
    alice.js("window.confirm = (text) => ((window.asked ??= []).push(text), false)").await;
    alice.clicks("#leave").await;
    alice.clicks("#sign-out").await;
    let asked = json!([
        "Unsent messages will be lost: 1. Leave this room?",
        "Unsent messages will be lost: 1. Sign out?"
    ]);
    assert_eq!(alice.js("asked").await, asked);
    fixture.balancer.open();
    assert_eq!(bob.hears().await, "unsent");
    alice.is_online().await;
    alice.sees("the message is stored", "document.querySelectorAll('.line.stored.mine').length === 2").await;
    alice.clicks("#leave").await;
    assert_eq!(
        bob.wait_for("alice leaves", |frame| frame["message_type"] == "Leave").await["message_body"]["sender_username"],
        "alice"
    );
    assert_eq!(alice.js("asked.length").await, 2, "the page must not ask");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_to_a_refusing_room_fails_and_can_be_retried() {
    let fixture =
        PageFixture::start_with(Kind::Embedded, |config| config.limits.max_rooms_per_connection = 2).await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    alice.opens("room=tea").await;
    alice.sees("alice is in the room", "document.querySelectorAll('#members a').length === 1").await;
    let mut bob = fixture.other(1, "bob", "den").await;
    // One message is written before the server refuses the room, and one after.
    fixture.balancer.shut();
    alice.opens("room=den").await;
    alice.says("first").await;
    alice.sees("the message waits", "document.querySelectorAll('.line.waiting').length === 1").await;
    alice.opens("room=ops").await;
    fixture.balancer.open();
    alice.is_online().await;
    alice.reads("#rooms .alarm", "!").await;
    alice.opens("room=den").await;
    alice.reads("#older", "You can’t join this room: ").await;
    alice.sees("the message has failed", &format!("{FAILED} === 1")).await;
    alice.says("second").await;
    alice.sees("the message has failed", &format!("{FAILED} === 2")).await;
    let why = alice.js("document.getElementById('older').textContent.split(': ')[1]").await;
    alice.reads(".failure", &format!("Not sent. {}", why.as_str().unwrap())).await;
    presses(&alice, "Retry").await;
    alice.sees("the message fails again", &format!("{FAILED} === 2")).await;
    bob.heard_no("GroupChat").await;

    // After leaving another room, the server admits the user.
    alice.opens("room=tea").await;
    alice.clicks("#leave").await;
    alice.opens("room=den").await;
    alice.sees("alice is in the room", "document.querySelectorAll('#members a').length === 2").await;
    for (text, left) in [("first", 1), ("second", 0)] {
        presses(&alice, "Retry").await;
        alice.sees("the message is no longer failed", &format!("{FAILED} === {left}")).await;
        assert_eq!(bob.hears().await, text);
    }
    alice.sees_messages(&["first", "second"]).await;
}
