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
    alice.types("#draft", "before").await;
    // Not drained: as a kill ends it.
    drop(house.cluster.nodes.remove(0));
    alice.types("#draft", &format!(" 2{ENTER}")).await;
    alice.says("after 3").await;
    alice.types("#draft", "half a sen").await;
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(bob.hears().await);
    }
    assert_eq!(heard, ["before 1", "before 2", "after 3"]);
    bob.say("ops", "still there?").await;
    alice.sees_messages(&["before 1", "before 2", "after 3", "still there?"]).await;
    alice.says("tence").await;
    assert_eq!(bob.hears().await, "still there?");
    assert_eq!(bob.hears().await, "half a sentence");
    bob.heard_no("GroupChat").await;
    alice.sees("nothing waits", "document.querySelectorAll('.line.stored.mine').length === 4").await;
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
