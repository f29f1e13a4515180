//! The menu of a message: keys, focus, what it copies; and links to messages.

use serde_json::json;

use super::page_fixture::PageFixture;
use super::person::{ENTER, Person, SHIFT};

const TAB: &str = "\u{e004}";
const ESCAPE: &str = "\u{e00c}";
const UP: &str = "\u{e013}";
const DOWN: &str = "\u{e015}";
const HOME: &str = "\u{e011}";
const END: &str = "\u{e010}";

/// The text of the message whose button has the focus.
const FOCUSED: &str = "document.activeElement.closest('.line')?.querySelector('.text').textContent ?? ''";
/// The entry that has the focus.
const ENTRY: &str = "document.activeElement.closest('[role=menu]') && document.activeElement.textContent";

/// The menu is inside the window.
const INSIDE: &str = "(({ left, top, right, bottom }) => left >= 0 && top >= 0 && right <= innerWidth
    && bottom <= innerHeight)(document.querySelector('[role=menu]').getBoundingClientRect())";

async fn records_copies(person: &Person<'_>) {
    person.js("(navigator.clipboard.writeText = async (text) => { window.copied = text }, 0)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_reach_the_menu_of_every_message() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    records_copies(&alice).await;
    for text in ["one", "**two**\n> lines", "three"] {
        bob.say("ops", text).await;
    }
    alice.sees_messages(&["one", "twolines", "three"]).await;
    // One stop for the Tab key, at the newest message; arrows go on from there.
    alice.clicks("#draft").await;
    alice.presses(&[SHIFT, TAB]).await;
    assert_eq!(alice.js(FOCUSED).await, "three");
    for (key, text) in [(UP, "twolines"), (HOME, "one"), (UP, "one"), (END, "three"), (UP, "twolines")] {
        alice.presses(&[key]).await;
        assert_eq!(alice.js(FOCUSED).await, text);
    }
    assert_eq!(alice.js("document.querySelectorAll('.more[tabindex=\"0\"]').length").await, 1);
    alice.presses(&[ENTER]).await;
    assert_eq!(alice.js(ENTRY).await, "Reply");
    for (key, entry) in [
        (UP, "Another reaction…"),
        (DOWN, "Reply"),
        (END, "Another reaction…"),
        (HOME, "Reply"),
        ("c", "Copy text"),
        ("c", "Copy link to message"),
    ] {
        alice.presses(&[key]).await;
        assert_eq!(alice.js(ENTRY).await, entry);
    }
    // A new message builds the line anew: the focus still returns to its button.
    alice.js("(window.line = document.querySelectorAll('#timeline > li')[1], 0)").await;
    bob.tell("Typing", json!({ "room": "ops" })).await;
    bob.say("ops", "four").await;
    alice.sees_messages(&["one", "twolines", "three", "four"]).await;
    alice.presses(&[ESCAPE]).await;
    assert_eq!(alice.js("document.querySelectorAll('[role=menu]').length").await, 0);
    assert_eq!(alice.js(FOCUSED).await, "twolines");
    assert_eq!(alice.js("document.querySelectorAll('[aria-expanded=true].more').length").await, 0);
    for key in [ENTER, "c", ENTER] {
        alice.presses(&[key]).await;
    }
    alice.reads("#notice", "Text copied.").await;
    assert_eq!(alice.js("copied").await, "**two**\n> lines", "the text as it was written");
    assert_eq!(alice.js(FOCUSED).await, "twolines");
    // A line that is built anew keeps the focus.
    alice.presses(&[END]).await;
    assert_eq!(alice.js(FOCUSED).await, "four");
    bob.say("ops", "five").await;
    alice.sees_messages(&["one", "twolines", "three", "four", "five"]).await;
    assert_eq!(alice.js(FOCUSED).await, "four");

    // By pointer: a second click closes it, and so does one elsewhere; a message that is not stored has no link.
    let open = "document.querySelectorAll('[role=menu]').length === 1";
    alice.clicks("#timeline > li:last-child .more").await;
    alice.sees("the menu is open", open).await;
    alice.clicks("#timeline > li:last-child .more").await;
    alice.sees("the menu is closed", &format!("!({open})")).await;
    alice.clicks("#timeline > li:last-child .more").await;
    alice.clicks("#title").await;
    alice.sees("the menu is closed", &format!("!({open})")).await;
    fixture.balancer.shut();
    alice.says("waits").await;
    alice.sees("the message waits", "document.querySelectorAll('.line.waiting').length === 1").await;
    alice.clicks("#timeline > li:last-child .more").await;
    let entries = "[...document.querySelectorAll('[role=menuitem]')].map((entry) => entry.textContent)";
    assert_eq!(alice.js(entries).await, json!(["Copy text"]));

    // On a small screen, and in the other direction, the menu is inside the window.
    alice.presses(&[ESCAPE]).await;
    alice.has_screen(320, 480, false).await;
    // A menu survives another size of the window, as when the keyboard of a phone goes, and stays inside it.
    alice.js("document.querySelector('#timeline > li:last-child .more').click()").await;
    alice.has_screen(340, 320, false).await;
    alice.sees("the menu is inside the smaller window", INSIDE).await;
    alice.presses(&[ESCAPE]).await;
    alice.has_screen(320, 480, false).await;
    for direction in ["ltr", "rtl"] {
        alice.js(&format!("document.documentElement.dir = '{direction}'")).await;
        for message in ["li", "li:last-child"] {
            alice.js(&format!("document.querySelector('#timeline > {message} .more').click()")).await;
            assert_eq!(alice.js(INSIDE).await, true, "{message} {direction}");
            alice.presses(&[ESCAPE]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn link_to_a_message_opens_its_place() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    records_copies(&alice).await;
    bob.say("ops", "the first").await;
    alice.sees_messages(&["the first"]).await;
    alice.clicks("#timeline .more").await;
    alice.clicks("[role=menu] button:nth-child(3)").await;
    alice.reads("#notice", "Link copied.").await;
    let link = alice.js("copied").await.as_str().unwrap().to_owned();
    assert!(link.starts_with(&fixture.link("room=ops&message=")), "{link}");
    // More than the page loads when it enters the room.
    bob.say_many("ops", "one of many", 150).await;

    let carol = Person::signs_in(&fixture.browser, &link, "carol").await;
    let is_found = "document.querySelector('.found')?.closest('li').querySelector('.text').textContent === 'the first'
        && document.activeElement.closest('.found') !== null
        && (({ top, bottom }) => top > 0 && bottom < innerHeight)(document.querySelector('.found').getBoundingClientRect())";
    carol.sees("the message is on the screen", is_found).await;
    assert_eq!(carol.js("location.hash").await, "#room=ops", "the same link can be opened again");
    // Messages that arrive do not move the view away from it.
    bob.say("ops", "one more").await;
    carol.reads("#jump", "1 new").await;
    carol.sees("the message is still on the screen", is_found).await;

    // A message that the server no longer has, or never had.
    let gone = "room=ops&message=00000000-0000-7000-8000-000000000000";
    carol.js(&format!("location.hash = '{gone}'")).await;
    carol.reads("#notice", "The message is not here any more.").await;
    assert_eq!(carol.js("document.getElementById('title').textContent").await, "#ops");
    // A room with a name that looks like such a link, from a link that was written by hand.
    carol.js("location.hash = 'room=R&D&message=1'").await;
    carol.reads("#title", "#R&D&message=1").await;
}
