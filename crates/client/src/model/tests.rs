//! Stories of the model, told by hand: no socket, no clock. Owns a node that answers what the story says.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::conversation::Line;
use crate::model::{Effect, Model};
use crate::wire::Target;
use chatnode_protocol::{RoomName, UserName};

struct Story {
    chat: Model,
    now: Instant,
    shown: Vec<String>,
}

impl Story {
    fn begin(to: Option<&str>) -> Self {
        let mut chat = Model::new(UserName::parse("ann").unwrap(), 20);
        chat.begin(vec![RoomName::parse("ops").unwrap()], to.map(|to| UserName::parse(to).unwrap()));
        Self { chat, now: Instant::now(), shown: Vec::new() }
    }

    /// The frames sent since the last call.
    fn sent(&mut self) -> Vec<Value> {
        let mut sent = Vec::new();
        while let Some(effect) = self.chat.next_effect() {
            match effect {
                Effect::Send(frame) => sent.push(serde_json::from_str(&frame).unwrap()),
                Effect::Show(_, line @ Line::Said { .. }) => self.shown.push(line.text()),
                Effect::Show(_, line) => self.shown.push(format!("-- {}", line.text())),
                other => self.shown.push(format!("{other:?}")),
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
        self.chat.receive(&frame.to_string(), self.now);
    }

    fn ack(&mut self, request: &Value, body: &Value) {
        self.hears(&json!({ "message_type": "Ack", "message_body": body, "id": request["id"] }));
    }

    fn error(&mut self, request: &Value, body: &Value) {
        self.hears(&json!({ "message_type": "Error", "message_body": body, "id": request["id"] }));
    }

    fn said(&mut self, room: &str, seq: u64) {
        self.hears(&json!({ "message_type": "GroupChat", "message_body": { "sender_username": "bob",
            "room": room, "content": format!("r{seq}"), "sent_at": 1, "epoch": "e", "seq": seq,
            "message_id": format!("m{seq}") } }));
    }

    fn whispered(&mut self, seq: u64, id: &str) {
        self.hears(&json!({ "message_type": "PrivateChat", "message_body": { "sender_username": "bob",
            "target_username": "ann", "content": format!("p{seq}"), "sent_at": 1, "epoch": "p", "seq": seq,
            "message_id": id } }));
    }

    fn loses_the_connection(&mut self) {
        self.chat.lost("gone", self.now);
        self.chat.opened();
    }
}

fn at(epoch: &str, seq: u64) -> Value {
    json!({ "epoch": epoch, "seq": seq, "message_id": format!("m{seq}"), "dedupe_ms": 300_000 })
}

fn place(epoch: &str, seq: u64) -> Value {
    json!({ "epoch": epoch, "seq": seq, "message_id": format!("m{seq}") })
}

#[test]
fn positions_move_with_what_was_delivered_and_with_the_first_answer() {
    let mut story = Story::begin(None);
    story.chat.opened();
    let sent = story.sent();
    assert_eq!(sent.len(), 1, "nothing before we are signed in: {sent:?}");
    assert_eq!(sent[0]["message_body"], json!({ "sender_username": "ann" }));
    story.ack(&sent[0], &at("p", 7));
    let sent = story.sent();
    let kinds: Vec<&str> = sent.iter().map(|frame| frame["message_type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Enter"]);
    assert_eq!(sent[0]["message_body"]["history"], 20);
    story.ack(&sent[0], &at("e", 4));

    // What had waited for us may still be on its way, whatever else is answered: the place of the answer is not ours.
    story.loses_the_connection();
    assert_eq!(story.one("Auth")["message_body"].get("since"), None);
    story.chat.lost("gone", story.now);
    story.chat.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 7));
    let sent = story.sent();
    assert_eq!(sent[0]["message_body"]["since"], place("e", 4));
    story.ack(
        &sent[0],
        &json!({ "epoch": "e", "seq": 9, "message_id": "m9", "dedupe_ms": 1, "recovered": true }),
    );
    story.said("ops", 5);

    // The answer to an `Enter` with `since` moves nothing: 6 to 9 had not come.
    story.loses_the_connection();
    let auth = story.one("Auth");
    assert_eq!(auth["message_body"].get("since"), None);
    story.ack(&auth, &at("p", 7));
    assert_eq!(story.one("Enter")["message_body"]["since"], place("e", 5));
    story.whispered(8, "w8");
    story.loses_the_connection();
    assert_eq!(story.one("Auth")["message_body"]["since"]["seq"], 8);
}

#[test]
fn a_message_keeps_its_id_over_a_lost_connection_and_the_log_is_an_answer_too() {
    let mut story = Story::begin(None);
    story.chat.say("one".into(), story.now);
    story.chat.say("two".into(), story.now);
    let mut publish = Value::Null;
    for _ in 0..2 {
        story.chat.opened();
        let auth = story.one("Auth");
        story.ack(&auth, &at("p", 0));
        let enter = story.one("Enter");
        story.ack(&enter, &at("e", 0));
        let again = story.one("GroupChat");
        assert!(publish.is_null() || publish == again);
        publish = again;
        story.chat.lost("gone", story.now);
    }
    assert_eq!(story.chat.outbox.len(), 2);
    story.hears(&json!({ "message_type": "GroupChat", "message_body": { "sender_username": "ann", "room": "ops",
        "content": "one", "client_id": publish["id"], "sent_at": 1, "epoch": "e", "seq": 1, "message_id": "m1" } }));
    assert_eq!(story.chat.outbox.len(), 1);
}

#[test]
fn what_comes_twice_is_shown_once_and_a_gap_is_shown() {
    let mut story = Story::begin(Some("bob"));
    story.whispered(1, "w1");
    story.whispered(2, "w1");
    story.said("ops", 3);
    story.said("ops", 3);
    story.hears(
        &json!({ "message_type": "Gap", "message_body": { "room": "ops", "reason": "trimmed", "epoch": "e",
        "next_seq": 9 } }),
    );
    story.sent();
    assert_eq!(story.shown[..2], ["p1", "r3"]);
    assert!(story.shown[2].contains("messages may be missing here"), "{:?}", story.shown);
    let unread: Vec<usize> = story.chat.conversations.iter().map(|each| each.unread).collect();
    assert_eq!(unread, [2, 0], "the person is on show");
}

#[test]
fn typing_and_reading_are_told_when_they_are_and_no_more_often() {
    let mut story = Story::begin(Some("bob"));
    story.chat.typing(story.now);
    story.chat.looked();
    assert!(story.sent().is_empty(), "there is nobody to tell");
    story.chat.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 0));
    story.sent();
    story.chat.typing(story.now);
    story.chat.typing(story.now + Duration::from_millis(2_999));
    assert_eq!(
        story.one("Typing")["message_body"],
        json!({ "sender_username": "ann", "target_username": "bob" })
    );
    story.chat.typing(story.now + Duration::from_secs(3));
    story.one("Typing");

    story.whispered(1, "w1");
    story.whispered(2, "w2");
    story.chat.looked();
    story.chat.looked();
    assert_eq!(story.one("Read")["message_body"]["message_id"], "w2");
    story.loses_the_connection();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 2));
    story.chat.looked();
    assert_eq!(story.one("Read")["message_body"]["message_id"], "w2", "it may have been lost");
    let typing = json!({ "message_type": "Typing",
        "message_body": { "sender_username": "bob", "target_username": "ann" } });
    story.hears(&typing);
    let typing = |story: &Story| story.chat.current().unwrap().attention.typing(story.now);
    assert_eq!(typing(&story).as_deref(), Some("bob is typing"));
    story.whispered(3, "w3");
    assert_eq!(typing(&story), None);
}

#[test]
fn what_is_read_is_told_to_our_other_devices_and_they_tell_us() {
    let mut story = Story::begin(Some("bob"));
    story.chat.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 0));
    let enter = story.one("Enter");
    story.ack(&enter, &at("e", 0));
    (1..=3).for_each(|seq| story.said("ops", seq));
    story.hears(
        &json!({ "message_type": "GroupChat", "message_body": { "sender_username": "ann", "room": "ops",
        "content": "from my telephone", "sent_at": 1, "epoch": "e", "seq": 4, "message_id": "m4" } }),
    );
    let unread = |story: &Story, index: usize| story.chat.conversations[index].unread;
    assert_eq!(unread(&story, 0), 3, "our own do not count");
    let read = |epoch: &str| {
        json!({ "message_type": "Read",
            "message_body": { "sender_username": "ann", "room": "ops", "epoch": epoch, "seq": 2 } })
    };
    story.hears(&read("another"));
    assert_eq!(unread(&story, 0), 3);
    story.hears(&read("e"));
    assert_eq!(unread(&story, 0), 1);
    story.sent();
    story.chat.switch(true);
    story.chat.looked();
    story.chat.looked();
    assert_eq!(
        story.one("Read")["message_body"],
        json!({ "sender_username": "ann", "room": "ops", "seq": 3 })
    );

    story.whispered(1, "w1");
    story.whispered(2, "w2");
    assert_eq!(unread(&story, 1), 2);
    story.hears(&json!({ "message_type": "Read",
        "message_body": { "sender_username": "ann", "target_username": "bob", "message_id": "w1" } }));
    assert_eq!(unread(&story, 1), 1);
}

#[test]
fn a_log_that_began_afresh_and_is_empty_is_told_once() {
    let mut story = Story::begin(None);
    story.chat.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 7));
    let enter = story.one("Enter");
    story.ack(&enter, &at("e", 5));
    story.whispered(7, "m7");
    story.loses_the_connection();
    let lost = |epoch: &str, seq: u64, next_seq: u64| {
        json!({ "epoch": epoch, "seq": seq, "message_id": format!("m{seq}"), "dedupe_ms": 300_000,
            "recovered": false, "reason": "epoch", "next_seq": next_seq })
    };
    let auth = story.one("Auth");
    story.ack(&auth, &lost("p2", 0, 1));
    let enter = story.one("Enter");
    // Of the room something is left, which follows: until it has come, our place is the old one.
    story.ack(&enter, &lost("e2", 2, 1));
    story.loses_the_connection();
    let auth = story.one("Auth");
    assert_eq!(auth["message_body"]["since"], place("p2", 0));
    story.ack(&auth, &at("p2", 0));
    let enter = story.one("Enter");
    assert_eq!(enter["message_body"]["since"], place("e", 5));
    story.ack(&enter, &lost("e3", 0, 1));
    story.loses_the_connection();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p2", 0));
    assert_eq!(story.one("Enter")["message_body"]["since"], place("e3", 0));
}

#[test]
fn a_room_that_can_not_be_entered_fails_what_was_for_it_and_one_that_will_be_is_tried_again() {
    let mut story = Story::begin(None);
    story.chat.say("one".into(), story.now);
    story.chat.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 0));
    let enter = story.one("Enter");
    story.error(&enter, &json!({ "code": "unavailable", "message": "wait", "retry_after_ms": 700 }));
    assert!(story.sent().is_empty());
    assert_eq!(story.shown, ["-- can't enter #ops yet, trying on: wait"]);
    assert_eq!(story.chat.wake(story.now), Some(story.now + Duration::from_millis(700)));
    story.now += Duration::from_millis(700);
    story.chat.tick(story.now);
    let enter = story.one("Enter");
    story.error(&enter, &json!({ "code": "forbidden", "message": "not you" }));
    story.sent();
    assert!(story.chat.is_shut_out());
    assert_eq!((story.chat.failed, story.chat.outbox.len()), (2, 0));
    assert!(story.shown[1].contains("can't enter #ops: not you"), "{:?}", story.shown);
}

#[test]
fn a_room_that_nobody_can_enter_is_told_once_and_does_not_hold_what_has_failed() {
    let mut story = Story::begin(None);
    story.chat.say("one".into(), story.now);
    story.chat.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 0));
    for _ in 0..3 {
        let enter = story.one("Enter");
        story.error(&enter, &json!({ "code": "internal", "message": "an operator has to look" }));
        assert!(!story.chat.is_settled(), "its message still waits");
        story.now += Duration::from_secs(2);
        story.chat.tick(story.now);
    }
    story.now += Duration::from_secs(60);
    story.chat.tick(story.now);
    story.sent();
    assert_eq!(story.shown.len(), 2, "{:?}", story.shown);
    assert!(story.shown[1].contains("not sent to #ops"), "{:?}", story.shown);
    assert!(story.chat.is_settled());
}

#[test]
fn whom_the_node_refuses_stops_and_who_came_at_a_bad_time_comes_again() {
    let mut story = Story::begin(None);
    story.chat.opened();
    let auth = story.one("Auth");
    story.error(&auth, &json!({ "code": "unavailable", "message": "store", "retry_after_ms": 900 }));
    story.sent();
    assert_eq!(story.shown, [format!("{:?}", Effect::Restart(Some(Duration::from_millis(900))))]);
    story.loses_the_connection();
    let auth = story.one("Auth");
    story.error(&auth, &json!({ "code": "identity_mismatch", "message": "you are bob\u{1b}[2J" }));
    story.sent();
    assert_eq!(story.shown[1], format!("{:?}", Effect::Stop("the node refuses us: you are bob".into())));
}

#[test]
fn older_messages_come_before_the_others_once() {
    let mut story = Story::begin(None);
    story.chat.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 0));
    let enter = story.one("Enter");
    story.ack(&enter, &at("e", 5));
    story.said("ops", 5);
    story.sent();
    story.chat.ask_history(50);
    story.chat.ask_history(50);
    let history = story.one("History");
    assert_eq!(
        (&history["message_body"]["before"], &history["message_body"]["epoch"]),
        (&json!(5), &json!("e"))
    );
    let old = |seq| {
        json!({ "sender_username": "bob", "room": "ops", "content": format!("r{seq}"), "sent_at": 1,
        "epoch": "e", "seq": seq, "message_id": format!("m{seq}") })
    };
    story.ack(&history, &json!({ "messages": [old(3), old(4), old(5)], "epoch": "e", "more": false }));
    let texts: Vec<String> = story.chat.conversations[0].lines.iter().map(Line::text).collect();
    assert_eq!(texts, ["r3", "r4", "r5"]);
    story.sent();
    story.chat.ask_history(50);
    assert!(story.sent().is_empty(), "there are none");
}

#[test]
fn a_person_on_show_comes_with_what_was_said_before() {
    let mut story = Story::begin(Some("bob"));
    story.chat.opened();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 7));
    let history = story.one("History");
    assert_eq!(
        history["message_body"],
        json!({ "sender_username": "ann", "target_username": "bob", "limit": 20 })
    );
    story.ack(&history, &json!({ "messages": [], "epoch": "p", "more": false }));
    story.chat.open(Target::User(UserName::parse("carol").unwrap()), story.now);
    assert_eq!(story.one("History")["message_body"]["target_username"], "carol");
    story.chat.open(Target::User(UserName::parse("bob").unwrap()), story.now);
    assert!(story.sent().is_empty(), "there is no more");
}
