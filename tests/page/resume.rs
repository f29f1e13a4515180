//! Connections that break, and a page that is loaded anew: nothing is lost, nothing comes twice, nothing typed is gone.

use super::house::House;
use super::person::{ENTER, Person};

/// `count` texts that begin alike.
fn texts(start: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{start} {number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_ends_while_somebody_types_is_a_hiccup() {
    let mut house = House::start().await;
    let mut bob = house.other(1, "bob", "ops").await;
    house.door.prefer(house.cluster.address(0));
    let alice = Person::signs_in(&house.browser, &house.link("room=ops"), "alice").await;
    alice.says("before 1").await;
    assert_eq!(bob.hears().await, "before 1");
    alice.sees("it is acknowledged", "document.querySelectorAll('.line.stored.mine').length === 1").await;
    // Stored, and the page will never hear of it from this node.
    house.door.mute();
    alice.says("before 2").await;
    assert_eq!(bob.hears().await, "before 2");
    alice.types("#draft", "half a sen").await;
    // Not drained: as a kill ends it.
    drop(house.cluster.nodes.remove(0));
    house.door.cut();
    alice.types("#draft", &format!("tence{ENTER}")).await;
    assert_eq!(bob.hears().await, "half a sentence");
    bob.say("ops", "still there?").await;
    assert_eq!(bob.hears().await, "still there?");
    alice.sees_messages(&["before 1", "before 2", "half a sentence", "still there?"]).await;
    alice.sees("nothing waits", "document.querySelectorAll('.line.stored.mine').length === 3").await;
    bob.heard_no("GroupChat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_is_told_so_and_catches_up() {
    let house = House::start().await;
    let alice = house.person(0, "alice", "room=ops").await;
    let mut bob = house.other(1, "bob", "ops").await;
    bob.say("ops", "the last before").await;
    alice.sees_messages(&["the last before"]).await;
    house.door.prefer(house.cluster.address(1));
    house.door.shut();
    alice.says("from afar").await;
    for text in texts("missed", 12) {
        bob.say("ops", &text).await;
    }
    alice.reads("#banner-text", "Trying again in").await;
    assert!(house.door.turned_away() > 0);
    house.door.open();
    // The countdown may end by itself just now.
    alice.js("document.getElementById('retry').click()").await;
    alice.reads("#banner-text", "Back, 12 caught up.").await;
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
async fn a_reload_keeps_rooms_drafts_and_unsent_messages() {
    let house = House::start().await;
    let alice = house.person(0, "alice", "room=ops").await;
    let mut bob = house.other(1, "bob", "ops").await;
    alice.says("stored").await;
    assert_eq!(bob.hears().await, "stored");
    alice.opens("room=tea").await;
    alice.types("#draft", "a draft for tea").await;
    alice.opens("room=ops").await;
    house.door.shut();
    alice.says("unsent one").await;
    alice.says("unsent two").await;
    alice.sees("both wait", "document.querySelectorAll('.line.waiting').length === 2").await;

    alice.reloads().await;
    alice.sees("both wait still", "document.querySelectorAll('.line.waiting').length === 2").await;
    alice.reads("#rooms", "tea").await;
    bob.heard_no("GroupChat").await;
    house.door.open();
    alice.is_online().await;
    assert_eq!(bob.hears().await, "unsent one");
    assert_eq!(bob.hears().await, "unsent two");
    alice.sees("nothing waits", "document.querySelectorAll('.line.stored.mine').length === 3").await;
    alice.sees_messages(&["stored", "unsent one", "unsent two"]).await;
    bob.heard_no("GroupChat").await;
    alice.opens("room=tea").await;
    assert_eq!(alice.js("document.getElementById('draft').value").await, "a draft for tea");
}
