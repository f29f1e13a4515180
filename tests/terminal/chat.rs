//! Rooms, users, scrolling and lost connections on the screen.

use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::support::client::{Client, PATIENCE};
use crate::support::cluster::{Cluster, Kind};
use crate::support::fake_balancer::FakeBalancer;
use crate::support::process::NodeProcess;
use crate::support::redis_server::RedisServer;
use crate::window::{BACK_TAB, CONTROL_C, PAGE_DOWN, PAGE_UP, Window};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_chats_with_rooms_and_users() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    bob.ok("Enter", json!({ "room": "dev" })).await;
    bob.say("ops", "what was said before").await;
    let mut ann = Window::start(cluster.address(0), &["--room", "ops", "--room", "dev"]);
    ann.stands("#ops", "connected").await;
    ann.shows("bob: what was said before").await;
    // The lists on both sides: the rooms, and the members of this room.
    ann.shows_so("the lists", |rows| rows[0].starts_with("#ops") && rows[1].starts_with("#dev")).await;
    ann.shows_so("the members", |rows| rows[0].ends_with("│ann") && rows[1].ends_with("│bob")).await;
    assert_ne!(format!("{:?}", ann.master.get_termios().unwrap()), ann.modes, "the program reads each key");

    ann.types("hello, w\u{7f}everybody");
    ann.shows("> hello, everybody").await;
    ann.types("\r");
    assert_eq!(bob.next("GroupChat").await["content"], "what was said before");
    assert_eq!(bob.next("GroupChat").await["content"], "hello, everybody");
    ann.shows("ann: hello, everybody").await;
    bob.say("ops", "good morning").await;
    ann.shows("bob: good morning").await;

    ann.types("/msg bob psst\r");
    assert_eq!(bob.hears_privately().await, "psst");
    ann.stands("@bob", "connected").await;
    ann.shows("ann: psst").await;
    bob.tell("Typing", json!({ "target_username": "ann" })).await;
    ann.shows("bob is typing").await;
    let answer = bob.whisper("ann", "what is it?").await;
    ann.shows("bob: what is it?").await;
    ann.shows_so("nobody types", |rows| !rows.iter().any(|row| row.contains("is typing"))).await;
    assert_eq!(bob.next("Read").await["message_id"], answer["message_id"], "she sees the message");
    assert_eq!(bob.hears_privately().await, "what is it?");
    bob.tell("Read", json!({ "target_username": "ann", "message_id": answer["message_id"] })).await;
    ann.shows("ann: psst (read)").await;
    ann.types("n");
    bob.wait_for("the typing notice", |frame| {
        frame["message_type"] == "Typing" && frame["message_body"]["target_username"] == "bob"
    })
    .await;
    ann.types("othing\r");
    assert_eq!(bob.hears_privately().await, "nothing");

    bob.say("dev", "elsewhere").await;
    ann.shows("#dev (1)").await;
    ann.types(BACK_TAB);
    ann.stands("#dev", "connected").await;
    ann.shows("bob: elsewhere").await;
    ann.types("\t\t");
    ann.stands("#ops", "connected").await;
    ann.types("/join new\r");
    ann.stands("#new", "connected").await;
    ann.types("/leave\r");
    ann.shows_so("the list without the room", |rows| !rows.iter().any(|row| row.contains("#new"))).await;

    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
    bob.wait_for("the end of the session", |frame| frame["message_type"] == "Leave").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_scrolls_to_old_messages_and_resizes_the_window() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    for number in 1..=120 {
        bob.say("ops", &format!("number {number}.")).await;
    }
    let mut ann = Window::start(cluster.address(0), &["--room", "ops"]);
    ann.shows("number 120.").await;
    // Fifty are there from the start. The others come when she scrolls to the top.
    let deadline = Instant::now() + PATIENCE;
    while !ann.rows().iter().any(|row| row.ends_with("number 1.") || row.contains("number 1. ")) {
        assert!(Instant::now() < deadline, "the first message does not come: {:#?}", ann.rows());
        ann.types(PAGE_UP);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ann.types(&PAGE_DOWN.repeat(20));
    ann.shows("number 120.").await;

    // A narrow screen has no lists. A wide screen has them again.
    ann.resize(12, 40);
    ann.shows_so("the narrow screen", |rows| {
        rows.len() == 12 && rows[9].ends_with("number 120.") && !rows.iter().any(|row| row.contains('│'))
    })
    .await;
    ann.types("/quit");
    ann.resize(30, 120);
    ann.shows_so("the wide screen", |rows| {
        rows.len() == 30
            && rows[27].contains("number 120.")
            && rows[0].ends_with("│ann")
            && rows[29] == "> /quit"
    })
    .await;
    ann.types("\r");
    assert_eq!(ann.ended().await, 0);
}

/// A database of time zones with one zone, this many hours east of UTC: `Far/Away`.
fn time_zones(east: i32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    // RFC 9636: no transitions, and one type of local time with its name. Both stand twice. The rule for later times follows.
    let (counts, seconds) = ([0, 0, 0, 0, 1, 4].map(u32::to_be_bytes).concat(), (east * 3_600).to_be_bytes());
    let block = [b"TZif2", &[0; 15][..], &counts, &seconds, &[0, 0], b"FAR\0"].concat();
    let rule = format!("\nFAR{}\n", -east);
    std::fs::create_dir(folder.path().join("Far")).unwrap();
    std::fs::write(folder.path().join("Far/Away"), [&block, &block, rule.as_bytes()].concat()).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_and_days_follow_the_time_zone_of_the_user() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let sent_at = bob.say("ops", "what time is it?").await["sent_at"].as_u64().unwrap();
    let minute = i32::try_from(sent_at / 60_000 % 1_440).unwrap();
    let said = |minute: i32| format!("{:02}:{:02} bob: what time is it?", minute / 60, minute % 60);
    // A zone where it is neither the same hour as in UTC nor near midnight.
    let east = if minute < 720 { 7 } else { -7 };
    let zones = time_zones(east);
    let start = |zone| {
        let environment = [("TZDIR", zones.path().to_str().unwrap()), ("TZ", zone)];
        Window::start_with(cluster.address(0), &["--room", "ops"], &environment)
    };
    let mut ann = start("Far/Away");
    ann.shows_so("the local time below its day", |rows| {
        let below = rows.iter().skip_while(|row| !row.contains("── Today ──")).nth(1);
        below.is_some_and(|row| row.contains(&said(minute + east * 60)))
    })
    .await;
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);

    for zone in ["Far/Awry", "/dev/null", ":", "<"] {
        let mut ann = start(zone);
        ann.shows(&said(minute)).await;
        ann.types(CONTROL_C);
        assert_eq!(ann.ended().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_costs_no_message() {
    let redis = RedisServer::start();
    let url = redis.url();
    let settings = [("CHAT_REDIS__URL", url.as_str())];
    let mut first = NodeProcess::start(&settings).await;
    let second = NodeProcess::start(&settings).await;
    let balancer = FakeBalancer::start(vec![first.address, second.address]).await;
    let mut bob = Client::enter(second.address, "bob", "ops").await;
    let mut ann = Window::start(balancer.address, &["--room", "ops"]);
    ann.stands("#ops", "connected").await;
    ann.types("one\r");
    assert_eq!(bob.hears().await, "one");
    ann.shows("ann: one").await;

    balancer.shut();
    first.kill();
    ann.shows("retrying in").await;
    ann.types("two\rthree\r");
    ann.shows("2 unsent").await;
    bob.say("ops", "are you there?").await;
    bob.whisper("ann", "hello?").await;
    balancer.open();
    ann.stands("#ops", "connected").await;
    assert_eq!(bob.hears().await, "are you there?");
    assert_eq!((bob.hears().await, bob.hears().await), ("two".into(), "three".into()));
    ann.shows("@bob (1)").await;
    ann.shows_so("all, each once, in order", |rows| {
        let said = rows.iter().filter_map(|row| Some(row.split_once("ann: ").or(row.split_once("bob: "))?.1));
        let said: Vec<&str> = said.map(|text| text.split('│').next().unwrap().trim_end()).collect();
        said == ["one", "are you there?", "two", "three"]
    })
    .await;
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}
