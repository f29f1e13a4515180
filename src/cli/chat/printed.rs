//! The lines that a chat without a screen prints. Owns their form, which scripts may rely on: the place, who, and a text at the end that
//! can't imitate another line. Decides nothing. Called by the line mode.

use chatnode_client::model::{Line, Model};
use chatnode_client::text::harmless;
use chatnode_client::{Event, Message, Topic};

/// A message, a gap, or what was done in a room with rights. A message is one line; what it answers comes in a line before it, the reactions that it had when it came after it.
pub(super) fn line(model: &Model, topic: Option<&Topic>, line: &Line) -> String {
    let place = topic.map_or_else(|| "@".to_owned(), Topic::to_string);
    let Some(message) = line.message() else { return format!("{place} -- {}\n", line.text()) };
    let sender = &message.sender;
    if let Some(retraction) = &message.retraction {
        return format!("{place} a message of {sender} was {retraction}\n");
    }
    let answered = topic.and_then(|topic| answered(model, topic, message));
    let before = answered.map(|answered| format!("{place} {sender} replied to {answered}\n"));
    let quote = message.quote();
    let after = message.reactions.iter().map(|(reaction, count)| {
        let users = if count.count == 1 { "user" } else { "users" };
        format!("{place} {} {users} reacted with {} to {quote}\n", count.count, harmless(reaction))
    });
    let text = format!("{place} {sender}: {}\n", message.plain());
    before.into_iter().chain([text]).chain(after).collect()
}

/// A change of a message by somebody else. `None` if it is none.
pub(super) fn change(model: &Model, event: &Event) -> Option<String> {
    match event {
        Event::Edited { own_id: None, .. } | Event::Retracted { own_id: None, .. } => {
            Some(format!("{event}\n"))
        }
        Event::Reacted { own_id: None, topic, message_id, on, .. } => {
            let of = model.conversations().iter().find(|each| each.topic == *topic);
            let quote = of.and_then(|conversation| conversation.quote(*message_id));
            let quote = quote.map(|quote| format!(" {} {quote}", if *on { "to" } else { "from" }));
            Some(format!("{event}{}\n", quote.unwrap_or_default()))
        }
        _ => None,
    }
}

fn answered(model: &Model, topic: &Topic, message: &Message) -> Option<String> {
    model.conversations().iter().find(|each| each.topic == *topic)?.answered_by(message)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use chatnode_client::model::Effect;
    use chatnode_client::{RoomName, UserName};
    use serde_json::{Value, json};

    use super::*;

    fn id(seq: u64) -> String {
        format!("00000000-0000-7000-8000-{seq:012x}")
    }

    /// What is printed of these frames. In the room is ann.
    fn printed(frames: &[Value]) -> String {
        let mut model = Model::new(UserName::parse("ann").unwrap(), 0);
        model.begin(vec![RoomName::parse("ops").unwrap()], None);
        let mut printed = String::new();
        for (seq, frame) in (1..).zip(frames) {
            let mut frame = frame.clone();
            let body = json!({ "room": "ops", "sent_at": 1, "epoch": "0123456789abcdef", "seq": seq, "message_id": id(seq) });
            frame["message_body"].as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
            model.receive(&frame.to_string(), Instant::now());
            while let Some(effect) = model.next_effect() {
                match effect {
                    Effect::Show(topic, shown) => printed += &line(&model, topic.as_ref(), &shown),
                    Effect::Report(event) => printed += &change(&model, &event).unwrap(),
                    _ => {}
                }
            }
        }
        printed
    }

    fn frame(kind: &str, sender: &str, fields: Value) -> Value {
        let mut body = fields;
        body["sender_username"] = sender.into();
        json!({ "message_type": kind, "message_body": body })
    }

    #[test]
    fn each_change_is_a_line_that_names_its_message() {
        let target = json!({ "message_id": id(1) });
        let lines = printed(&[
            frame("GroupChat", "bob", json!({ "content": "one\ntwo" })),
            frame("GroupChat", "eve", json!({ "content": "hi", "reply_to": id(1) })),
            frame("GroupChat", "eve", json!({ "content": "hi", "reply_to": id(99) })),
            frame("React", "eve", json!({ "target": target, "reaction": "👍", "on": true })),
            frame("React", "eve", json!({ "target": target, "reaction": "👍", "on": false })),
            frame(
                "React",
                "eve",
                json!({ "target": { "message_id": id(99) }, "reaction": "ok", "on": true }),
            ),
            frame("Edit", "bob", json!({ "target": target, "content": "new" })),
            frame("Retract", "bob", json!({ "target": target, "reason": "typo" })),
        ]);
        let expected = [
            "#ops bob: one ⏎ two",
            "#ops eve replied to bob: one ⏎ two",
            "#ops eve: hi",
            "#ops eve replied to an older message",
            "#ops eve: hi",
            "#ops eve reacted with 👍 to bob: one ⏎ two",
            "#ops eve took back 👍 from bob: one ⏎ two",
            "#ops eve reacted with ok",
            "#ops bob edited a message: new",
            "#ops a message of bob was deleted: typo",
        ];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_act_of_a_moderator_is_a_line_of_the_room() {
        let lines = printed(&[
            frame("Room", "bob", json!({ "kind": "private", "topic": "on\ncall", "owner": "bob" })),
            frame(
                "Moderation",
                "bob",
                json!({ "action": "ban", "target_username": "eve", "reason": "x\ny" }),
            ),
            frame("Invitation", "bob", json!({ "target_username": "ann" })),
        ]);
        let expected = [
            "#ops -- bob changed #ops: it is private, the topic is on ⏎ call",
            "#ops -- bob banned eve in #ops: x ⏎ y",
            "@ -- bob invites you to #ops",
        ];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn old_messages_are_printed_as_they_are_now() {
        let reactions = json!({ "👍": { "count": 2 }, "\u{1b}[2Jok": { "count": 1, "mine": true } });
        let lines = printed(&[
            frame("GroupChat", "bob", json!({ "content": "x", "reactions": reactions, "version": id(9) })),
            frame(
                "GroupChat",
                "bob",
                json!({ "content": "", "retracted": true, "moderated": true, "moderator": "eve" }),
            ),
        ]);
        let expected = [
            "#ops bob: x",
            "#ops 1 user reacted with ok to bob: x",
            "#ops 2 users reacted with 👍 to bob: x",
            "#ops a message of bob was deleted by an administrator, eve",
        ];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn hostile_texts_stay_on_their_line() {
        let hostile = "\u{1b}]0;t\u{7}a\r\n#ops eve: I resign\u{202e}\u{2028}\u{9b}2J\u{0}";
        let target = json!({ "message_id": id(1) });
        let lines = printed(&[
            frame("GroupChat", "bob", json!({ "content": hostile })),
            frame("GroupChat", "bob", json!({ "content": hostile, "reply_to": id(1) })),
            frame("React", "bob", json!({ "target": target, "reaction": hostile, "on": true })),
            frame("Edit", "bob", json!({ "target": target, "content": hostile })),
            frame("Retract", "bob", json!({ "target": target, "reason": hostile })),
        ]);
        assert_eq!(lines.lines().count(), 6, "{lines}");
        assert!(
            lines
                .lines()
                .all(|line| line.starts_with("#ops bob") || line.starts_with("#ops a message of bob"))
        );
        let is_harmful = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{202e}' | '\u{2028}'));
        assert!(!lines.contains(is_harmful), "{lines:?}");
    }
}
