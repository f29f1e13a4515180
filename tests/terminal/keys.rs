//! Keys, pasted text and the wheel.

use serde_json::Value;

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind};
use crate::support::fake_balancer::FakeBalancer;
use crate::window::{
    BACK_TAB, CONTROL_A, CONTROL_C, CONTROL_U, CONTROL_Y, DOWN, UP, WHEEL_DOWN, WHEEL_UP, Window, pasted,
};

async fn ann_and_bob(cluster: &Cluster) -> (Window, Client) {
    let bob = cluster.enter(0, "bob", "ops").await;
    let ann = Window::start(cluster.address(0), &["--room", "ops"]);
    ann.stands("#ops", "connected").await;
    (ann, bob)
}

async fn quits(mut ann: Window) {
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pasted_text_stays_one_message_of_several_lines() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let (mut ann, mut bob) = ann_and_bob(&cluster).await;
    ann.types(&pasted("fn main() {\n\tgo();\n}"));
    ann.prompts(&["> fn main() {", "   go();", "  }"]).await;
    // A new line by hand, and an end of the text without one.
    ann.types("\u{1b}\rmore\n\r");
    assert_eq!(bob.hears().await, "fn main() {\n\tgo();\n}\nmore");
    ann.shows_so("its lines", |rows| {
        let rows: Vec<&str> = rows.iter().map(|row| row.split('│').nth(1).unwrap_or("").trim_end()).collect();
        rows.windows(4)
            .any(|rows| rows[0].ends_with("ann: fn main() {") && rows[1..] == ["⏎  go();", "⏎ }", "⏎ more"])
    })
    .await;
    quits(ann).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_text_comes_back_into_the_prompt() {
    let adjust = |config: &mut chatnode::config::Config| config.limits.max_content_bytes = 40;
    let cluster = Cluster::start_with(Kind::Embedded, 1, adjust).await;
    let (mut ann, mut bob) = ann_and_bob(&cluster).await;
    ann.types("/no-such dev\r");
    ann.shows("unknown command").await;
    ann.prompts(&["> /no-such dev"]).await;
    ann.types(CONTROL_U);
    let long = format!("/{}", "a long path/".repeat(5));
    ann.types(&format!("/{long}\r"));
    ann.shows("the text is back in the prompt").await;
    ann.prompts(&[&format!("> /{}", long.trim_end())]).await;
    ann.types(CONTROL_U);
    ann.types("next\r");
    assert_eq!(bob.hears().await, "next");
    ann.shows("ann: next").await;
    quits(ann).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_of_a_closed_conversation_is_in_the_history() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0)]).await;
    let mut ann = Window::start(balancer.address, &["--room", "dev", "--room", "ops"]);
    ann.stands("#dev", "connected").await;
    balancer.shut();
    ann.shows("retrying in").await;
    ann.types("too late\r");
    ann.shows("1 unsent").await;
    ann.types("/leave\r");
    ann.shows("not sent to #dev: it was not stored (the conversation was").await;
    ann.shows("press Up to get the text back").await;
    ann.types(&format!("{UP}{UP}"));
    ann.prompts(&["> too late"]).await;
    ann.types(CONTROL_U);
    quits(ann).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_conversation_has_its_draft_and_all_share_a_history() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let (mut ann, mut bob) = ann_and_bob(&cluster).await;
    ann.types("one\rtwo\rfor the ro");
    ann.prompts(&["> for the ro"]).await;
    bob.whisper("ann", "psst").await;
    assert_eq!(bob.hears_privately().await, "psst");
    ann.shows("@bob (1)").await;
    ann.types("\t");
    ann.stands("@bob", "connected").await;
    ann.prompts(&[">"]).await;
    ann.types("for b");
    ann.types(BACK_TAB);
    ann.prompts(&["> for the ro"]).await;
    for (key, shown) in [(UP, "> two"), (UP, "> one"), (UP, "> one"), (DOWN, "> two"), (DOWN, "> for the ro")]
    {
        ann.types(key);
        ann.prompts(&[shown]).await;
    }
    ann.types("om\r\tob\r");
    assert_eq!(bob.hears_privately().await, "for bob");
    let said = |frame: &Value| frame["message_body"]["content"] == "for the room";
    bob.wait_for("the room", said).await;
    ann.shows("ann: for bob").await;
    quits(ann).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn editing_keys_do_what_they_do_in_a_shell() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let (mut ann, _bob) = ann_and_bob(&cluster).await;
    let (control_left, control_right) = ("\u{1b}[1;5D", "\u{1b}[1;5C");
    for (keys, shown) in [
        ("one two-three four", "> one two-three four"),
        (&format!("{control_left}{control_left}<"), "> one two-<three four"),
        (&format!("{control_right}>"), "> one two-<three> four"),
        ("\u{1b}b\u{1b}\u{7f}", "> one three> four"),
        ("\u{1b}f\u{1b}d", "> one three"),
        ("\u{17}", "> one"),
        (CONTROL_Y, "> one three"),
        (&format!("{CONTROL_A}\u{b}"), ">"),
        (&format!("{CONTROL_Y} {CONTROL_Y}\u{1b}b\u{15}"), "> three"),
        ("\u{5}!\u{8}?", "> three?"),
        ("\u{1b}[H\u{4}\u{1b}[3~", "> ree?"),
    ] {
        ann.types(keys);
        ann.prompts(&[shown]).await;
    }
    ann.types(CONTROL_U);
    ann.types("\u{5}\u{15}");
    ann.prompts(&[">"]).await;
    quits(ann).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wheel_scrolls_and_returns_to_the_end() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    for number in 1..=60 {
        bob.say("ops", &format!("number {number}.")).await;
    }
    let mut ann = Window::start(cluster.address(0), &["--room", "ops"]);
    ann.shows("number 60.").await;
    ann.types(WHEEL_UP);
    ann.shows_so("three rows up", |rows| rows[21].contains("number 57.")).await;
    ann.types("\u{1b}[1;2A");
    ann.shows_so("one row up", |rows| rows[21].contains("number 56.")).await;
    bob.say("ops", "number 61.").await;
    ann.shows("1 new below").await;
    assert!(ann.rows()[21].contains("number 56."));
    ann.types(&WHEEL_DOWN.repeat(2));
    ann.shows_so("the end", |rows| rows[21].contains("number 61.")).await;
    ann.shows_so("no count", |rows| !rows.iter().any(|row| row.contains("new below"))).await;
    quits(ann).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_narrow_window_tells_of_unread_messages() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let (ann, mut bob) = ann_and_bob(&cluster).await;
    ann.resize(12, 40);
    ann.shows_so("no list", |rows| rows.len() == 12 && !rows.iter().any(|row| row.contains('│'))).await;
    bob.whisper("ann", "one").await;
    bob.whisper("ann", "two").await;
    ann.shows("2 unread · ann · #ops").await;
    ann.resize(12, 18);
    ann.shows_so("the count", |rows| rows.iter().any(|row| row.starts_with(" 2 unread · ann "))).await;
    ann.resize(12, 60);
    ann.shows_so("the list instead", |rows| {
        rows.iter().any(|row| row.contains("@bob (2)")) && !rows.iter().any(|row| row.contains("unread"))
    })
    .await;
    quits(ann).await;
}
