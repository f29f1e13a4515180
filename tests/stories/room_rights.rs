//! Rooms with rights, as clients see them: who may enter and write, invitations, and what moderators do. On two nodes: a moderator is on
//! one, and the user that it acts on is on the other.

use chatnode::config::RoomCreators;
use serde_json::{Value, json};

use crate::support::api::with_tokens;
use crate::support::client::{Client, position};
use crate::support::cluster::{Cluster, Kind};

pub async fn start(kind: Kind) -> Cluster {
    Cluster::start_with(kind, 2, with_tokens).await
}

/// A client that authenticated at the handshake.
pub async fn connect(cluster: &Cluster, node: usize, name: &str) -> Client {
    let token = cluster.token(node, name).await;
    let header = [("authorization", format!("Bearer {token}"))];
    Client::connect_with(cluster.address(node), name, &header).await.unwrap()
}

pub async fn enter(cluster: &Cluster, node: usize, name: &str) -> Client {
    let mut client = connect(cluster, node, name).await;
    client.ok("Enter", json!({ "room": "ops" })).await;
    client
}

/// A room of ann, who is in it.
pub async fn room_of_ann(cluster: &Cluster, kind: &str) -> Client {
    let mut ann = connect(cluster, 0, "ann").await;
    ann.ok("Room", json!({ "room": "ops", "kind": kind, "topic": "on call" })).await;
    ann.ok("Enter", json!({ "room": "ops" })).await;
    ann
}

pub fn act(action: &str, target: &str) -> Value {
    json!({ "room": "ops", "action": action, "target_username": target })
}

fn with(mut body: Value, field: &str, value: impl Into<Value>) -> Value {
    body[field] = value.into();
    body
}

async fn members(client: &mut Client) -> Value {
    client.ok("Members", json!({ "room": "ops" })).await["members"].clone()
}

on_each_store! {
    async fn private_room_is_for_those_with_a_role(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "private").await;
        ann.say("ops", "secret").await;
        let mut bob = connect(&cluster, 1, "bob").await;
        bob.refused("Enter", json!({ "room": "ops", "history": 10 }), "forbidden").await;
        let counts = bob.ok("Unread", json!({ "rooms": ["ops"] })).await;
        assert_eq!(counts["rooms"]["ops"]["unread"], 0, "{counts}");
        bob.refused("Moderate", act("role", "bob"), "invalid_message").await;
        bob.refused("Moderate", with(act("role", "cleo"), "role", "member"), "forbidden").await;
        bob.refused("Room", json!({ "room": "ops", "kind": "open" }), "forbidden").await;
        // An invitation reaches who is away, and `Enter` accepts it.
        bob.leave().await;
        ann.ok("Moderate", with(act("invite", "bob"), "reason", "welcome")).await;
        let mut bob = connect(&cluster, 1, "bob").await;
        bob.ok("Auth", json!({})).await;
        let invitation = bob.next("Invitation").await;
        assert_eq!((&invitation["room"], &invitation["sender_username"]), (&json!("ops"), &json!("ann")));
        assert_eq!((&invitation["reason"], &invitation["target_username"]), (&json!("welcome"), &json!("bob")));
        let ack = bob.ok("Enter", json!({ "room": "ops", "history": 10 })).await;
        assert_eq!(ack["rights"], json!({ "kind": "private", "topic": "on call", "role": "member" }));
        assert_eq!(bob.hears().await, "secret");
        let accepted = ann.wait_for("bob accepts", |frame| frame["message_body"]["role"] == "member").await;
        assert_eq!(accepted["message_body"]["sender_username"], "bob");
        bob.say("ops", "thanks").await;
        assert_eq!(members(&mut ann).await, json!(["ann", "bob"]));
    }

    async fn banned_user_is_out_at_that_entry(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "open").await;
        let mut bob = enter(&cluster, 1, "bob").await;
        let mut second = enter(&cluster, 1, "bob").await;
        let mut cleo = enter(&cluster, 1, "cleo").await;
        bob.say("ops", "one").await;
        ann.ok("Moderate", with(act("ban", "bob"), "reason", "spam")).await;
        ann.say("ops", "two").await;
        for client in [&mut bob, &mut second] {
            let entry = client.next("Moderation").await;
            assert_eq!((&entry["action"], &entry["target_username"], &entry["reason"]), (&json!("ban"), &json!("bob"), &json!("spam")));
            let removed = client.next("Removed").await;
            assert_eq!(removed, json!({ "room": "ops", "action": "ban", "reason": "spam" }));
            client.refused("GroupChat", json!({ "room": "ops", "content": "x" }), "not_in_room").await;
            client.refused("History", json!({ "room": "ops" }), "not_in_room").await;
            client.refused("Members", json!({ "room": "ops" }), "not_in_room").await;
            client.refused("Enter", json!({ "room": "ops" }), "forbidden").await;
            // The socket stays.
            client.ok("Ping", json!({})).await;
            assert!(client.seen().iter().all(|frame| frame["message_body"]["content"] != "two"), "{:?}", client.seen());
        }
        assert_eq!(cleo.hears().await, "one");
        assert_eq!(cleo.hears().await, "two");
        cleo.wait_for("bob leaves", |frame| frame["message_type"] == "Leave").await;
        assert_eq!(members(&mut ann).await, json!(["ann", "cleo"]));
        ann.ok("Moderate", act("unban", "bob")).await;
        assert_eq!(ann.ok("Moderate", act("unban", "bob")).await["unchanged"], true);
        bob.ok("Enter", json!({ "room": "ops" })).await;
        bob.say("ops", "back").await;
    }

    async fn kicked_user_may_come_back_and_muted_one_reads(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "open").await;
        let mut bob = enter(&cluster, 1, "bob").await;
        ann.ok("Moderate", act("kick", "bob")).await;
        assert_eq!(bob.next("Removed").await["action"], "kick");
        // What happened before does not take the user out again.
        bob.ok("Enter", json!({ "room": "ops" })).await;
        let said = bob.say("ops", "here again").await;
        ann.ok("Moderate", act("mute", "bob")).await;
        bob.next("Moderation").await;
        bob.refused("GroupChat", json!({ "room": "ops", "content": "x" }), "forbidden").await;
        let target = json!({ "room": "ops", "message_id": said["message_id"] });
        bob.refused("Edit", with(target.clone(), "content", "x"), "forbidden").await;
        bob.refused("React", with(with(target, "reaction", "👍"), "on", true), "forbidden").await;
        ann.say("ops", "listen").await;
        bob.wait_for("bob reads", |frame| frame["message_body"]["content"] == "listen").await;
        ann.ok("Moderate", act("unmute", "bob")).await;
        bob.say("ops", "I may").await;
    }

    async fn old_id_makes_no_invitation(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "open").await;
        let mut bob = enter(&cluster, 1, "bob").await;
        let mut vic = connect(&cluster, 1, "vic").await;
        vic.ok("Auth", json!({})).await;
        let repeated = async |client: &mut Client, kind: &str, body: Value| {
            client.send_text(client.envelope(kind, body, Some("g")).to_string()).await;
            client.answer("g").await["message_body"].clone()
        };
        let sent = repeated(&mut bob, "GroupChat", json!({ "room": "ops", "content": "hi" })).await;
        ann.ok("Moderate", act("ban", "bob")).await;
        let ack = repeated(&mut bob, "Moderate", with(act("invite", "vic"), "reason", "buy this")).await;
        assert_eq!((&ack["duplicate"], &ack["message_id"]), (&json!(true), &sent["message_id"]));
        // A repeat with another target invites only the first one; a true one completes nothing twice.
        for target in ["cleo", "vic", "cleo"] {
            repeated(&mut ann, "Moderate", act("invite", target)).await;
        }
        ann.ok("PrivateChat", json!({ "target_username": "vic", "content": "end" })).await;
        vic.wait_for("the end", |frame| frame["message_body"]["content"] == "end").await;
        assert!(vic.seen().iter().all(|frame| frame["message_type"] != "Invitation"), "{:?}", vic.seen());
        let mut cleo = connect(&cluster, 1, "cleo").await;
        cleo.ok("Auth", json!({})).await;
        cleo.next("Invitation").await;
    }

    async fn new_names_must_not_differ_invisibly(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "open").await;
        let hidden = |name: &str| format!("{name}\u{2800}");
        ann.refused("Room", json!({ "room": hidden("ops"), "kind": "open" }), "invalid_message").await;
        ann.refused("Moderate", act("invite", &hidden("bob")), "invalid_message").await;
        ann.refused("Moderate", with(act("role", &hidden("bob")), "role", "member"), "invalid_message").await;
    }

    async fn announcements_are_written_by_moderators(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "announce").await;
        let mut bob = enter(&cluster, 1, "bob").await;
        let sent = ann.say("ops", "release").await;
        assert_eq!(bob.hears().await, "release");
        bob.refused("GroupChat", json!({ "room": "ops", "content": "first!" }), "forbidden").await;
        bob.ok("React", json!({ "room": "ops", "message_id": sent["message_id"], "reaction": "👍", "on": true })).await;
        ann.ok("Moderate", with(act("role", "bob"), "role", "moderator")).await;
        bob.say("ops", "and a fix").await;
        // A moderator takes back what a lower role says, and nothing of the owner.
        let mut cleo = enter(&cluster, 1, "cleo").await;
        ann.ok("Room", json!({ "room": "ops", "kind": "open" })).await;
        let spam = cleo.say("ops", "spam").await;
        bob.ok("Retract", json!({ "room": "ops", "message_id": spam["message_id"], "reason": "spam" })).await;
        let event = ann.next("Retract").await;
        assert_eq!((&event["sender_username"], &event["moderated"], &event["moderator"]), (&json!("cleo"), &json!(true), &json!("bob")));
        bob.refused("Retract", json!({ "room": "ops", "message_id": sent["message_id"] }), "forbidden").await;
        cleo.refused("Retract", json!({ "room": "ops", "message_id": sent["message_id"] }), "forbidden").await;
    }

    async fn user_acts_on_no_equal_or_higher_role(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "open").await;
        let mut bob = enter(&cluster, 1, "bob").await;
        ann.refused("Moderate", act("remove", "ann"), "forbidden").await;
        for (user, role) in [("bob", "moderator"), ("cleo", "moderator"), ("dan", "owner")] {
            ann.ok("Moderate", with(act("role", user), "role", role)).await;
        }
        for (action, target) in [("ban", "ann"), ("kick", "cleo"), ("mute", "dan"), ("ban", "bob")] {
            bob.refused("Moderate", act(action, target), "forbidden").await;
        }
        bob.refused("Moderate", with(act("role", "eve"), "role", "moderator"), "forbidden").await;
        bob.ok("Moderate", with(act("role", "eve"), "role", "member")).await;
        ann.refused("Moderate", act("ban", "dan"), "forbidden").await;
        // There is another owner: this one may go.
        ann.ok("Moderate", act("remove", "ann")).await;
        assert_eq!(ann.next("Removed").await["action"], "remove");
    }

    async fn room_that_turns_private_keeps_those_with_a_role(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "open").await;
        let mut bob = enter(&cluster, 1, "bob").await;
        let mut cleo = enter(&cluster, 1, "cleo").await;
        ann.ok("Moderate", with(act("role", "cleo"), "role", "member")).await;
        ann.ok("Room", json!({ "room": "ops", "kind": "private" })).await;
        ann.say("ops", "among us").await;
        let entry = cleo.wait_for("the room is private", |frame| frame["message_body"]["kind"] == "private").await;
        assert_eq!(entry["message_body"].get("owner"), None, "only of a new room");
        assert_eq!(bob.next("Removed").await, json!({ "room": "ops", "action": "private" }));
        assert_eq!(cleo.hears().await, "among us");
        bob.ok("Ping", json!({})).await;
        assert!(bob.seen().iter().all(|frame| frame["message_body"]["content"] != "among us"));
        bob.refused("Enter", json!({ "room": "ops" }), "forbidden").await;
        // Who resumes is asked again.
        let at = position(&cleo.say("ops", "hello").await);
        ann.ok("Moderate", act("remove", "cleo")).await;
        let mut again = connect(&cluster, 0, "cleo").await;
        again.refused("Enter", json!({ "room": "ops", "since": at }), "forbidden").await;
    }

    async fn slow_mode_tells_when_to_try_again(kind) {
        let cluster = start(kind).await;
        let mut ann = room_of_ann(&cluster, "open").await;
        ann.ok("Room", json!({ "room": "ops", "slow_mode_ms": 60_000 })).await;
        let mut bob = connect(&cluster, 1, "bob").await;
        let rights = &bob.ok("Enter", json!({ "room": "ops" })).await["rights"];
        assert_eq!(*rights, json!({ "kind": "open", "topic": "on call", "slow_mode_ms": 60_000 }));
        bob.say("ops", "one").await;
        let error = bob.refused("GroupChat", json!({ "room": "ops", "content": "two" }), "rate_limited").await;
        let wait = error["retry_after_ms"].as_u64().unwrap();
        assert!((1..=60_000).contains(&wait) && error["outcome"] == "refused", "{error}");
        ann.say("ops", "a").await;
        ann.say("ops", "b").await;
        for body in [
            json!({ "room": "ops", "slow_mode_ms": 86_400_001 }),
            json!({ "room": "ops", "topic": "x".repeat(257) }),
            json!({ "room": "ops", "kind": "secret" }),
            json!({ "kind": "open" }),
            json!({ "room": "new" }),
        ] {
            ann.refused("Room", body, "invalid_message").await;
        }
    }

    async fn rooms_of_others_and_of_the_server_stay_theirs(kind) {
        let cluster = start(kind).await;
        let mut bob = connect(&cluster, 1, "bob").await;
        bob.ok("Enter", json!({ "room": "pub" })).await;
        let mut ann = connect(&cluster, 0, "ann").await;
        // Somebody is there, or something was said there, or it is the default room.
        ann.refused("Room", json!({ "room": "pub", "kind": "private" }), "forbidden").await;
        bob.say("pub", "hi").await;
        bob.ok("Leave", json!({ "room": "pub" })).await;
        ann.refused("Room", json!({ "room": "pub", "kind": "private" }), "forbidden").await;
        ann.refused("Room", json!({ "room": "lobby", "kind": "private" }), "forbidden").await;
        ann.refused("Moderate", json!({ "room": "pub", "action": "ban", "target_username": "bob" }), "forbidden").await;
        let made = ann.ok("Room", json!({ "room": "mine", "kind": "open" })).await;
        assert_eq!(made["seq"], 1);
        let repeated = ann.envelope("Room", json!({ "room": "mine", "kind": "private" }), Some("r1")).to_string();
        for is_duplicate in [false, true] {
            ann.send_text(repeated.clone()).await;
            let ack = ann.answer("r1").await;
            assert_eq!(ack["message_body"]["duplicate"] == true, is_duplicate, "{ack}");
        }
    }
    async fn server_stands_above_roles(kind) {
        let cluster = start(kind).await;
        let mut bob = enter(&cluster, 1, "bob").await;
        bob.say("ops", "before").await;
        let moderate = async |body: Value| cluster.call(0, "POST", "/rooms/ops/moderation", body).await;
        assert_eq!(cluster.call(0, "GET", "/rooms/ops", Value::Null).await.0, 404);
        let (status, made) = cluster.call(0, "PUT", "/rooms/ops", json!({ "kind": "private", "topic": "t", "owner": "ann", "by": "admin", "id": "a" })).await;
        assert_eq!((status, &made["seq"]), (200, &json!(2)), "{made}");
        assert_eq!(bob.next("Removed").await["action"], "private");
        let mut ann = enter(&cluster, 0, "ann").await;
        let (_, again) = cluster.call(1, "PUT", "/rooms/ops", json!({ "kind": "private", "by": "admin", "id": "a" })).await;
        assert_eq!((&again["duplicate"], &again["message_id"]), (&json!(true), &made["message_id"]));
        assert_eq!(moderate(json!({ "action": "role", "target_username": "bob", "role": "moderator" })).await.0, 200);
        let entry = ann.next("Moderation").await;
        assert_eq!((&entry["role"], entry.get("sender_username")), (&json!("moderator"), None));
        moderate(json!({ "action": "ban", "target_username": "cleo", "until": 9_000_000_000_000_u64, "by": "admin" })).await;
        moderate(json!({ "action": "mute", "target_username": "ann" })).await;
        let (_, room) = cluster.call(1, "GET", "/rooms/ops", Value::Null).await;
        let users = json!([
            { "username": "ann", "role": "owner", "muted_until": 0 },
            { "username": "bob", "role": "moderator" },
            { "username": "cleo", "banned_until": 9_000_000_000_000_u64 },
        ]);
        assert_eq!(room, json!({ "room": "ops", "kind": "private", "topic": "t", "slow_mode_ms": 0, "users": users, "more": false }));
        let (_, page) = cluster.call(1, "GET", "/rooms/ops?after=ann&limit=1", Value::Null).await;
        assert_eq!((&page["users"], &page["more"]), (&json!([{ "username": "bob", "role": "moderator" }]), &json!(true)));
        let (status, sent) = cluster.call(1, "POST", "/rooms/ops/messages", json!({ "sender_username": "cleo", "content": "from the server" })).await;
        assert_eq!(status, 201, "{sent}");
        for (body, status) in [
            (json!({ "action": "ban", "target_username": "cleo", "until": 5 }), 400),
            (json!({ "action": "kick", "target_username": "cleo", "until": 5 }), 400),
            (json!({ "action": "role", "target_username": "cleo", "role": "member" }), 403),
            (json!({ "action": "like", "target_username": "cleo" }), 422),
            (json!({ "target_username": "cleo" }), 422),
        ] {
            let (found, error) = moderate(body.clone()).await;
            assert_eq!(found, status, "{body} {error}");
        }
        assert_eq!(cluster.call(0, "PUT", "/rooms/ops", json!({ "owner": "bob" })).await.0, 403);
        assert_eq!(cluster.call(0, "PUT", "/rooms/new", json!({ "topic": "t" })).await.0, 400);
    }

    async fn user_makes_so_many_rooms(kind) {
        let cluster = Cluster::start_with(kind, 2, |config| {
            with_tokens(config);
            config.rooms.max_made = 2;
        })
        .await;
        let mut bob = enter(&cluster, 1, "bob").await;
        let mut ann = connect(&cluster, 0, "ann").await;
        // What is refused counts for nothing.
        for _ in 0..3 {
            ann.refused("Room", json!({ "room": "ops", "kind": "open" }), "forbidden").await;
        }
        for room in ["one", "two"] {
            ann.ok("Room", json!({ "room": room, "kind": "open" })).await;
        }
        let error = ann.refused("Room", json!({ "room": "three", "kind": "open" }), "forbidden").await;
        assert!(error["message"].as_str().unwrap().contains("limit"), "{error}");
        ann.ok("Room", json!({ "room": "one", "kind": "private" })).await;
        bob.ok("Room", json!({ "room": "three", "kind": "open" })).await;
    }

    async fn administrator_keeps_rooms_to_itself(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            with_tokens(config);
            config.rooms.create = RoomCreators::Api;
        })
        .await;
        let mut ann = connect(&cluster, 0, "ann").await;
        ann.refused("Room", json!({ "room": "ops", "kind": "open" }), "forbidden").await;
        assert_eq!(cluster.call(0, "PUT", "/rooms/ops", json!({ "kind": "open", "owner": "ann" })).await.0, 200);
        ann.ok("Room", json!({ "room": "ops", "kind": "private" })).await;
    }
}

/// Without authentication, a name is nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn without_authentication_rights_are_closed() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut ann = cluster.connect(0, "ann").await;
    let error = ann.refused("Room", json!({ "room": "ops", "kind": "private" }), "forbidden").await;
    assert!(error["message"].as_str().unwrap().contains("auth.enabled"), "{error}");
    ann.refused("Moderate", act("kick", "bob"), "forbidden").await;
}
