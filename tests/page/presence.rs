//! Presence and read markers, also across lost connections.

use serde_json::json;

use super::page_fixture::PageFixture;
use crate::support::backend::user_name;
use crate::support::cluster::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_marker_is_sent_after_a_lost_connection() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    let first = bob.whisper("alice", "one").await;
    alice.unread("peer=bob", 1).await;
    alice.opens("peer=bob").await;
    assert_eq!(bob.next("Read").await["message_id"], first["message_id"]);
    alice.says("my own").await;
    let own = bob.wait_for("the answer of alice", |frame| frame["message_body"]["content"] == "my own").await;
    alice.sees("the message is sent", "document.querySelectorAll('.line.stored.mine').length === 1").await;
    bob.ok("Read", json!({ "target_username": "alice", "message_id": own["message_body"]["message_id"] }))
        .await;
    alice.sees("the message is read", "document.querySelectorAll('.line.read.mine').length === 1").await;

    // Alice reads the message, and her connection is lost before the page sends the marker.
    fixture.balancer.shut();
    let second = bob.whisper("alice", "two").await;
    fixture.balancer.open();
    alice.sees_messages(&["one", "my own", "two"]).await;
    fixture.balancer.cut();
    assert_eq!(bob.next("Read").await["message_id"], second["message_id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_before_the_enter_ack_leaves_the_room() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "tea").await;
    fixture.balancer.mute();
    alice.opens("room=tea").await;
    let presence = |kind: &'static str| {
        move |frame: &serde_json::Value| {
            frame["message_type"] == kind && frame["message_body"]["sender_username"] == "alice"
        }
    };
    bob.wait_for("alice enters", presence("Enter")).await;
    alice.clicks("#leave").await;
    bob.wait_for("alice leaves", presence("Leave")).await;
    fixture.balancer.cut();
    alice.is_online().await;
    alice.opens("room=tea").await;
    bob.say("tea", "again?").await;
    alice.sees_messages(&["again?"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_of_unknown_presence_is_not_shown_as_offline() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    bob.whisper("alice", "psst").await;
    alice.sees("bob is online", "document.querySelector('#peers .dot.here') !== null").await;
    alice.opens("room=tea").await;
    alice.reloads().await;
    alice.is_online().await;
    alice.reads("#members", "alice").await;
    // The page has also requested the members of the room that bob is in.
    alice.sees("bob is online", "document.querySelector('#peers .dot.here') !== null").await;
    fixture.balancer.cut();
    alice.says("back").await;
    alice.sees("the message is stored", "document.querySelectorAll('.line.stored.mine').length === 1").await;
    alice.sees("bob is online again", "document.querySelector('#peers .dot.here') !== null").await;
    // The page shows no presence for a user who is in none of alice's rooms.
    let mut carol = fixture.other(1, "carol", "den").await;
    carol.whisper("alice", "psst").await;
    alice.sees("carol is in the list", "document.querySelectorAll('#peers a').length === 2").await;
    assert_eq!(alice.js("document.querySelectorAll('#peers .dot').length").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_that_was_left_is_absent_until_it_is_shown_again() {
    let fixture = PageFixture::start().await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let is_alice = |kind: &'static str| {
        move |frame: &serde_json::Value| {
            frame["message_type"] == kind && frame["message_body"]["sender_username"] == "alice"
        }
    };
    bob.wait_for("alice enters", is_alice("Enter")).await;
    // The driver turns off the cache for pages that were left, so their events come from the test.
    alice.js("(dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })), 0)").await;
    bob.wait_for("alice leaves", is_alice("Leave")).await;
    bob.say("ops", "meanwhile").await;
    assert_eq!(alice.messages().await, Vec::<String>::new());
    alice.js("(dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })), 0)").await;
    bob.wait_for("alice returns", is_alice("Enter")).await;
    alice.sees_messages(&["meanwhile"]).await;
}

/// The browser takes the second message and answers pings, but no script runs, as while it keeps a page that was left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_that_no_script_saw_is_not_received() {
    let fixture = PageFixture::start().await;
    let backend = fixture.cluster.backend().await;
    let cursor = async |user: &str| {
        backend.markers.cursor(&user_name(user)).await.unwrap().map(|position| position.seq)
    };
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(0, "bob", "ops").await;
    let stops = "(window.arrived = 0, window.WebSocket = class extends WebSocket {
        set onmessage(handle) {
            super.onmessage = handle && ((event) => (window.stopped ? (arrived += event.data.includes('the second')) : handle(event)));
        }
    }, 0)";
    alice.js(stops).await;
    fixture.balancer.cut();
    alice.is_online().await;
    bob.whisper("alice", "the first").await;
    alice.unread("peer=bob", 1).await;
    // Any request tells the server.
    alice.says("hello").await;
    until("the first message is received", async || cursor("alice").await == Some(1)).await;
    alice.js("window.stopped = true").await;
    bob.whisper("alice", "the second").await;
    alice.sees("the second message has arrived", "arrived > 0").await;
    // A program that answers its pings proves that the node sends them, and writes the cursors.
    let mut carol = fixture.other(0, "carol", "den").await;
    bob.whisper("carol", "psst").await;
    carol.next("PrivateChat").await;
    carol.answers_a_ping().await;
    until("the cursors are written", async || cursor("carol").await == Some(1)).await;
    assert_eq!(cursor("alice").await, Some(1));
    alice.goes_to("about:blank").await;
    let mut alice = fixture.cluster.connect(0, "alice").await;
    alice.ok("Auth", json!({})).await;
    assert_eq!(alice.hears_privately().await, "the second");
    alice.heard_no("PrivateChat").await;
}
