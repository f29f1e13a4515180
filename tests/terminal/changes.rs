//! Edits, deletions, reactions, replies and completion on the screen of the real program.

use std::time::Duration;

use chatnode::config::Config;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind};
use crate::window::{CONTROL_C, CONTROL_R, CONTROL_T, CONTROL_U, Window};

/// The rows of the conversation, without the lists beside it.
fn said(rows: &[String]) -> Vec<String> {
    let said = rows.iter().filter_map(|row| row.split('│').nth(1)).map(|row| row.trim_end().to_owned());
    said.filter(|row| row.contains(':') || row.starts_with('↳'))
        .map(|row| row[row.find(' ').unwrap() + 1..].into())
        .collect()
}

async fn shows(ann: &Window, expected: &[&str]) {
    ann.shows_so(&format!("{expected:?}"), |rows| said(rows) == expected).await;
}

async fn react(user: &mut Client, message: &Value, reaction: &str) {
    let body =
        json!({ "room": "ops", "message_id": message["message_id"], "reaction": reaction, "on": true });
    user.ok("React", body).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_lives_on_the_screen() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let mut ann = Window::start(cluster.address(0), &["--room", "ops"]);
    ann.stands("#ops", "connected").await;
    let question = bob.say("ops", "when?").await;
    ann.shows("bob: when?").await;

    ann.types("/reply at noon, @bob\r");
    let reply = bob.wait_for("the reply", |frame| frame["message_body"]["content"] == "at noon, @bob").await;
    let reply = &reply["message_body"];
    assert_eq!((&reply["reply_to"], &reply["mentions"]), (&question["message_id"], &json!(["bob"])));
    shows(&ann, &["bob: when?", "ann (to bob: when?): at noon, @bob"]).await;

    // The newest one of her own comes into the prompt.
    ann.types("/edit\r");
    ann.prompts(&["> /edit at noon, @bob"]).await;
    ann.types("\u{17}at one\r");
    let edit = bob.next("Edit").await;
    assert_eq!(
        (&edit["content"], &edit["target"]["message_id"]),
        (&json!("at noon, at one"), &reply["message_id"])
    );
    shows(&ann, &["bob: when?", "ann (to bob: when?): at noon, at one (edited)"]).await;

    ann.types("/react 👍\r");
    assert_eq!(bob.next("React").await["target"]["message_id"], question["message_id"]);
    react(&mut bob, &question, "👍").await;
    react(&mut bob, &question, "ok").await;
    shows(&ann, &["bob: when?", "👍 2 (you) · ok 1", "ann (to bob: when?): at noon, at one (edited)"]).await;
    // The mark goes up from the newest message.
    ann.types(&CONTROL_R.repeat(2));
    ann.shows("marked bob: when?").await;
    ann.types("/unreact 👍\r");
    shows(&ann, &["bob: when?", "ok 1 · 👍 1", "ann (to bob: when?): at noon, at one (edited)"]).await;

    ann.types("/delete a typo\r");
    assert_eq!(bob.next("Retract").await["reason"], "a typo");
    shows(&ann, &["bob: when?", "ok 1 · 👍 1", "ann: (deleted: a typo)"]).await;
    ann.types("/delete\r");
    ann.shows("/delete: there is no message of yours here").await;
    ann.prompts(&["> /delete"]).await;
    ann.types(CONTROL_U);
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_edit_comes_back_into_the_prompt() {
    let short = |config: &mut Config| config.messages.edit_window = Duration::from_millis(1);
    let cluster = Cluster::start_with(Kind::Embedded, 1, short).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let mut ann = Window::start(cluster.address(0), &["--room", "ops"]);
    ann.stands("#ops", "connected").await;
    ann.types("one\r");
    ann.shows("ann: one").await;
    bob.say("ops", "mine").await;
    ann.shows("bob: mine").await;
    ann.types("/edit two\r");
    ann.shows("* not edited in #ops: the message is too old to be edited").await;
    ann.prompts(&["> /edit two"]).await;
    // It is still about the same message, until the mark moves.
    ann.shows("marked ann: one").await;
    ann.types(&format!("{CONTROL_U}{CONTROL_T}"));
    ann.shows("marked bob: mine").await;
    ann.types("/edit yours\r");
    ann.shows("* /edit: the marked message is not yours").await;
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tab_completes_commands_and_names() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let _others = [cluster.enter(0, "bob", "ops").await, cluster.enter(0, "Bo Derek", "ops").await];
    let mut ann = Window::start(cluster.address(0), &["--room", "ops", "--room", "dev"]);
    ann.stands("#ops", "connected").await;
    ann.shows_so("the members", |rows| rows.iter().any(|row| row.ends_with("│bob"))).await;
    for (keys, shown) in [
        ("/me\t", "> /members"),
        ("\u{15}/msg b\t", "> /msg Bo Derek"),
        ("\t", "> /msg bob"),
        ("\t", "> /msg b"),
        ("\u{1b}[Z", "> /msg bob"),
        ("\u{15}hello @bo\t", "> hello @Bo Derek"),
        ("\t,", "> hello @bob ,"),
    ] {
        ann.types(keys);
        ann.prompts(&[shown]).await;
    }
    ann.types("\t");
    ann.stands("#dev", "connected").await;
    ann.prompts(&[">"]).await;
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}

/// As hostile as a node lets it through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_changes_leave_the_terminal_unharmed() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut eve = cluster.enter(0, &"e\u{301}".repeat(32), "ops").await;
    let mut ann = Window::start(cluster.address(0), &["--room", "ops"]);
    ann.stands("#ops", "connected").await;
    let hostile = "\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[?1049l\u{1b}c\u{9b}31m\u{202e}\r\n12:34 ann: I resign";
    let message = eve.say("ops", hostile).await;
    let reply = json!({ "room": "ops", "content": hostile, "reply_to": message["message_id"] });
    eve.ok("GroupChat", reply).await;
    for reaction in
        ["\u{202e}\u{2066}\u{2028}x", &"e\u{301}".repeat(21), &"日".repeat(21), "12:34 ann: I resign"]
    {
        react(&mut eve, &message, reaction).await;
    }
    let last = eve.say("ops", "the last").await;
    ann.shows("the last").await;
    let retract = json!({ "room": "ops", "message_id": last["message_id"], "reason": hostile });
    eve.ok("Retract", retract).await;
    ann.shows("(deleted: ").await;
    ann.shows("(to ").await;
    ann.shows("日").await;
    assert!(!ann.is_restored(), "the screen of the chat is still there");
    assert!(!said(&ann.rows()).iter().any(|row| row.starts_with("ann: I resign")), "{:#?}", ann.rows());
    ann.types("still here\r");
    eve.wait_for("a message", |frame| frame["message_body"]["content"] == "still here").await;
    ann.shows("ann: still here").await;
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}
