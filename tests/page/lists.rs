//! Lists that are larger than one frame: the page follows them to their end.

use chatnode::backend::Move;
use chatnode::config::Config;
use chatnode::protocol::MessageId;
use serde_json::json;

use super::looks::fits;
use super::page_fixture::PageFixture;
use super::person::ENTER;
use crate::support::backend::{room_name, user_name};
use crate::support::cluster::Kind;

const TAB: &str = "\u{e004}";

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
async fn dialog_shows_the_rooms_that_the_settings_list() {
    let listed =
        |config: &mut Config| config.rooms.listed = ["<b>bold</b>", "team-*"].map(str::to_owned).into();
    let fixture = PageFixture::start_with(Kind::Embedded, listed).await;
    let mut others = Vec::new();
    for name in ["bob", "carol"] {
        let mut other = fixture.other(1, name, "team-10").await;
        other.ok("Enter", json!({ "room": if name == "bob" { "team-2" } else { "secret" } })).await;
        others.push(other);
    }
    let alice = fixture.person(0, "alice", "room=ops").await;
    alice.clicks("#go").await;
    let rows = "[...document.querySelectorAll('#listed-rooms a')].map((row) => row.innerText.replace(/\\s+/g, ' ')).join()";
    alice
        .sees(
            "the rooms",
            &format!("{rows} === '# <b>bold</b> 0 online,# team-2 1 online,# team-10 2 online'"),
        )
        .await;
    alice.types("#find", "2").await;
    alice.sees("those that match", &format!("{rows} === '# team-2 1 online'")).await;
    alice.has_screen(320, 560, false).await;
    fits(&alice).await;
    // From the field over its two buttons to the room.
    for key in [TAB, TAB, TAB, ENTER] {
        alice.presses(&[key]).await;
    }
    alice.reads("#title", "#team-2").await;
    alice.sees("the dialog is closed", "!document.getElementById('switcher').open").await;
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
    backend.markers.mark_private(&name, &user_name("bob"), read, Move::Forward).await.unwrap();
    for number in 0..300 {
        backend
            .markers
            .mark_private(&name, &user_name(&long_name(number)), read, Move::Forward)
            .await
            .unwrap();
    }
    fixture.balancer.open();
    alice.unread("peer=bob", 1).await;
}
