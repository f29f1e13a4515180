//! Terminals that can't show the full screen get lines.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, Kind};
use crate::support::fake_balancer::FakeBalancer;
use crate::window::Window;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_terminal_gets_lines() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    for (variable, value, why) in [
        ("TERM", "dumb", "TERM is dumb"),
        ("TERM", "", "TERM is not set"),
        ("LC_ALL", "C", "the locale is not UTF-8"),
        ("LC_ALL", "de_DE.ISO-8859-1", "the locale is not UTF-8"),
    ] {
        let mut ann = Window::start_with(cluster.address(0), &["--room", "ops"], &[(variable, value)]);
        ann.shows(why).await;
        assert_eq!(ann.input_modes(), ann.modes, "the shell's own modes");
        ann.types("hello\r");
        bob.wait_for("hello", |frame| frame["message_body"]["content"] == "hello").await;
        bob.say("ops", "good morning").await;
        ann.shows_so("a line", |rows| rows.iter().any(|row| row == "#ops bob: good morning")).await;
        assert!(ann.is_restored(), "no screen was opened");
        ann.types("/quit\r");
        assert_eq!(ann.ended().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_tell_of_changes_and_take_the_same_commands() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let mut ann = Window::start_with(cluster.address(0), &["--room", "ops"], &[("TERM", "dumb")]);
    ann.types("hello\r");
    let hello = bob.wait_for("hello", |frame| frame["message_body"]["content"] == "hello").await;
    let hello = &hello["message_body"]["message_id"];
    let reply = json!({ "room": "ops", "content": "hi", "reply_to": hello });
    let hi = bob.ok("GroupChat", reply).await;
    bob.ok("React", json!({ "room": "ops", "message_id": hello, "reaction": "👍", "on": true })).await;
    bob.ok("Edit", json!({ "room": "ops", "message_id": hi["message_id"], "content": "hi all" })).await;
    ann.shows("#ops bob edited a message: hi all").await;
    let rows = ann.rows();
    for line in ["#ops bob replied to ann: hello", "#ops bob: hi", "#ops bob reacted with 👍 to ann: hello"]
    {
        assert!(rows.iter().any(|row| row == line), "{line}: {rows:#?}");
    }
    assert_eq!(bob.next("React").await["reaction"], "👍");
    for (command, kind, message) in [
        ("/react ok", "React", &hi["message_id"]),
        ("/edit hello all", "Edit", hello),
        ("/delete", "Retract", hello),
    ] {
        ann.types(&format!("{command}\r"));
        let is_hers = |frame: &Value| {
            frame["message_type"] == kind && frame["message_body"]["sender_username"] == "ann"
        };
        let change = bob.wait_for(command, is_hers).await;
        assert_eq!(change["message_body"]["target"]["message_id"], *message, "{command}");
        // Once she has heard this, her own change has come back to her.
        bob.say("ops", &format!("after {command}")).await;
        ann.shows(&format!("#ops bob: after {command}")).await;
    }
    bob.ok("Retract", json!({ "room": "ops", "message_id": hi["message_id"], "reason": "a typo" })).await;
    ann.shows("#ops a message of bob was deleted: a typo").await;
    ann.types("/edit\r");
    ann.shows("/edit: there is no message of yours here").await;
    ann.types("/quit\r");
    assert_eq!(ann.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_the_lines_says_which_texts_were_not_sent() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let balancer = FakeBalancer::start(vec![cluster.address(0)]).await;
    let mut ann = Window::start_with(balancer.address, &["--room", "ops"], &[("TERM", "dumb")]);
    ann.types("hello\r");
    bob.wait_for("hello", |frame| frame["message_body"]["content"] == "hello").await;
    balancer.shut();
    ann.types("said to nobody\r/quit\r");
    assert_eq!(ann.ended().await, 1);
    // Whether the text had already left for the dead connection is chance, and the words say which.
    ann.shows_so("the text", |rows| {
        let text = rows.join("\n");
        text.contains("not sent to #ops: ") && text.contains("(the client ended):\n  said to nobody")
    })
    .await;
}

/// Of a terminal after Ctrl+S, or of a pipe that nobody reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_lines_stay_connected_and_end_at_a_signal() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |config| {
        config.server.ping_interval = Duration::from_secs(1);
        config.server.pong_timeout = Duration::from_secs(2);
        config.limits.request_timeout = Duration::from_secs(1);
        config.redis.timeout = Duration::from_millis(900);
    })
    .await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut ann = Window::start_with(cluster.address(0), &["--room", "ops"], &[("TERM", "dumb")]);
        bob.wait_for("ann", |frame| {
            frame["message_type"] == "Enter" && frame["message_body"]["sender_username"] == "ann"
        })
        .await;
        ann.stall();
        let text = "x".repeat(2_000);
        for number in 0..100 {
            bob.say("ops", &format!("{number} {text}")).await;
        }
        // Longer than a node waits for a client that says nothing.
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            bob.heard_no("Leave").await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        ann.resume();
        ann.shows("#ops bob: 99 ").await;
        ann.stall();
        for number in 0..100 {
            bob.say("ops", &format!("{number} {text}")).await;
        }
        ann.signal(signal);
        assert_eq!(ann.code().await, code, "{signal}");
        bob.wait_for("ann leaves", |frame| frame["message_type"] == "Leave").await;
        bob.take_seen();
    }
}
