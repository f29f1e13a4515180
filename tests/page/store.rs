//! A store that is away, comes back empty, or holds what no node wrote: the page says what it knows, and no more.

use serde_json::json;

use super::house::House;
use crate::support::cluster::Kind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_sent_is_not_called_unsent_and_an_empty_store_is_told() {
    let mut house = House::start_with(Kind::Redis, |_| {}).await;
    let mut bob = house.other(1, "bob", "ops").await;
    {
        let alice = house.person(0, "alice", "room=ops").await;
        alice.says("before").await;
        assert_eq!(bob.hears().await, "before");
        house.cluster.redis_server().stop();
        alice.says("perhaps").await;
        let unknown = "document.querySelector('.line.waiting')";
        alice.sees("no answer came", &format!("{unknown} !== null")).await;
        // A minute later.
        alice.js("(window.now = Date.now, Date.now = () => now() + 61_000)").await;
        alice.reads(".failure", "It may have been sent. The server can’t store messages right now.").await;
        assert_eq!(alice.js("document.querySelectorAll('.failure button').length").await, 3);
        house.cluster.redis_server().cont();
        // Its copy comes: it was.
        assert_eq!(bob.hears().await, "perhaps");
        alice.sees("it is stored", "document.querySelectorAll('.line.stored.mine').length === 2").await;
        alice.sees_messages(&["before", "perhaps"]).await;
        alice.js("Date.now = now").await;
    }

    let alice = house.person(0, "anna", "room=ops").await;
    alice.notes("notice", "document.getElementById('notice').textContent").await;
    house.cluster.redis_server().command(&["FLUSHALL"]).unwrap();
    bob.say("ops", "afresh").await;
    alice.reads(".gap", "The server’s log was set back.").await;
    alice
        .sees(
            "it stands before what came after",
            "[...document.querySelectorAll('#timeline .text')].at(-1).textContent === 'afresh'",
        )
        .await;
    bob.whisper("anna", "psst").await;
    alice.unread("peer=bob", 1).await;
    alice.sees("the private log's gap is told", "told.includes('Private messages may be missing.')").await;
    house.cluster.redis().kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_can_not_be_read_is_not_called_caught_up() {
    let house = House::start_with(Kind::Redis, |_| {}).await;
    let redis = |words: &[&str]| house.cluster.redis_server().command(words).unwrap();
    let alice = house.person(0, "alice", "room=bad").await;
    alice.says("before").await;
    alice.sees("it is stored", "document.querySelectorAll('.line.stored.mine').length === 1").await;
    alice.notes("banner-text", "document.getElementById('banner-text').textContent").await;
    redis(&["RENAME", "chat:{r:bad}:meta", "aside"]);
    redis(&["SET", "chat:{r:bad}:meta", "x"]);
    // To the node that does not know the room yet.
    house.door.prefer(house.cluster.address(1));
    house.door.cut();
    alice.reads("#banner-text", "Not in #bad yet: what the cluster's store holds here can't be read").await;
    alice.says("later").await;
    alice.sees("it waits", "document.querySelectorAll('.line.waiting').length === 1").await;
    let told = alice.js("told").await;
    assert!(!told.to_string().contains("Back"), "{told}");
    redis(&["DEL", "chat:{r:bad}:meta"]);
    redis(&["RENAME", "aside", "chat:{r:bad}:meta"]);
    alice.sees("it is stored", "document.querySelectorAll('.line.stored.mine').length === 2").await;
    alice.sees_messages(&["before", "later"]).await;
    alice.reads("#banner-text", "Back, ").await;
    alice.sees("nothing is wrong any more", "document.getElementById('banner').hidden").await;
    assert_eq!(alice.js("document.querySelectorAll('.gap').length").await, json!(0));
}
