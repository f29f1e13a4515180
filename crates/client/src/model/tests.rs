//! Stories of the model, without a socket or a clock. Owns a node that answers as the story says.

use std::time::{Duration, Instant};

use chatnode_protocol::{RoomName, Topic, UserName};
use serde_json::{Value, json};

use crate::model::{Effect, Line, Model};
use crate::reason::LostReason;

mod changes;
mod history;
mod pages;
mod received;
mod rights;

struct Story {
    model: Model,
    now: Instant,
    shown: Vec<String>,
    reported: Vec<String>,
}

impl Story {
    fn begin(to: Option<&str>) -> Self {
        let mut model = Model::new(UserName::parse("ann").unwrap(), 20);
        model.begin(vec![RoomName::parse("ops").unwrap()], to.map(|to| UserName::parse(to).unwrap()));
        Self { model, now: Instant::now(), shown: Vec::new(), reported: Vec::new() }
    }

    /// The frames sent since the last call.
    fn sent(&mut self) -> Vec<Value> {
        let mut sent = Vec::new();
        while let Some(effect) = self.model.next_effect() {
            match effect {
                Effect::Send(frame) => sent.push(serde_json::from_str(&frame).unwrap()),
                Effect::Show(_, line @ Line::Message(_)) => self.shown.push(line.text()),
                Effect::Show(_, line) => self.shown.push(format!("-- {}", line.text())),
                Effect::Report(event) => self.reported.push(event.to_string()),
                Effect::Stored(..) | Effect::Changed(..) | Effect::Joined(_) => {}
                Effect::HandedOn(position) => self.model.handed_on(position, self.now),
                Effect::Restart(error) => self.shown.push(format!("restart {:?}", error.retry_after_ms)),
                Effect::Stop(reason) => self.shown.push(format!("stop: {reason}")),
                Effect::Answer(..) => unreachable!(),
            }
        }
        sent
    }

    fn one(&mut self, kind: &str) -> Value {
        let sent = self.sent();
        let of_kind: Vec<&Value> = sent.iter().filter(|frame| frame["message_type"] == kind).collect();
        assert_eq!(of_kind.len(), 1, "{kind} in {sent:#?}");
        of_kind[0].clone()
    }

    fn hears(&mut self, frame: &Value) {
        self.model.receive(&frame.to_string(), self.now);
    }

    fn ack(&mut self, request: &Value, body: &Value) {
        let mut body = body.clone();
        match request["message_type"].as_str().unwrap() {
            "Enter" => body["room"] = request["message_body"]["room"].clone(),
            "Auth" if body.get("read").is_none() => body["read"] = json!({}),
            _ => {}
        }
        self.hears(&json!({ "message_type": "Ack", "message_body": body, "id": request["id"] }));
    }

    fn error(&mut self, request: &Value, body: &Value) {
        self.hears(&json!({ "message_type": "Error", "message_body": body, "id": request["id"] }));
    }

    fn said(&mut self, room: &str, seq: u64) {
        self.hears(&json!({ "message_type": "GroupChat", "message_body": { "sender_username": "bob",
            "room": room, "content": format!("r{seq}"), "sent_at": 1, "epoch": epoch("e"), "seq": seq,
            "message_id": id(&format!("m{seq}")) } }));
    }

    fn whispered(&mut self, seq: u64, name: &str) {
        self.hears(&json!({ "message_type": "PrivateChat", "message_body": { "sender_username": "bob",
            "target_username": "ann", "content": format!("p{seq}"), "sent_at": 1, "epoch": epoch("p"), "seq": seq,
            "message_id": id(name) } }));
    }

    fn loses_the_connection(&mut self) {
        self.model.lost(LostReason::Broken("gone".into()), self.now);
        self.model.opened();
    }
}

/// The bytes of a name, as hexadecimal digits.
fn hex(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn epoch(name: &str) -> String {
    format!("{:0>16}", hex(name))
}

fn id(name: &str) -> String {
    format!("00000000-0000-7000-8000-{:0>12}", hex(name))
}

fn at(name: &str, seq: u64) -> Value {
    json!({ "epoch": epoch(name), "seq": seq, "message_id": id(&format!("m{seq}")), "dedupe_ms": 300_000 })
}

fn position(name: &str, seq: u64) -> Value {
    json!({ "epoch": epoch(name), "seq": seq, "message_id": id(&format!("m{seq}")) })
}

#[test]
fn positions_move_with_messages_and_the_first_answer() {
    let mut story = Story::begin(None);
    story.model.opened();
    let sent = story.sent();
    assert_eq!(sent.len(), 1, "nothing before we are signed in: {sent:?}");
    assert_eq!(sent[0]["message_body"], json!({ "sender_username": "ann" }));
    story.ack(&sent[0], &at("p", 7));
    let sent = story.sent();
    let kinds: Vec<&str> = sent.iter().map(|frame| frame["message_type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Enter"]);
    assert_eq!(sent[0]["message_body"]["history"], 20);
    story.ack(&sent[0], &at("e", 4));

    // Messages that waited for the user may still be on their way, so the position in the answer does not count.
    story.loses_the_connection();
    assert_eq!(story.one("Auth")["message_body"].get("since"), None);
    story.model.lost(LostReason::Broken("gone".into()), story.now);
    story.model.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 7));
    let sent = story.sent();
    assert_eq!(sent[0]["message_body"]["since"], position("e", 4));
    story.ack(
        &sent[0],
        &json!({ "epoch": epoch("e"), "seq": 9, "message_id": id("m9"), "dedupe_ms": 1, "recovered": true }),
    );
    story.said("ops", 5);

    // The answer to an `Enter` with `since` moves nothing: 6 to 9 had not come.
    story.loses_the_connection();
    let auth = story.one("Auth");
    assert_eq!(auth["message_body"].get("since"), None);
    story.ack(&auth, &at("p", 7));
    assert_eq!(story.one("Enter")["message_body"]["since"], position("e", 5));
    story.whispered(8, "w8");
    story.loses_the_connection();
    assert_eq!(story.one("Auth")["message_body"]["since"]["seq"], 8);
}

#[test]
fn a_message_keeps_its_id_until_the_log_shows_it() {
    let mut story = Story::begin(None);
    story.model.send("one", story.now);
    story.model.send("two", story.now);
    let mut publish = Value::Null;
    for _ in 0..2 {
        story.model.opened();
        let auth = story.one("Auth");
        story.ack(&auth, &at("p", 0));
        let enter = story.one("Enter");
        story.ack(&enter, &at("e", 0));
        let again = story.one("GroupChat");
        assert!(publish.is_null() || publish == again);
        publish = again;
        story.model.lost(LostReason::Broken("gone".into()), story.now);
    }
    assert_eq!(story.model.unsent(), 2);
    story.hears(&json!({ "message_type": "GroupChat", "message_body": { "sender_username": "ann", "room": "ops",
        "content": "one", "client_id": publish["id"], "sent_at": 1, "epoch": epoch("e"), "seq": 1, "message_id": id("m1") } }));
    assert_eq!(story.model.unsent(), 1);
}

#[test]
fn repeated_messages_are_shown_once_and_gaps_are_shown() {
    let mut story = Story::begin(Some("bob"));
    story.whispered(1, "w1");
    story.whispered(2, "w1");
    story.said("ops", 3);
    story.said("ops", 3);
    story.hears(
        &json!({ "message_type": "Gap", "message_body": { "room": "ops", "reason": "trimmed", "epoch": epoch("e"),
        "next_seq": 9 } }),
    );
    story.sent();
    assert_eq!(story.shown[..2], ["p1", "r3"]);
    assert!(story.shown[2].contains("messages may be missing here"), "{:?}", story.shown);
    let unread: Vec<usize> = story.model.conversations().iter().map(|each| each.unread).collect();
    assert_eq!(unread, [2, 0], "the person is on show");
}

#[test]
fn typing_notices_and_read_markers_are_rare() {
    let mut story = Story::begin(Some("bob"));
    story.model.typing(story.now);
    story.model.looked();
    assert!(story.sent().is_empty(), "there is nobody to tell");
    story.model.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 0));
    story.sent();
    story.model.typing(story.now);
    story.model.typing(story.now + Duration::from_millis(2_999));
    assert_eq!(
        story.one("Typing")["message_body"],
        json!({ "sender_username": "ann", "target_username": "bob" })
    );
    story.model.typing(story.now + Duration::from_secs(3));
    story.one("Typing");

    story.whispered(1, "w1");
    story.whispered(2, "w2");
    story.model.looked();
    story.model.looked();
    assert_eq!(story.one("Read")["message_body"]["message_id"], id("w2"));
    story.loses_the_connection();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 2));
    story.model.looked();
    assert_eq!(story.one("Read")["message_body"]["message_id"], id("w2"), "it may have been lost");
    let typing = json!({ "message_type": "Typing",
        "message_body": { "sender_username": "bob", "target_username": "ann" } });
    story.hears(&typing);
    let typing = |story: &Story| story.model.current().unwrap().typing(story.now);
    assert_eq!(typing(&story).as_deref(), Some("bob is typing"));
    story.whispered(3, "w3");
    assert_eq!(typing(&story), None);
}

#[test]
fn read_markers_travel_between_devices_of_one_user() {
    let mut story = Story::begin(Some("bob"));
    story.model.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 0));
    let enter = story.one("Enter");
    story.ack(&enter, &at("e", 0));
    (1..=3).for_each(|seq| story.said("ops", seq));
    story.hears(
        &json!({ "message_type": "GroupChat", "message_body": { "sender_username": "ann", "room": "ops",
        "content": "from my telephone", "sent_at": 1, "epoch": epoch("e"), "seq": 4, "message_id": id("m4") } }),
    );
    let unread = |story: &Story, index: usize| story.model.conversations()[index].unread;
    assert_eq!(unread(&story, 0), 3, "our own do not count");
    let read = |name: &str| {
        json!({ "message_type": "Read",
            "message_body": { "sender_username": "ann", "room": "ops", "epoch": epoch(name), "seq": 2 } })
    };
    story.hears(&read("another"));
    assert_eq!(unread(&story, 0), 3);
    story.hears(&read("e"));
    assert_eq!(unread(&story, 0), 1);
    story.sent();
    story.model.switch(true);
    story.model.looked();
    story.model.looked();
    assert_eq!(
        story.one("Read")["message_body"],
        json!({ "sender_username": "ann", "room": "ops", "seq": 3 })
    );

    story.whispered(1, "w1");
    story.whispered(2, "w2");
    assert_eq!(unread(&story, 1), 2);
    story.hears(&json!({ "message_type": "Read",
        "message_body": { "sender_username": "ann", "target_username": "bob", "message_id": id("w1") } }));
    assert_eq!(unread(&story, 1), 1);
}

#[test]
fn a_restarted_empty_log_is_reported_once() {
    let mut story = Story::begin(None);
    story.model.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 7));
    let enter = story.one("Enter");
    story.ack(&enter, &at("e", 5));
    story.whispered(7, "m7");
    story.loses_the_connection();
    let lost = |name: &str, seq: u64, next_seq: u64| {
        json!({ "epoch": epoch(name), "seq": seq, "message_id": id(&format!("m{seq}")), "dedupe_ms": 300_000,
            "recovered": false, "reason": "epoch", "next_seq": next_seq })
    };
    let auth = story.one("Auth");
    story.ack(&auth, &lost("p2", 0, 1));
    let enter = story.one("Enter");
    // Of the room something is left, which follows: until it has come, our place is the old one.
    story.ack(&enter, &lost("e2", 2, 1));
    story.loses_the_connection();
    let auth = story.one("Auth");
    assert_eq!(auth["message_body"]["since"], position("p2", 0));
    story.ack(&auth, &at("p2", 0));
    let enter = story.one("Enter");
    assert_eq!(enter["message_body"]["since"], position("e", 5));
    story.ack(&enter, &lost("e3", 0, 1));
    story.loses_the_connection();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p2", 0));
    assert_eq!(story.one("Enter")["message_body"]["since"], position("e3", 0));
}

#[test]
fn a_refused_room_fails_its_messages_and_a_late_one_retries() {
    let mut story = Story::begin(None);
    story.model.send("one", story.now);
    story.model.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 0));
    let enter = story.one("Enter");
    story.error(&enter, &json!({ "code": "unavailable", "message": "wait", "retry_after_ms": 700 }));
    assert!(story.sent().is_empty());
    assert_eq!(story.shown, ["-- can't join #ops yet, retrying: wait"]);
    let ordered = story.now + Duration::from_millis(700);
    story.now = story.model.wake(story.now).filter(|at| *at >= ordered).unwrap();
    story.model.tick(story.now);
    let enter = story.one("Enter");
    story.error(&enter, &json!({ "code": "forbidden", "message": "not you" }));
    story.sent();
    assert!(story.model.is_shut_out());
    assert_eq!((story.model.failed(), story.model.unsent()), (2, 0));
    assert!(story.shown[1].contains("can't join #ops: not you"), "{:?}", story.shown);
}

#[test]
fn a_broken_room_is_reported_once_and_holds_nothing() {
    let mut story = Story::begin(None);
    story.model.send("one", story.now);
    story.model.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 0));
    for _ in 0..3 {
        let enter = story.one("Enter");
        story.error(&enter, &json!({ "code": "internal", "message": "an operator has to look" }));
        assert!(!story.model.is_settled(), "its message still waits");
        story.now = story.model.wake(story.now).unwrap();
        story.model.tick(story.now);
    }
    story.now += Duration::from_secs(60);
    story.model.tick(story.now);
    story.sent();
    assert_eq!(story.shown.len(), 2, "{:?}", story.shown);
    assert!(story.shown[1].contains("not sent to #ops"), "{:?}", story.shown);
    assert!(story.model.is_settled());
}

#[test]
fn a_refused_sign_in_ends_and_a_passing_error_restarts() {
    let mut story = Story::begin(None);
    story.model.opened();
    let auth = story.one("Auth");
    story.error(&auth, &json!({ "code": "unavailable", "message": "store", "retry_after_ms": 900 }));
    story.sent();
    assert_eq!(story.shown, ["restart Some(900)"]);
    story.loses_the_connection();
    let auth = story.one("Auth");
    story.error(&auth, &json!({ "code": "identity_mismatch", "message": "you are bob\u{1b}[2J" }));
    story.sent();
    assert_eq!(story.shown[1], "stop: the node refused the user: you are bob");
}
