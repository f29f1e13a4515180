//! Rooms with rights: what the user is in a room, what is shown of it, and what the user asks for.

use chatnode_protocol::{Role, RoomKind};

use super::*;
use crate::model::Membership;
use crate::moderation::Moderation;
use crate::room_settings::RoomSettings;

/// In the room, of which the node says this.
fn joined(rights: &Value) -> Story {
    let mut story = Story::begin(None);
    story.model.opened();
    enter(&mut story, rights);
    story.sent();
    story
}

fn enter(story: &mut Story, rights: &Value) {
    let auth = story.one("Auth");
    story.ack(&auth, &at("p", 0));
    let enter = story.one("Enter");
    let mut body = at("e", 0);
    if !rights.is_null() {
        body["rights"] = rights.clone();
    }
    story.ack(&enter, &body);
}

/// An entry of the log of the room.
fn entry(kind: &str, seq: u64, fields: &Value) -> Value {
    let mut body = json!({ "sender_username": "bob", "room": "ops", "sent_at": 1, "epoch": epoch("e"), "seq": seq,
        "message_id": id(&format!("m{seq}")) });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({ "message_type": kind, "message_body": body })
}

fn act(seq: u64, action: &str, target: &str, fields: &Value) -> Value {
    let mut fields = fields.clone();
    (fields["action"], fields["target_username"]) = (action.into(), target.into());
    entry("Moderation", seq, &fields)
}

/// What the room is to the user.
fn rights(story: &Story) -> Value {
    serde_json::to_value(story.model.current().unwrap().rights()).unwrap()
}

#[test]
fn rights_follow_the_entries_of_the_log() {
    let mut story =
        joined(&json!({ "kind": "private", "topic": "on call", "role": "member", "muted_until": 9 }));
    let first = json!({ "kind": "private", "topic": "on call", "role": "member", "muted_until": 9 });
    assert_eq!(rights(&story), first);
    story.hears(&entry("Room", 1, &json!({ "kind": "announce", "topic": "", "slow_mode_ms": 5_000 })));
    story.hears(&act(2, "role", "ann", &json!({ "role": "moderator" })));
    story.hears(&act(3, "unmute", "ann", &json!({})));
    story.hears(&act(4, "mute", "eve", &json!({})));
    assert_eq!(rights(&story), json!({ "kind": "announce", "slow_mode_ms": 5_000, "role": "moderator" }));
    story.hears(&entry("Room", 5, &json!({ "slow_mode_ms": 0, "topic": "new" })));
    story.hears(&act(6, "mute", "ann", &json!({ "until": 7 })));
    // Nobody knows the role that a newer node has.
    story.hears(&act(7, "role", "ann", &json!({ "role": "janitor" })));
    let last = json!({ "kind": "announce", "topic": "new", "role": "janitor", "muted_until": 7 });
    assert_eq!(rights(&story), last);
    // What came before is sent again after a gap.
    story.hears(&entry("Room", 1, &json!({ "kind": "private" })));
    assert_eq!(rights(&story), last);
    story.hears(&act(8, "mute", "ann", &json!({})));
    story.hears(&act(9, "remove", "ann", &json!({})));
    assert_eq!(rights(&story), json!({ "kind": "announce", "topic": "new", "muted_until": 0 }));
    story.sent();
    assert_eq!(story.shown.len(), 9, "{:?}", story.shown);
    assert_eq!(
        story.shown[0],
        "-- bob changed #ops: it is announce, each user may write once in 5 s, it has no topic"
    );
    assert_eq!(story.shown[3], "-- bob muted eve in #ops");
}

#[test]
fn room_gets_rights_with_an_entry_and_with_each_answer() {
    let mut story = joined(&json!(null));
    assert_eq!(rights(&story), json!(null));
    story.hears(&act(1, "mute", "eve", &json!({})));
    assert_eq!(rights(&story), json!({ "kind": "open" }));
    story.hears(&entry("Room", 2, &json!({ "kind": "private", "owner": "ann" })));
    assert_eq!(rights(&story), json!({ "kind": "private", "role": "owner" }));
    story.loses_the_connection();
    assert_eq!(rights(&story)["role"], "owner");
    enter(&mut story, &json!({ "kind": "open", "role": "moderator" }));
    assert_eq!(rights(&story), json!({ "kind": "open", "role": "moderator" }));
}

#[test]
fn removed_user_has_no_rights_and_sends_nothing() {
    let mut story = joined(&json!({ "kind": "private", "role": "member" }));
    story.model.send("on its way", story.now);
    story.hears(&act(1, "kick", "ann", &json!({ "reason": "calm\u{1b}[2J down" })));
    story.hears(&json!({ "message_type": "Removed",
        "message_body": { "room": "ops", "action": "kick", "reason": "calm down" } }));
    story.model.send("too late", story.now);
    story.sent();
    assert_eq!(rights(&story), json!(null));
    assert_eq!(story.model.current().unwrap().membership, Membership::Refused);
    assert_eq!((story.model.unsent(), story.model.failed()), (0, 3), "the room, and two messages");
    assert_eq!(story.shown[0], "-- bob kicked ann in #ops: calm down");
    let removed = "-- you are no longer in #ops: you were sent out, and may enter again: calm down";
    assert_eq!(story.shown[1], removed);
    // The user comes back.
    story.model.open(Topic::Room(RoomName::parse("ops").unwrap()), story.now);
    let enter = story.one("Enter");
    let mut body = at("e", 1);
    (body["recovered"], body["rights"]) = (true.into(), json!({ "kind": "private", "role": "member" }));
    story.ack(&enter, &body);
    assert_eq!(rights(&story)["role"], "member");
}

#[test]
fn invitation_is_shown_once_and_opens_a_place_for_it() {
    let mut story = Story::begin(None);
    story.model.leave();
    assert!(story.model.current().is_none());
    let invitation = json!({ "message_type": "Invitation", "message_body": { "sender_username": "bob", "room": "dev",
        "target_username": "ann", "reason": "welcome", "sent_at": 1, "epoch": epoch("p"), "seq": 3, "message_id": id("i") } });
    story.hears(&invitation);
    story.hears(&invitation);
    story.sent();
    assert_eq!(story.shown, ["-- bob invites you to #dev: welcome"]);
    let current = story.model.current().unwrap();
    assert_eq!((current.topic.to_string().as_str(), current.lines.len()), ("@bob", 1));
    story.loses_the_connection();
    assert_eq!(story.one("Auth")["message_body"]["since"]["seq"], 3);
}

#[test]
fn block_is_shown_once_in_the_conversation() {
    let mut story = Story::begin(None);
    story.model.open(Topic::User(UserName::parse("bob").unwrap()), story.now);
    let block = |seq: u64, on: bool| {
        json!({ "message_type": "Block", "message_body": { "sender_username": "ann", "target_username": "bob", "on": on,
            "sent_at": 1, "epoch": epoch("p"), "seq": seq, "message_id": id(&format!("b{seq}")) } })
    };
    story.hears(&block(3, true));
    story.hears(&block(3, true));
    story.hears(&block(4, false));
    story.sent();
    let shown = ["-- you block bob: no private messages of theirs come", "-- you no longer block bob"];
    assert_eq!(story.shown, shown);
    story.loses_the_connection();
    assert_eq!(story.one("Auth")["message_body"]["since"]["seq"], 4);
}

#[test]
fn request_about_rights_is_sent_and_its_failure_is_told() {
    let mut story = joined(&json!({ "kind": "open", "role": "owner" }));
    let bob = || UserName::parse("bob").unwrap();
    let ops = || RoomName::parse("ops").unwrap();
    story.model.moderate(bob(), Moderation::Ban { until: Some(5) }, Some("spam".into()));
    let ban = story.one("Moderate");
    assert_eq!(
        ban["message_body"],
        json!({ "sender_username": "ann", "room": "ops", "action": "ban", "target_username": "bob", "until": 5,
            "reason": "spam" })
    );
    story.error(&ban, &json!({ "code": "forbidden", "message": "a higher\u{1b}[2J role" }));
    story.model.moderate(bob(), Moderation::SetRole(Role::Member), None);
    let role = story.one("Moderate");
    assert_eq!(
        (&role["message_body"]["action"], &role["message_body"]["role"]),
        (&json!("role"), &json!("member"))
    );
    story.ack(&role, &json!({ "epoch": epoch("e"), "sent_at": 1, "unchanged": true }));
    story.model.change_room(ops(), RoomSettings::new().slow_mode(Duration::from_secs(3)));
    let room = story.one("Room");
    assert_eq!(
        room["message_body"],
        json!({ "sender_username": "ann", "room": "ops", "slow_mode_ms": 3_000 })
    );
    story.ack(&room, &json!({ "epoch": epoch("e"), "sent_at": 1, "seq": 4, "message_id": id("m4") }));
    story.model.block(bob(), true);
    let block = story.one("Block");
    assert_eq!(
        block["message_body"],
        json!({ "sender_username": "ann", "target_username": "bob", "on": true })
    );
    story.error(&block, &json!({ "code": "forbidden", "message": "no" }));
    story.model.moderate(bob(), Moderation::Kick, None);
    story.loses_the_connection();
    story.model.change_room(ops(), RoomSettings::new().topic("x"));
    story.sent();
    let lost = "-- can't kick bob: the connection was lost before an answer came, so it may be done or not";
    assert_eq!(
        story.shown,
        [
            "-- can't ban bob: a higher role",
            "-- nothing changed: it was so already",
            "-- can't block bob: no",
            lost
        ]
    );
}

#[test]
fn room_that_was_made_is_entered_and_on_show() {
    let mut story = joined(&json!(null));
    let dev = RoomName::parse("dev").unwrap();
    for made in [false, true] {
        story.model.make_room(dev.clone(), RoomSettings::new().kind(RoomKind::Private));
        let request = story.one("Room");
        assert_eq!(request["message_body"]["kind"], "private");
        if made {
            story.ack(
                &request,
                &json!({ "epoch": epoch("d"), "sent_at": 1, "seq": 1, "message_id": id("d1") }),
            );
        } else {
            story.error(&request, &json!({ "code": "forbidden", "message": "it is in use" }));
        }
    }
    assert_eq!(story.one("Enter")["message_body"]["room"], "dev");
    assert_eq!(story.model.current().unwrap().topic, Topic::Room(dev));
    assert_eq!(story.shown, ["-- can't make #dev: it is in use"]);
}
