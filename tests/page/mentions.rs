//! Mentions on the page: the list of names behind an @, with real keys and clicks, and how a message shows them.

use serde_json::{Value, json};

use super::page_fixture::PageFixture;
use super::person::{ENTER, Person};
use crate::support::client::Client;

const TAB: &str = "\u{e004}";
const ESCAPE: &str = "\u{e00c}";
const UP: &str = "\u{e013}";
const DOWN: &str = "\u{e015}";

/// What a screen reader has of the text field: its role, its state, the active option.
const FIELD: &str = "(({ role, ariaExpanded }) => [role, ariaExpanded,
    document.getElementById(document.getElementById('draft').getAttribute('aria-activedescendant'))?.innerText.split('\\n').at(-1) ?? null,
    document.querySelectorAll('#suggestions:not([hidden]) [role=option]').length])(document.getElementById('draft'))";
const DRAFT: &str = "document.getElementById('draft').value";

async fn offers(person: &Person<'_>, active: &str, count: u32) {
    let wanted = json!(["combobox", "true", active, count]).to_string();
    person.sees(&wanted, &format!("JSON.stringify({FIELD}) === {}", json!(wanted))).await;
}

async fn hears(person: &mut Client, text: &str) -> Value {
    let frame = person.wait_for(text, |frame| frame["message_body"]["content"] == text).await;
    frame["message_body"]["mentions"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chosen_names_are_mentioned_and_marked() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    let _others = [fixture.other(1, "Bob Adams", "ops").await, fixture.other(0, "Carol", "ops").await];
    alice.sees("all are members", "document.querySelectorAll('#members a').length === 4").await;
    alice.types("#draft", "hi @").await;
    offers(&alice, "bob", 3).await;
    alice.types("#draft", "bo").await;
    offers(&alice, "bob", 2).await;
    for (key, active) in [(DOWN, "Bob Adams"), (DOWN, "bob"), (UP, "Bob Adams")] {
        alice.presses(&[key]).await;
        offers(&alice, active, 2).await;
    }
    alice.presses(&[ENTER]).await;
    assert_eq!(alice.js(DRAFT).await, "hi @Bob Adams ");
    assert_eq!(alice.js(FIELD).await, json!([null, null, null, 0]));
    // Part of a later word of a name; and a name that is written but not chosen.
    alice.types("#draft", "@ada").await;
    offers(&alice, "Bob Adams", 1).await;
    alice.presses(&[ESCAPE]).await;
    assert_eq!(alice.js(FIELD).await, json!([null, null, null, 0]));
    alice.types("#draft", "m @ca").await;
    offers(&alice, "Carol", 1).await;
    alice.presses(&[TAB]).await;
    assert_eq!(alice.js(DRAFT).await, "hi @Bob Adams @adam @Carol ");
    assert_eq!(alice.js("document.activeElement.id").await, "draft");
    alice.types("#draft", &format!("@bobby{ENTER}")).await;
    let text = "hi @Bob Adams @adam @Carol @bobby";
    assert_eq!(hears(&mut bob, text).await, json!(["Bob Adams", "Carol"]));
    let marked = "[...document.querySelectorAll('.mention')].map((mention) => mention.textContent)";
    assert_eq!(alice.js(marked).await, json!(["@Bob Adams", "@Carol"]));
    // By a click; a name that was deleted from the text is not mentioned.
    alice.types("#draft", "@ca").await;
    alice.clicks("#suggestions [role=option]").await;
    alice.types("#draft", "\u{e003}\u{e003} @bo").await;
    offers(&alice, "bob", 2).await;
    alice.clicks("#suggestions [role=option]").await;
    alice.presses(&[ENTER]).await;
    assert_eq!(hears(&mut bob, "@Caro @bob").await, json!(["bob"]));

    // Oneself is marked otherwise; code and longer words are none.
    let text = "@alice, `@alice` x@alice @alice2 @bob";
    bob.ok("GroupChat", json!({ "room": "ops", "content": text, "mentions": ["alice", "bob"] })).await;
    alice.reads("#timeline > li:last-child .bubble", "mentions you").await;
    let last = "[...document.querySelectorAll('#timeline > li:last-child .mention')].map((mention) => [mention.textContent, mention.className])";
    assert_eq!(alice.js(last).await, json!([["@alice", "mention own"], ["@bob", "mention"]]));
}
