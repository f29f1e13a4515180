//! Replies and free reactions on the page, by real keys and clicks.

use serde_json::{Value, json};

use super::page_fixture::PageFixture;
use super::person::{ENTER, Person, SHIFT};

const TAB: &str = "\u{e004}";
const ESCAPE: &str = "\u{e00c}";
const END: &str = "\u{e010}";
/// Deletes the selected text.
const DELETE: &str = "\u{e017}";

/// What stands above the text of each message that answers another.
const QUOTES: &str = "[...document.querySelectorAll('.answered')].map((quote) => quote.querySelector(':scope > :last-child').textContent)";
const FOUND: &str = "document.querySelector('.found')?.querySelector('.text').textContent";

async fn sees_quotes(person: &Person<'_>, wanted: Value) {
    person
        .sees(
            &format!("the quotes {wanted}"),
            &format!("JSON.stringify({QUOTES}) === {}", json!(wanted.to_string())),
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reply_shows_and_leads_to_what_it_answers() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    let question = bob.say("ops", "**shall** we\nstart? <b>").await["message_id"].clone();
    alice.sees_messages(&["shall we\nstart? <b>"]).await;
    // To the newest message, its menu, its first entry.
    alice.clicks("#draft").await;
    alice.presses(&[SHIFT, TAB]).await;
    for _ in 0..2 {
        alice.presses(&[ENTER]).await;
    }
    alice.sees("the text field has the focus", "document.activeElement.id === 'draft'").await;
    alice.reads("#context-text", "You answer bob: shall we start? <b>").await;
    alice.sees("a reload keeps it", "JSON.stringify(sessionStorage).includes('answering')").await;
    alice.reloads().await;
    alice.is_online().await;
    alice.reads("#context-text", "You answer bob: shall we start? <b>").await;
    alice.says("yes").await;
    assert_eq!(
        bob.wait_for("the reply", |frame| frame["message_body"]["content"] == "yes").await["message_body"]["reply_to"],
        question
    );
    alice.sees("nothing is answered any more", "document.getElementById('context').hidden").await;
    sees_quotes(&alice, json!(["shall we start? <b>"])).await;

    // By keys to the quote and to the message that it names; by a click back to the text field without an answer.
    alice.sees("the reply is stored", "document.querySelector('.stored.mine') !== null").await;
    alice.presses(&[SHIFT, TAB]).await;
    alice.presses(&[SHIFT, TAB]).await;
    assert_eq!(alice.js("document.activeElement.className").await, "answered");
    alice.presses(&[ENTER]).await;
    alice.sees("the question is found", &format!("{FOUND} === 'shall we\\nstart? <b>'")).await;
    assert_eq!(alice.js("document.activeElement.closest('.found') !== null").await, true);
    for cancel in ["key", "click"] {
        alice.clicks("#timeline > li:first-child .more").await;
        alice.clicks("[role=menu] button").await;
        alice.reads("#context-text", "You answer bob").await;
        if cancel == "key" {
            alice.presses(&[ESCAPE]).await
        } else {
            alice.clicks("#cancel").await
        }
        alice.sees("the answer is cancelled", "document.getElementById('context').hidden").await;
    }
    alice.says("alone").await;
    let frame = bob.wait_for("the message", |frame| frame["message_body"]["content"] == "alone").await;
    assert_eq!(frame["message_body"]["reply_to"], json!(null));

    // What is answered was taken back, or is unknown.
    let unknown = "00000000-0000-7000-8000-000000000000";
    bob.ok("GroupChat", json!({ "room": "ops", "content": "old", "reply_to": unknown })).await;
    bob.ok("Retract", json!({ "room": "ops", "message_id": question })).await;
    sees_quotes(&alice, json!(["This message was deleted.", "A message that is not loaded yet"])).await;
    alice.clicks("#timeline > li:last-child .answered").await;
    alice.reads("#notice", "The message is not here any more.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn free_reaction_is_chosen_by_keys_and_clicks() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    let id = bob.say("ops", "done").await["message_id"].clone();
    alice.sees_messages(&["done"]).await;
    alice.clicks("#draft").await;
    alice.presses(&[SHIFT, TAB]).await;
    for key in [ENTER, END, ENTER] {
        alice.presses(&[key]).await;
    }
    assert_eq!(alice.js("document.activeElement.tagName").await, "INPUT");
    // What the server refuses is shown where it was written.
    alice.types("form.menu input", &format!("{}{ENTER}", "y".repeat(65))).await;
    alice.reads("form.menu .problem", "A reaction is one emoji or a short text.").await;
    alice.js("document.querySelector('form.menu input').select()").await;
    alice.types("form.menu input", &format!("{DELETE} lgtm {ENTER}")).await;
    let chip = |label: &str, pressed: bool| {
        format!(
            "(({{ ariaLabel, ariaPressed }}) => ariaLabel === {} && ariaPressed === '{pressed}')
            (document.querySelector('.chosen') ?? {{}})",
            json!(label)
        )
    };
    alice.sees("the reaction is chosen", &chip("lgtm: 1. You", true)).await;
    alice.sees("the field is closed", "!document.querySelector('form.menu')").await;
    assert_eq!(alice.js("document.activeElement.className").await, "more");
    bob.ok("React", json!({ "room": "ops", "message_id": id, "reaction": "lgtm", "on": true })).await;
    alice.sees("both are named", &chip("lgtm: 2. You, bob", true)).await;
    alice.clicks(".chosen").await;
    alice.sees("the own reaction is gone", &chip("lgtm: 1. bob", false)).await;
    alice.presses(&[ENTER]).await;
    alice.sees("it is back", &chip("lgtm: 2. You, bob", true)).await;
    // After a reload, only the server's number is known.
    alice.reloads().await;
    alice.is_online().await;
    alice.sees("the number stays", &chip("lgtm: 2. You, 1 more", true)).await;
    alice.sees("the text field has the focus", "document.activeElement.id === 'draft'").await;
    alice.clicks("#timeline .more").await;
    alice.presses(&["W"]).await;
    alice.presses(&[ENTER]).await;
    alice.reads("[role=dialog].menu", "lgtm 2: You, 1 more").await;
    alice.presses(&[ESCAPE]).await;
    assert_eq!(alice.js("document.activeElement.className").await, "more");
}
