//! The commands about a message that was sent. Owns which message they mean and what they ask for; the model sends it. Called by the
//! commands.

use std::time::Instant;

use chatnode_client::model::{Line, Model};
use chatnode_client::{Change, Message, MessageId, NewMessage};

use super::names::with_mentions;
use super::outcome::{Outcome, refuse};

/// Their help. A message is named before the rest.
pub(super) const HELP: [&str; 7] = [
    "/reply [^N] TEXT    answer a message",
    "/react [^N] EMOJI   react to a message, with an emoji or a short text",
    "/unreact [^N] EMOJI take a reaction of yours away",
    "/edit [^N] [TEXT]   replace the text of a message of yours; without TEXT, the text comes into the prompt",
    "/delete [^N] [WHY]  delete a message of yours, for everybody",
    "^1 is the newest message, ^2 the one before; for /edit and /delete, of yours. Without it, the marked message is meant (Ctrl-R),",
    "or else the newest: of yours for /edit and /delete, of others for /reply, /react and /unreact",
];

/// Runs one of them. `None` if the word is none of them. `marked` is the message that the user has marked.
pub(super) fn run(
    model: &mut Model,
    word: &str,
    rest: &str,
    marked: Option<MessageId>,
    now: Instant,
) -> Option<Outcome> {
    let (feature, is_own) = match word {
        "edit" => ("edit", true),
        "delete" => ("retract", true),
        "react" | "unreact" => ("react", false),
        "reply" => ("reply_to", false),
        _ => return None,
    };
    if model.is_live() && !model.features().has(feature) {
        return Some(refuse(model, &format!("this node runs an older version, without /{word}")));
    }
    let (number, text) = numbered(rest);
    // The newest one of the user may not be here yet: another one would be changed.
    if is_own && (number.is_some() || marked.is_none()) && model.is_sending() {
        return Some(refuse(
            model,
            &format!("/{word}: your last message is still on its way; wait until it is stored"),
        ));
    }
    let message = match find(model, number, marked, is_own) {
        Ok(message) => message,
        Err(why) => return Some(refuse(model, &format!("/{word}: {why}"))),
    };
    let (id, version) = (message.id(), message.version.unwrap_or(message.id()));
    if word == "edit" && model.is_changing(id) {
        return Some(refuse(
            model,
            "/edit: your last change of this message is still on its way; wait until it is stored",
        ));
    }
    let change = match word {
        "edit" if text.is_empty() => return Some(Outcome::Edit(id, message.content.clone())),
        "edit" => Change::Edit { content: text.to_owned(), if_version: Some(version) },
        "delete" => Change::Retract { reason: Some(text.to_owned()).filter(|text| !text.is_empty()) },
        "react" | "unreact" if text.is_empty() => {
            return Some(refuse(model, &format!("/{word} EMOJI: which one?")));
        }
        "react" | "unreact" => Change::React { reaction: text.to_owned(), on: word == "react" },
        _ if text.is_empty() => return Some(refuse(model, "/reply TEXT: there is no text")),
        _ => {
            let reply = with_mentions(model, NewMessage::new(text)).reply_to(id);
            model.send(reply, now);
            return Some(Outcome::Replied);
        }
    };
    model.change(id, change, now);
    Some(Outcome::Changed)
}

/// The number after `^`, which is 1 if there is none, and the text after it.
fn numbered(rest: &str) -> (Option<usize>, &str) {
    let (first, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let number = first.strip_prefix('^').and_then(|digits| match digits {
        "" => Some(1),
        _ if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().unwrap_or(usize::MAX)),
        _ => None,
    });
    match number {
        Some(number) => (Some(number), text.trim()),
        None => (None, rest),
    }
}

/// The message that is meant, of the conversation on show.
fn find(
    model: &Model,
    number: Option<usize>,
    marked: Option<MessageId>,
    is_own: bool,
) -> Result<&Message, &'static str> {
    let conversation = model.current().ok_or("no room is open")?;
    let fits = |message: &&Message| !message.is_retracted() && (!is_own || message.sender == *model.me());
    let mut newest = conversation.lines.iter().rev().filter_map(Line::message).filter(fits);
    match (number, marked) {
        (Some(number), _) => number
            .checked_sub(1)
            .and_then(|skipped| newest.nth(skipped))
            .ok_or("there is no such message here"),
        (None, Some(marked)) => match conversation.find(marked) {
            Some(message) if fits(&message) => Ok(message),
            Some(message) if message.is_retracted() => Err("the marked message was deleted"),
            Some(_) => Err("the marked message is not yours"),
            None => Err("the marked message is no longer here"),
        },
        (None, None) if is_own => newest.next().ok_or("there is no message of yours here"),
        (None, None) => {
            let by_others = newest.clone().find(|message| message.sender != *model.me());
            by_others.or_else(|| newest.next()).ok_or("there is no message here")
        }
    }
}

#[cfg(test)]
mod tests {
    use chatnode_client::model::Effect;
    use chatnode_client::{Topic, UserName};
    use serde_json::{Value, json};

    use super::super::command::run_command;
    use super::*;

    fn id(number: u64) -> String {
        format!("00000000-0000-7000-8000-{number:012x}")
    }

    /// Signed in, with messages from these users to each other, the oldest first.
    fn model(senders: &[&str]) -> Model {
        let mut model = Model::new(UserName::parse("ann").unwrap(), 0);
        let now = Instant::now();
        model.open(Topic::User(UserName::parse("bob").unwrap()), now);
        model.opened();
        let features = ["edit", "retract", "react", "reply_to", "mentions"];
        let body = json!({ "epoch": "0123456789abcdef", "seq": 0, "message_id": "", "dedupe_ms": 300_000, "read": {},
            "features": features });
        let auth = sent(&mut model);
        let ack = json!({ "message_type": "Ack", "message_body": body, "id": auth[0]["id"] });
        model.receive(&ack.to_string(), now);
        for (number, sender) in (1..).zip(senders) {
            let other = if *sender == "ann" { "bob" } else { "ann" };
            let body = json!({ "sender_username": sender, "target_username": other, "content": format!("m{number}"),
                "sent_at": 1, "epoch": "0123456789abcdef", "seq": number, "message_id": id(number) });
            let frame = json!({ "message_type": "PrivateChat", "message_body": body });
            model.receive(&frame.to_string(), now);
        }
        sent(&mut model);
        model
    }

    fn sent(model: &mut Model) -> Vec<Value> {
        std::iter::from_fn(|| model.next_effect())
            .filter_map(|effect| match effect {
                Effect::Send(frame) => serde_json::from_str(&frame).ok(),
                _ => None,
            })
            .collect()
    }

    /// What a command asks for: the kind of the request, the message, and the rest.
    fn asked(senders: &[&str], command: &str, marked: Option<u64>) -> (String, Value, Value) {
        let mut model = model(senders);
        let marked = marked.map(|number| id(number).parse().unwrap());
        let expected = if command.starts_with("/reply") { Outcome::Replied } else { Outcome::Changed };
        assert_eq!(run_command(&mut model, command, marked, Instant::now()), expected, "{command}");
        let request = sent(&mut model).remove(0);
        let body = &request["message_body"];
        let target = if body["reply_to"].is_null() { &body["message_id"] } else { &body["reply_to"] };
        let said = ["content", "reaction", "reason"].iter().find_map(|field| body.get(field));
        (
            request["message_type"].as_str().unwrap().to_owned(),
            target.clone(),
            said.cloned().unwrap_or(Value::Null),
        )
    }

    #[test]
    fn each_command_finds_its_message() {
        let senders = ["ann", "bob", "ann", "bob", "ann"];
        for (command, marked, kind, number, said) in [
            ("/edit new\ntext", None, "Edit", 5, json!("new\ntext")),
            ("/edit ^ ^2", None, "Edit", 5, json!("^2")),
            ("/edit ^2 new", Some(1), "Edit", 3, json!("new")),
            ("/edit new", Some(1), "Edit", 1, json!("new")),
            ("/delete", None, "Retract", 5, json!(null)),
            ("/delete ^3 a typo", None, "Retract", 1, json!("a typo")),
            ("/react 👍", None, "React", 4, json!("👍")),
            ("/unreact ^2 ok", None, "React", 4, json!("ok")),
            ("/react ^_^", Some(3), "React", 3, json!("^_^")),
            ("/reply yes, @bob", None, "PrivateChat", 4, json!("yes, @bob")),
            ("/reply ^5 yes", None, "PrivateChat", 1, json!("yes")),
        ] {
            assert_eq!(
                asked(&senders, command, marked),
                (kind.to_owned(), json!(id(number)), said),
                "{command}"
            );
        }
        assert_eq!(asked(&["ann"], "/react 👍", None).1, json!(id(1)), "there is no other");
    }

    #[test]
    fn a_command_without_its_message_says_why() {
        let senders = ["ann", "bob"];
        for (command, marked, why) in [
            ("/edit new", Some(2), "/edit: the marked message is not yours"),
            ("/react 👍", Some(9), "/react: the marked message is no longer here"),
            ("/delete ^2", None, "/delete: there is no such message here"),
            ("/delete ^0", None, "/delete: there is no such message here"),
            ("/reply ^99999999999999999999999 x", None, "/reply: there is no such message here"),
            ("/reply", None, "/reply TEXT: there is no text"),
            ("/react ^1", None, "/react EMOJI: which one?"),
        ] {
            let mut model = model(&senders);
            let marked = marked.map(|number| id(number).parse().unwrap());
            assert_eq!(
                run_command(&mut model, command, marked, Instant::now()),
                Outcome::Refused,
                "{command}"
            );
            assert_eq!(model.current().unwrap().lines.back().unwrap().text(), why);
            assert!(sent(&mut model).is_empty());
        }
        let mut waiting = model(&senders);
        for (command, outcome) in [
            ("/edit one", Outcome::Changed),
            ("/edit two", Outcome::Refused),
            ("hello", Outcome::Done),
            ("/delete", Outcome::Refused),
            ("/delete ^1", Outcome::Refused),
            ("/react 👍", Outcome::Changed),
        ] {
            assert_eq!(run_command(&mut waiting, command, None, Instant::now()), outcome, "{command}");
        }
        let marked = id(1).parse().ok();
        assert_eq!(
            run_command(&mut waiting, "/delete", marked, Instant::now()),
            Outcome::Changed,
            "it is known"
        );
        let edit = run_command(&mut model(&senders), "/edit", None, Instant::now());
        assert_eq!(edit, Outcome::Edit(id(1).parse().unwrap(), "m1".into()));
        let nobody = run_command(&mut model(&[]), "/delete", None, Instant::now());
        assert_eq!(nobody, Outcome::Refused);
    }
}
