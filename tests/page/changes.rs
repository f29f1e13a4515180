//! Edits, deletions and reactions on the page: those of others, and those that its user makes by the menu.

use serde_json::json;

use super::page_fixture::PageFixture;
use super::person::{ENTER, Person};

const ESCAPE: &str = "\u{e00c}";

/// Opens the menu of the message with this index, and chooses the entry with this text.
async fn chooses(person: &Person<'_>, index: usize, entry: &str) {
    let button = format!("#timeline > li:nth-child({}) .more", index + 1);
    person.clicks(&button).await;
    let find = format!(
        "[...document.querySelectorAll('[role=menuitem]')].find((item) => item.textContent === {})",
        json!(entry)
    );
    person.sees(&format!("the menu has {entry}"), &format!("!!{find}")).await;
    person.js(&format!("({find}.click(), 0)")).await;
}

/// What stands below the message with this index.
fn reactions(index: usize) -> String {
    format!(
        "[...document.querySelectorAll('#timeline > li:nth-child({}) .chosen')].map((shown) => shown.textContent).join()",
        index + 1
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_others_are_shown_and_stay_after_a_reload() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    let mut sent = Vec::new();
    for text in ["hi there", "secret", "<b>hi</b>"] {
        sent.push(bob.say("ops", text).await["message_id"].clone());
    }
    alice.sees_messages(&["hi there", "secret", "<b>hi</b>"]).await;
    let change = |index: usize| json!({ "room": "ops", "message_id": sent[index] });
    let with = |index: usize, more: serde_json::Value| {
        let mut body = change(index);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    bob.ok("Edit", with(0, json!({ "content": "hello **you**" }))).await;
    bob.ok("Retract", change(1)).await;
    for reaction in ["👍", "constructor"] {
        bob.ok("React", with(2, json!({ "reaction": reaction, "on": true }))).await;
    }
    let shown = ["hello you", "This message was deleted.", "<b>hi</b>"];
    for _ in 0..2 {
        alice.sees_messages(&shown).await;
        alice.sees("the reactions", &format!("{} === 'constructor 1,👍 1'", reactions(2))).await;
        alice.reads("#timeline > li:first-child .meta", "edited").await;
        alice.reloads().await;
        alice.is_online().await;
    }
    // A change is not unread.
    alice.opens("room=other").await;
    alice.is_online().await;
    bob.ok("React", with(2, json!({ "reaction": "👍", "on": false }))).await;
    bob.say("ops", "news").await;
    alice.unread("room=ops", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_edits_deletes_and_reacts_by_the_menu() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    bob.say("ops", "question").await;
    alice.says("first answer").await;
    alice.says("wrong room").await;
    alice.sees_messages(&["question", "first answer", "wrong room"]).await;
    alice.sees("all are stored", "!document.querySelector('.line.waiting, .line.sending')").await;

    chooses(&alice, 0, "React with 👍").await;
    alice.sees("the reaction", &format!("{} === '👍 1'", reactions(0))).await;
    assert_eq!(bob.next("React").await["reaction"], "👍");
    chooses(&alice, 0, "Take back 👍").await;
    alice.sees("no reaction", &format!("{} === ''", reactions(0))).await;

    // The draft waits while a message is edited.
    alice.types("#draft", "draft").await;
    chooses(&alice, 1, "Edit").await;
    alice.sees("the text is in the field", "document.getElementById('draft').value === 'first answer'").await;
    alice.reads("#context-text", "You edit a message.").await;
    alice.presses(&[ESCAPE]).await;
    alice.sees("the draft is back", "document.getElementById('draft').value === 'draft'").await;
    chooses(&alice, 1, "Edit").await;
    alice.js("(document.getElementById('draft').value = 'answer', 0)").await;
    alice.presses(&[ENTER]).await;
    alice.sees_messages(&["question", "answer", "wrong room"]).await;
    alice.sees("the draft is back", "document.getElementById('draft').value === 'draft'").await;
    assert_eq!(bob.next("Edit").await["content"], "answer");

    chooses(&alice, 2, "Delete").await;
    alice.sees_messages(&["question", "answer", "This message was deleted."]).await;
    bob.next("Retract").await;
    // Nothing can be done with it any more, and nothing but reactions with the messages of others.
    let entries = "[...document.querySelectorAll('[role=menuitem]')].map((entry) => entry.textContent)";
    for (index, wanted) in [
        (3, json!(["Copy link to message"])),
        (
            1,
            json!([
                "Reply",
                "Copy text",
                "Copy link to message",
                "React with 👍",
                "React with ❤️",
                "React with 😂",
                "React with 🎉",
                "Another reaction…"
            ]),
        ),
    ] {
        alice.clicks(&format!("#timeline > li:nth-child({index}) .more")).await;
        assert_eq!(alice.js(entries).await, wanted);
        alice.presses(&[ESCAPE]).await;
    }
}
