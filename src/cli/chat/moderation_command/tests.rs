//! What each command asks a node for, and what is answered at once. Owns a model that is signed in and in a room.

use std::time::Instant;

use chatnode_client::model::Effect;
use serde_json::{Value, json};

use super::super::command::run_command;
use super::*;

fn sent(model: &mut Model) -> Vec<Value> {
    std::iter::from_fn(|| model.next_effect())
        .filter_map(|effect| match effect {
            Effect::Send(frame) => serde_json::from_str(&frame).ok(),
            _ => None,
        })
        .collect()
}

fn answer(model: &mut Model, request: &Value, rest: &Value) {
    let mut body = json!({ "epoch": "0123456789abcdef", "seq": 0, "message_id": "", "dedupe_ms": 300_000, "read": {},
        "room": "ops" });
    body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    let ack = json!({ "message_type": "Ack", "message_body": body, "id": request["id"] });
    model.receive(&ack.to_string(), Instant::now());
}

/// Signed in and in the room, of which the node says this.
fn model(rights: &Value) -> Model {
    let mut model = Model::new(UserName::parse("ann").unwrap(), 0);
    model.open(Topic::Room(RoomName::parse("ops").unwrap()), Instant::now());
    model.opened();
    let auth = sent(&mut model).remove(0);
    answer(&mut model, &auth, &json!({ "features": ["room", "moderate", "block"] }));
    let enter = sent(&mut model).remove(0);
    answer(&mut model, &enter, &json!({ "rights": rights, "read": null }));
    sent(&mut model);
    model
}

fn role(role: &str) -> Value {
    json!({ "kind": "open", "role": role })
}

/// What a command asks for, without who asks.
fn asked(rights: &Value, command: &str) -> Value {
    let mut model = model(rights);
    let outcome = run_command(&mut model, command, None, Instant::now());
    assert_eq!(outcome, Outcome::Done, "{command} {:?}", model.current().unwrap().lines);
    let request = sent(&mut model).remove(0);
    let mut body = request["message_body"].clone();
    assert_eq!(body.as_object_mut().unwrap().remove("sender_username"), Some(json!("ann")));
    body
}

fn refused(rights: &Value, command: &str) -> String {
    let mut model = model(rights);
    assert_eq!(run_command(&mut model, command, None, Instant::now()), Outcome::Refused, "{command}");
    assert!(sent(&mut model).is_empty(), "{command}");
    model.current().unwrap().lines.back().unwrap().text()
}

#[test]
fn each_command_asks_for_what_it_says() {
    let act =
        |action: &str, target: &str| json!({ "room": "ops", "action": action, "target_username": target });
    let with = |mut body: Value, field: &str, value: &str| {
        body[field] = value.into();
        body
    };
    for (command, body) in [
        ("/room announce", json!({ "room": "ops", "kind": "announce" })),
        ("/room private #the lab", json!({ "room": "the lab", "kind": "private" })),
        ("/topic on call\ntoday", json!({ "room": "ops", "topic": "on call\ntoday" })),
        ("/topic -", json!({ "room": "ops", "topic": "" })),
        ("/slow 30", json!({ "room": "ops", "slow_mode_ms": 30_000 })),
        ("/slow 0", json!({ "room": "ops", "slow_mode_ms": 0 })),
        ("/invite @bob", act("invite", "bob")),
        ("/kick bob calm down", with(act("kick", "bob"), "reason", "calm down")),
        ("/ban bob  spam", with(act("ban", "bob"), "reason", "spam")),
        ("/unban bob smith", act("unban", "bob smith")),
        ("/mute bob", act("mute", "bob")),
        ("/unmute @bob smith", act("unmute", "bob smith")),
        ("/role bob smith moderator", with(act("role", "bob smith"), "role", "moderator")),
        ("/remove bob", act("remove", "bob")),
        ("/remove ann", act("remove", "ann")),
        ("/block @bob smith", json!({ "target_username": "bob smith", "on": true })),
        ("/unblock bob", json!({ "target_username": "bob", "on": false })),
    ] {
        assert_eq!(asked(&role("owner"), command), body, "{command}");
    }
    let mute = asked(&role("moderator"), "/mute bob 5");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let until = mute["until"].as_u64().unwrap();
    assert!((now + 240_000..=now + 300_000).contains(&until), "{mute}");
    // A newer node may know roles that this version does not.
    assert_eq!(asked(&role("janitor"), "/kick bob"), act("kick", "bob"));
    assert_eq!(asked(&json!({ "kind": "open" }), "/room open new"), json!({ "room": "new", "kind": "open" }));
}

#[test]
fn a_role_that_is_too_low_asks_for_nothing() {
    let none = json!({ "kind": "open" });
    let no_role = "only owners and moderators may do this here, and you have no role";
    let as_member = "only owners and moderators may do this here, and you are a member";
    for (rights, command, why) in [
        (&none, "/ban bob", format!("/ban: {no_role}")),
        (&none, "/topic new", format!("/topic: {no_role}")),
        (&none, "/remove ann", "/remove: you have no role here; /leave leaves the room".into()),
        (&role("member"), "/invite bob", format!("/invite: {as_member}")),
        (&role("member"), "/slow 5", format!("/slow: {as_member}")),
        (
            &role("moderator"),
            "/room private",
            "/room: only owners may do this here, and you are a moderator".into(),
        ),
        (
            &role("moderator"),
            "/role bob moderator",
            "/role: only an owner makes another user a moderator".into(),
        ),
        (&role("owner"), "/ban ann", "/ban: nobody does this to themselves".into()),
        (&none, "/block ann", "/block: nobody can block themselves".into()),
        (&none, "/block", "/block: the name of a user must not be empty".into()),
    ] {
        assert_eq!(refused(rights, command), why);
    }
    assert_eq!(asked(&role("moderator"), "/role bob member")["role"], "member");
}

#[test]
fn a_command_that_means_nothing_says_why() {
    let no_rights = "this room has no roles and no topic; /room KIND ROOM makes one that has";
    for (rights, command, why) in [
        (&Value::Null, "/kick bob", format!("/kick: {no_rights}")),
        (&Value::Null, "/topic", format!("/topic: {no_rights}")),
        (&Value::Null, "/room private", format!("/room: {no_rights}")),
        (
            &Value::Null,
            "/room private ops",
            "/room: this room is in use, so it can't be made: choose another name".into(),
        ),
        (&role("owner"), "/room secret", "/room: the kind is private, announce or open".into()),
        (&role("owner"), "/room", "/room: the kind is private, announce or open".into()),
        (&role("owner"), "/ban", "/ban: the name of a user must not be empty".into()),
        (&role("owner"), "/role bob", "/role: after the user, the role: owner, moderator or member".into()),
        (&role("owner"), "/mute bob soon", "/mute: after the user, a number of minutes, up to 525600".into()),
        (&role("owner"), "/mute bob 0", "/mute: after the user, a number of minutes, up to 525600".into()),
        (&role("owner"), "/slow 86401", "/slow: a number of seconds, up to 86400".into()),
        (
            &role("owner"),
            &format!("/topic {}", "x".repeat(257)),
            "/topic: a topic has at most 256 bytes".into(),
        ),
    ] {
        assert_eq!(refused(rights, command), why);
    }
    let mut older = Model::new(UserName::parse("ann").unwrap(), 0);
    older.open(Topic::User(UserName::parse("bob").unwrap()), Instant::now());
    let says = |model: &mut Model, why: &str| {
        assert_eq!(run_command(model, "/kick bob", None, Instant::now()), Outcome::Refused);
        assert_eq!(model.current().unwrap().lines.back().unwrap().text(), why);
    };
    says(&mut older, "/kick: there is no connection now");
    older.opened();
    let auth = sent(&mut older).remove(0);
    answer(&mut older, &auth, &json!({ "features": ["unread"] }));
    says(&mut older, "this node runs an older version, without /kick");
}

#[test]
fn a_topic_is_shown() {
    for (rights, text) in [
        (role("owner"), "this room has no topic"),
        (json!({ "kind": "open", "topic": "on\u{1b}[2J call" }), "topic: on call"),
    ] {
        let mut model = model(&rights);
        assert_eq!(run_command(&mut model, "/topic", None, Instant::now()), Outcome::Done);
        assert_eq!(model.current().unwrap().lines.back().unwrap().text(), text);
    }
}
