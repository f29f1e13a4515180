//! Who is there, and who has read what: also where the connection breaks before it was said.

use serde_json::json;

use super::page_fixture::PageFixture;

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
    let own = bob.wait_for("her answer", |frame| frame["message_body"]["content"] == "my own").await;
    alice.sees("it is sent", "document.querySelectorAll('.line.stored.mine').length === 1").await;
    bob.ok("Read", json!({ "target_username": "alice", "message_id": own["message_body"]["message_id"] }))
        .await;
    alice.sees("it is read", "document.querySelectorAll('.line.read.mine').length === 1").await;

    // Read, and the connection is gone before that is told.
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
    bob.wait_for("she comes in", presence("Enter")).await;
    alice.clicks("#leave").await;
    bob.wait_for("she leaves", presence("Leave")).await;
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
    // The room that he is in was asked as well.
    alice.sees("bob is online", "document.querySelector('#peers .dot.here') !== null").await;
    fixture.balancer.cut();
    alice.says("back").await;
    alice.sees("it is stored", "document.querySelectorAll('.line.stored.mine').length === 1").await;
    alice.sees("bob is online again", "document.querySelector('#peers .dot.here') !== null").await;
    // Whom no room of hers has is not shown as absent.
    let mut carol = fixture.other(1, "carol", "den").await;
    carol.whisper("alice", "psst").await;
    alice.sees("carol is in the list", "document.querySelectorAll('#peers a').length === 2").await;
    assert_eq!(alice.js("document.querySelectorAll('#peers .dot').length").await, 1);
}
