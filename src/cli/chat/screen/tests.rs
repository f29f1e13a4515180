//! The whole screen, cell by cell. Owns a node that answers as a real one would.

use std::time::{Duration, SystemTime};

use chatnode_client::model::Effect;
use chatnode_client::{Features, LostReason, UserName};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::*;
use crate::cli::chat::command::run_command;

mod changes;

const EPOCH: &str = "0123456789abcdef";

/// What the user sees.
fn shown(model: &Model, view: &mut View, width: u16, height: u16) -> Vec<String> {
    let local = LocalTime::new(&TimeZone::UTC, SystemTime::UNIX_EPOCH);
    let buffer = draw(Rect::new(0, 0, width, height), model, view, &local, Instant::now()).cells;
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned()).collect()
}

/// Answers all requests as a node would.
fn answer(model: &mut Model, now: Instant) {
    while let Some(effect) = model.next_effect() {
        let Effect::Send(frame) = effect else { continue };
        let frame: Value = serde_json::from_str(&frame).unwrap();
        let body = match frame["message_type"].as_str().unwrap() {
            "Members" => {
                json!({ "room": frame["message_body"]["room"], "members": ["ann", "bob"], "count": 2, "more": false })
            }
            "GroupChat" => continue,
            "Auth" => {
                json!({ "epoch": EPOCH, "seq": 0, "message_id": "", "dedupe_ms": 300_000, "read": {},
                    "features": Features::all() })
            }
            _ => json!({ "epoch": EPOCH, "seq": 0, "message_id": "", "dedupe_ms": 300_000,
                "room": frame["message_body"]["room"] }),
        };
        let ack = json!({ "message_type": "Ack", "message_body": body, "id": frame["id"] });
        model.receive(&ack.to_string(), now);
    }
}

fn said(room: &str, from: &str, content: &str, seq: u64) -> String {
    json!({ "message_type": "GroupChat", "message_body": { "sender_username": from, "room": room,
        "content": content, "sent_at": 45_240_000 + seq, "epoch": EPOCH, "seq": seq,
        "message_id": format!("00000000-0000-7000-8000-{seq:012x}") } })
    .to_string()
}

fn opened(now: Instant) -> Model {
    let mut model = Model::new(UserName::parse("ann").unwrap(), 50);
    for line in ["/join ops", "/join dev"] {
        run_command(&mut model, line, None, now);
    }
    model.opened();
    answer(&mut model, now);
    model
}

#[test]
fn the_screen_shows_conversation_members_unread_and_connection() {
    let now = Instant::now();
    let mut model = opened(now);
    model.receive(&said("dev", "bob", "hi \u{1b}[31mann", 1), now);
    model.receive(&said("ops", "bob", "elsewhere", 1), now);
    let mut view = View::default();
    view.turn_to(&model);
    view.drafts.prompt().insert("typed");
    let rows = shown(&model, &mut view, 100, 8);
    assert_eq!(rows[0].split_whitespace().collect::<Vec<_>>(), ["#ops", "(1)", "│", "│ann"]);
    assert!(rows[1].contains("#dev") && rows[1].ends_with("│bob"), "{rows:#?}");
    assert!(rows[4].contains("── Today ──"), "{rows:#?}");
    assert_eq!(rows[5].split('│').nth(1).map(str::trim_end), Some("12:34 bob: hi ann"));
    assert_eq!(rows[6], " ann · #dev · connected");
    assert_eq!(rows[7], "> typed");
    model.lost(LostReason::NoAnswer, now + Duration::from_millis(2_500));
    run_command(&mut model, "later", None, now);
    // However long the reason is, the countdown before it stays visible.
    let rows = shown(&model, &mut view, 100, 8);
    assert!(
        rows[6].starts_with(" ann · #dev · 1 unsent · retrying in 3 s: the node does not answer"),
        "{rows:#?}"
    );
}

#[test]
fn a_long_line_wraps_and_scrolling_ends_at_the_oldest() {
    let now = Instant::now();
    let mut model = opened(now);
    for seq in 1..=10 {
        model.receive(&said("dev", "bob", &format!("number {seq} is a long one, 日本語 too"), seq), now);
    }
    let mut view = View::default();
    let rows = shown(&model, &mut view, 30, 6);
    assert_eq!(rows[2..4], ["12:34 bob: number 10 is a long", "  one, 日 本 語  too"]);
    assert!(!view.place.at_top);
    view.place.scroll(1_000);
    let rows = shown(&model, &mut view, 30, 6);
    assert_eq!(rows[..2], ["─────────── Today ────────────", "12:34 bob: number 1 is a long"]);
    assert!(view.place.at_top);
    view.place.scroll(-16);
    shown(&model, &mut view, 30, 6);
    assert!(!view.place.is_at_end());
    view.place.scroll(-1);
    assert_eq!(shown(&model, &mut view, 30, 6)[2], "12:34 bob: number 10 is a long");
    assert!(view.place.is_at_end());
}

#[test]
fn the_rows_being_read_stay_in_place() {
    let now = Instant::now();
    let mut model = opened(now);
    for seq in 1..=30 {
        model.receive(&said("dev", "bob", &format!("number {seq}"), seq), now);
    }
    let mut view = View::default();
    shown(&model, &mut view, 60, 8);
    view.place.scroll(10);
    let before = shown(&model, &mut view, 60, 8);
    model.receive(&said("dev", "bob", &"long ".repeat(30), 31), now);
    model.receive(&said("dev", "bob", "next", 32), now);
    let after = shown(&model, &mut view, 60, 8);
    assert_eq!(before[..6], after[..6]);
    assert!(after[6].contains("2 new below"), "{after:#?}");
    run_command(&mut model, "/leave", None, now);
    run_command(&mut model, "/join dev", None, now);
    assert!(!shown(&model, &mut view, 60, 8)[6].contains("0 new"), "it counts from the start");
    answer(&mut model, now);
    model.receive(&said("dev", "bob", "next", 33), now);
    let newest = shown(&model, &mut view, 60, 8);
    assert!(newest[5].ends_with("next") && !newest[6].contains("new below"), "{newest:#?}");
}

#[test]
fn a_long_name_hides_neither_count_nor_connection() {
    let now = Instant::now();
    let mut model = opened(now);
    let name = "日本語".repeat(20);
    run_command(&mut model, &format!("/join {name}"), None, now);
    answer(&mut model, now);
    let mut view = View::default();
    assert!(shown(&model, &mut view, 80, 8)[6].ends_with("… · connected"));
    run_command(&mut model, "/join dev", None, now);
    model.receive(&said(&name, "bob", "hi", 1), now);
    assert!(shown(&model, &mut view, 80, 8)[2].contains("… (1)"));
}

#[test]
fn unread_messages_below_and_above_the_list_are_told() {
    let now = Instant::now();
    let mut model = opened(now);
    for number in 0..10 {
        run_command(&mut model, &format!("/join r{number}"), None, now);
    }
    answer(&mut model, now);
    model.receive(&said("ops", "bob", "above", 1), now);
    let mut view = View::default();
    assert!(shown(&model, &mut view, 80, 8)[6].starts_with(" 1 unread · ann · #r9 · connected"));
    run_command(&mut model, "/join ops", None, now);
    for seq in 1..=2 {
        model.receive(&said("r9", "bob", "below", seq), now);
    }
    model.receive(&said("r0", "bob", "in the list", 1), now);
    let rows = shown(&model, &mut view, 80, 8);
    assert!(rows[2].starts_with("#r0 (1)"), "{rows:#?}");
    assert!(rows[6].starts_with(" 2 unread · ann · #ops · connected"), "{rows:#?}");
}

#[test]
fn the_screen_fits_every_size() {
    let now = Instant::now();
    let mut model = opened(now);
    model.receive(&said("dev", "bob", "日本語", 1), now);
    let mut view = View::default();
    view.drafts.prompt().insert("日本語");
    for (width, height) in [(1, 1), (1, 5), (2, 3), (60, 1), (200, 2), (91, 40)] {
        shown(&model, &mut view, width, height);
    }
    model.leave();
    model.leave();
    assert!(shown(&model, &mut view, 80, 5)[0].contains("/join ROOM"));
}
