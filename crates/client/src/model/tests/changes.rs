//! What becomes of messages: edits, retractions and reactions, of others and of the user.

use chatnode_protocol::MessageId;
use chatnode_protocol::requests::Features;

use super::*;
use crate::change::Change;
use crate::new_message::NewMessage;

/// In the room, with a node that knows everything.
fn joined() -> Story {
    let mut story = Story::begin(None);
    story.model.opened();
    for (request, name) in [("Auth", "p"), ("Enter", "e")] {
        let request = story.one(request);
        let mut body = at(name, 0);
        body["features"] = serde_json::to_value(Features::all()).unwrap();
        story.ack(&request, &body);
    }
    story.sent();
    story
}

/// An entry of the log of the room, or of the private log, that is about this message.
fn change(kind: &str, topic: (&str, &str), seq: u64, name: &str, target: &str, fields: &Value) -> Value {
    let log = if topic.0 == "room" { "e" } else { "p" };
    let mut body = json!({ "sender_username": "bob", "target": { "message_id": id(target) }, "sent_at": 1,
        "epoch": epoch(log), "seq": seq, "message_id": id(name) });
    body[topic.0] = topic.1.into();
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({ "message_type": kind, "message_body": body })
}

const ROOM: (&str, &str) = ("room", "ops");
const USER: (&str, &str) = ("target_username", "ann");

/// The messages on show, with their reactions.
fn shown(story: &Story) -> Vec<String> {
    let messages = story.model.current().unwrap().lines.iter().filter_map(Line::message);
    messages.map(|message| format!("{} {}", message.content, message.reactions.shown())).collect()
}

fn message_id(name: &str) -> MessageId {
    id(name).parse().unwrap()
}

#[test]
fn changes_of_others_reach_the_conversation_and_the_program() {
    let mut story = joined();
    story.said("ops", 1);
    story.hears(&change("Edit", ROOM, 2, "m2", "m1", &json!({ "content": "new" })));
    story.hears(&change("React", ROOM, 3, "m3", "m1", &json!({ "reaction": "👍", "on": true })));
    let mine = json!({ "sender_username": "ann", "reaction": "👍", "on": true });
    story.hears(&change("React", ROOM, 4, "m4", "m1", &mine));
    story.hears(&change("React", ROOM, 5, "m5", "m1", &json!({ "reaction": "👍", "on": false })));
    // After a gap, the node sends everything again.
    story.hears(&change("React", ROOM, 3, "m3", "m1", &json!({ "reaction": "👍", "on": true })));
    story.hears(&change("Edit", ROOM, 2, "m2", "m1", &json!({ "content": "new" })));
    assert_eq!(shown(&story), ["new 👍1*"]);
    story.hears(&change("Retract", ROOM, 6, "m6", "m1", &json!({ "reason": "x\u{1b}[2Jy" })));
    story.hears(&change("Edit", ROOM, 7, "m7", "m1", &json!({ "content": "too late" })));
    assert_eq!(shown(&story), [" "]);
    story.sent();
    assert_eq!(
        story.reported,
        [
            "#ops bob edited a message: new",
            "#ops bob reacted with 👍",
            "#ops ann reacted with 👍",
            "#ops bob took back 👍",
            "#ops a message of bob was deleted: xy",
            "#ops bob edited a message: too late"
        ]
    );
    story.loses_the_connection();
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 0));
    assert_eq!(story.one("Enter")["message_body"]["since"]["seq"], 7, "changes move the position");
}

/// In a private log, the entries of the other side may come in another order. Ids decide.
#[test]
fn reordered_private_changes_end_alike() {
    let changes = [
        change("Edit", USER, 2, "w2", "w1", &json!({ "content": "first" })),
        change("Edit", USER, 3, "w3", "w1", &json!({ "content": "second" })),
        change("React", USER, 4, "w4", "w1", &json!({ "reaction": "+", "on": true })),
        change("React", USER, 5, "w5", "w1", &json!({ "reaction": "+", "on": false })),
        change("React", USER, 6, "w6", "w1", &json!({ "reaction": "-", "on": true })),
    ];
    for (order, at) in [([0, 1, 2, 3, 4], 5), ([4, 3, 2, 1, 0], 0), ([1, 0, 3, 2, 4], 3)] {
        let mut story = Story::begin(Some("bob"));
        for (count, index) in order.into_iter().enumerate() {
            if count == at {
                story.whispered(1, "w1");
            }
            story.hears(&changes[index]);
        }
        if at == 5 {
            story.whispered(1, "w1");
        }
        assert_eq!(shown(&story), ["second -1"], "{order:?}, the message at {at}");
    }
}

#[test]
fn a_private_change_waits_for_its_message_and_conversation() {
    let mut story = Story::begin(None);
    story.hears(&change("Edit", USER, 1, "w2", "w1", &json!({ "content": "new" })));
    assert_eq!(story.model.conversations().len(), 1, "a change opens no conversation");
    story.whispered(2, "w1");
    story.model.switch(true);
    assert_eq!(shown(&story), ["new "]);
}

#[test]
fn a_page_and_later_changes_count_each_reaction_once() {
    let mut story = joined();
    let old = |seq, reactions: &Value| {
        json!({ "sender_username": "bob", "room": "ops", "content": format!("r{seq}"), "sent_at": 1,
        "epoch": epoch("e"), "seq": seq, "message_id": id(&format!("m{seq}")), "reactions": reactions })
    };
    story.said("ops", 9);
    story.model.ask_history(2);
    let first = story.one("History");
    // It came before the answer, so the node had it when it read the log.
    story.hears(&change("React", ROOM, 10, "ma", "m8", &json!({ "reaction": "+", "on": true })));
    let page = json!({ "messages": [old(8, &json!({ "+": { "count": 2, "mine": true } }))],
        "epoch": epoch("e"), "more": true });
    story.ack(&first, &page);
    let second = story.one("History");
    // This came after the first page, which waits for the second.
    story.hears(&change("React", ROOM, 11, "mb", "m8", &json!({ "reaction": "+", "on": true })));
    story.hears(&change("Edit", ROOM, 12, "mc", "m7", &json!({ "content": "new" })));
    story.ack(&second, &json!({ "messages": [old(7, &json!({}))], "epoch": epoch("e"), "more": false }));
    assert_eq!(shown(&story), ["new ", "r8 +3*", "r9 "]);
}

#[test]
fn own_changes_keep_their_id_and_their_refusals_say_why() {
    let mut story = joined();
    story.model.send(NewMessage::new("yes").reply_to(message_id("m1")), story.now);
    let sent = story.one("GroupChat");
    assert_eq!(sent["message_body"]["reply_to"], id("m1"));
    story.ack(&sent, &json!({ "message_id": id("m1"), "epoch": epoch("e"), "seq": 1, "sent_at": 1 }));
    let edit = |version| Change::Edit { content: "no".into(), if_version: Some(version) };
    story.model.change(message_id("m1"), edit(message_id("m1")), story.now);
    let first = story.one("Edit");
    assert_eq!(
        first["message_body"],
        json!({ "sender_username": "ann", "room": "ops", "message_id": id("m1"), "content": "no", "if_version": id("m1") })
    );
    story.loses_the_connection();
    let auth = story.one("Auth");
    let mut body = at("p", 0);
    body["features"] = serde_json::to_value(Features::all()).unwrap();
    story.ack(&auth, &body);
    let enter = story.one("Enter");
    story.ack(&enter, &body);
    let again = story.one("Edit");
    assert_eq!((&again["id"], &again["message_body"]), (&first["id"], &first["message_body"]));
    story.error(
        &again,
        &json!({ "code": "conflict", "message": "no",
            "current": { "version": id("m2"), "content": "an\nother" } }),
    );
    story.model.change(message_id("m1"), Change::Retract { reason: None }, story.now);
    let retract = story.one("Retract");
    story.error(&retract, &json!({ "code": "gone", "message": "it is gone" }));
    story.model.change(message_id("m1"), Change::React { reaction: "+".into(), on: true }, story.now);
    let react = story.one("React");
    assert_eq!(react["message_body"]["reaction"], "+");
    let stored = change(
        "React",
        ROOM,
        2,
        "m2",
        "m1",
        &json!({ "sender_username": "ann", "reaction": "+", "on": true,
        "client_id": react["id"] }),
    );
    story.hears(&stored);
    story.sent();
    assert_eq!(
        story.shown,
        [
            "-- not edited in #ops: it has a newer text: an ⏎ other",
            "-- not deleted in #ops: the message was deleted"
        ]
    );
    assert_eq!((story.model.unsent(), story.model.failed()), (0, 2), "its copy came before the answer");
}
