//! Lists that are larger than one frame: the page follows them to their end.

use chatnode::protocol::MessageId;

use super::page_fixture::PageFixture;
use crate::support::backend::{room_name, user_name};

/// A name of the maximum length, in characters of four bytes: 120 of them fill a page.
fn long_name(number: usize) -> String {
    format!("{number:04}{}", "\u{1d538}".repeat(60))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_all_pages_are_online() {
    let fixture = PageFixture::start().await;
    let backend = fixture.cluster.backend().await;
    backend.presence.renew().await.unwrap();
    for number in 0..300 {
        let member = user_name(&long_name(number));
        backend.presence.add(&room_name("ops"), &member, bytes::Bytes::new()).await.unwrap();
    }
    // The last name of all: it is on the last page.
    let mut zoe = fixture.other(1, "zoe", "ops").await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    alice.reads("#subtitle", "302 online").await;
    zoe.whisper("alice", "hi").await;
    alice.opens("peer=zoe").await;
    alice.reads("#subtitle", "Online").await;
    zoe.leave().await;
    alice.sees("zoe is gone", "document.getElementById('subtitle').textContent === ''").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markers_of_all_pages_count_as_read() {
    let fixture = PageFixture::start().await;
    let backend = fixture.cluster.backend().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    let read: MessageId = bob.whisper("alice", "one").await["message_id"].as_str().unwrap().parse().unwrap();
    bob.whisper("alice", "two").await;
    alice.unread("peer=bob", 2).await;
    // Alice reads the first message on another device, and then those of so many others that the answer to `Auth` has no
    // room for the marker of bob.
    fixture.balancer.shut();
    let name = user_name("alice");
    backend.markers.mark_private(&name, &user_name("bob"), read).await.unwrap();
    for number in 0..300 {
        backend.markers.mark_private(&name, &user_name(&long_name(number)), read).await.unwrap();
    }
    fixture.balancer.open();
    alice.unread("peer=bob", 1).await;
}
