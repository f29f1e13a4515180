//! Rooms with rights on the page: making one, invitations, who is taken out, who may write, and the menus of moderators.

use serde_json::{Value, json};

use super::page_fixture::PageFixture;
use super::person::{ENTER, Person};
use crate::support::api::with_tokens;
use crate::support::client::Client;
use crate::support::cluster::Kind;

const ESCAPE: &str = "\u{e00c}";
const DRAFT: &str = "document.getElementById('draft')";
const ENTRIES: &str =
    "[...document.querySelectorAll('[role=menu] button')].map((entry) => entry.textContent)";

async fn start() -> PageFixture {
    PageFixture::start_with(Kind::Embedded, with_tokens).await
}

/// A user of the page, signed in through this node with a token.
async fn person<'a>(fixture: &'a PageFixture, node: usize, name: &str, key: &str) -> Person<'a> {
    fixture.balancer.prefer(fixture.cluster.address(node));
    let person = Person::visits(&fixture.browser, &fixture.link(key)).await;
    person.clicks("#token-show").await;
    // Another window of this browser may have left a name.
    person.js("document.getElementById('name').value = ''").await;
    let token = fixture.cluster.token(node, name).await;
    person.types("#token", &format!("{token}{ENTER}")).await;
    person.is_online().await;
    person
}

/// A user with a test client instead of the page.
async fn other(fixture: &PageFixture, node: usize, name: &str) -> Client {
    let header = [("authorization", format!("Bearer {}", fixture.cluster.token(node, name).await))];
    Client::connect_with(fixture.cluster.address(node), name, &header).await.unwrap()
}

/// An owner with a test client, in the room `ops`.
async fn owner(fixture: &PageFixture, kind: &str) -> Client {
    let mut ann = other(fixture, 0, "ann").await;
    ann.ok("Room", json!({ "room": "ops", "kind": kind, "topic": "on call" })).await;
    ann.ok("Enter", json!({ "room": "ops" })).await;
    ann
}

fn act(action: &str, target: &str) -> Value {
    json!({ "room": "ops", "action": action, "target_username": target })
}

/// Chooses the entry of the open menu that has this text.
async fn chooses(person: &Person<'_>, entry: &str) {
    let find = format!(
        "[...document.querySelectorAll('[role=menu] button')].find((item) => item.textContent === {})",
        json!(entry)
    );
    person.sees(&format!("the menu has {entry}"), &format!("!!{find}")).await;
    person.js(&format!("({find}.click(), 0)")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_room_is_entered_by_invitation() {
    let fixture = start().await;
    let ann = person(&fixture, 0, "ann", "room=hall").await;
    let bob = person(&fixture, 1, "bob", "room=hall").await;
    bob.goes_to("about:blank").await;

    ann.clicks("#go").await;
    ann.types("#find", "den").await;
    ann.clicks("#make [data-kind=private]").await;
    ann.reads("#title", "#den").await;
    ann.reads("#kind", "Private room").await;
    ann.reads("#rooms [aria-current]", "den Private room").await;
    ann.reads("#members", "owner").await;
    ann.says("secret").await;
    ann.clicks("#manage").await;
    chooses(&ann, "Invite…").await;
    ann.types(".panel input", &format!("bob{ENTER}")).await;
    ann.sees("bob is invited", "!document.querySelector('.panel')").await;
    ann.reads("#timeline", "You invited bob").await;

    // The invitation came while bob was away, and it stays until it is answered.
    bob.goes_to(&fixture.link("room=hall")).await;
    bob.is_online().await;
    bob.reads("#invitations", "den").await;
    bob.reads("#invitations", "from ann").await;
    bob.reloads().await;
    bob.is_online().await;
    bob.reads("#invitations", "den").await;
    bob.clicks("#invitations .main").await;
    bob.reads("#title", "#den").await;
    bob.sees_messages(&["secret"]).await;
    bob.reads("#kind", "Private room").await;
    bob.sees("the invitation is over", "!document.querySelector('#invitations li')").await;
    bob.says("thanks").await;
    ann.sees_messages(&["secret", "thanks"]).await;
    ann.reads("#timeline", "bob accepted the invitation").await;
    ann.reads("#members", "bobmember").await;
    assert_eq!(bob.js("document.getElementById('manage').hidden").await, true, "bob is no moderator");

    // Another one, that is dismissed for good.
    let room = json!({ "kind": "private", "owner": "cleo" });
    assert_eq!(fixture.cluster.call(0, "PUT", "/rooms/nook", room).await.0, 200);
    let invites = json!({ "action": "invite", "target_username": "bob", "reason": "tea" });
    assert_eq!(fixture.cluster.call(0, "POST", "/rooms/nook/moderation", invites).await.0, 200);
    bob.reads("#invitations", "from an administrator: tea").await;
    bob.clicks("#invitations .tool").await;
    bob.sees("the invitation is gone", "!document.querySelector('#invitations li')").await;
    assert_eq!(bob.js("document.activeElement.id").await, "go");
    bob.sees("the state is stored", "!JSON.stringify(sessionStorage).includes('nook')").await;
    bob.reloads().await;
    bob.is_online().await;
    assert_eq!(bob.js("document.querySelectorAll('#invitations li').length").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_user_reads_the_reason() {
    let fixture = start().await;
    let mut ann = owner(&fixture, "open").await;
    let bob = person(&fixture, 1, "bob", "room=ops").await;
    ann.say("ops", "hello").await;
    bob.sees_messages(&["hello"]).await;
    bob.reads("#subtitle", "2 online").await;

    let mut kick = act("kick", "bob");
    kick["reason"] = json!("calm down");
    ann.ok("Moderate", kick).await;
    bob.reads("#refusal-text", "You were sent out of this room: calm down").await;
    bob.reads("#live", "#ops: You were sent out of this room: calm down").await;
    bob.reads("#timeline", "ann sent you out: calm down").await;
    assert_eq!(bob.js(&format!("{DRAFT}.disabled")).await, true);
    // The page does not enter the room by itself.
    bob.reloads().await;
    bob.is_online().await;
    bob.reads("#refusal-text, #older", "You were sent out of this room").await;
    bob.clicks("#reenter").await;
    bob.sees("the text field is open", &format!("!{DRAFT}.disabled")).await;
    bob.says("back").await;
    assert_eq!(ann.hears().await, "hello");
    assert_eq!(ann.hears().await, "back");

    let mut ban = act("ban", "bob");
    ban["until"] = json!(9_000_000_000_000_u64);
    ann.ok("Moderate", ban).await;
    bob.reads("#refusal-text", "You are banned from this room until ").await;
    assert_eq!(bob.js("document.getElementById('reenter').hidden").await, true, "nothing is offered in vain");

    // What was not sent by then fails.
    ann.ok("Moderate", act("unban", "bob")).await;
    bob.clicks("#leave").await;
    bob.clicks("#go").await;
    bob.types("#find", &format!("ops{ENTER}")).await;
    bob.reads("#subtitle", "2 online").await;
    fixture.balancer.shut();
    bob.says("too late").await;
    bob.sees("the message waits", "document.querySelectorAll('.line.waiting').length === 1").await;
    ann.ok("Moderate", act("ban", "bob")).await;
    fixture.balancer.open();
    bob.reads(".failure", "Not sent. It is private, or you are banned from it.").await;
    bob.reads("#refusal-text", "You can’t join this room: It is private, or you are banned from it.").await;
    ann.ok("Ping", json!({})).await;
    assert!(ann.seen().iter().all(|frame| frame["message_body"]["content"] != "too late"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_close_and_open_the_text_field() {
    let fixture = start().await;
    let mut ann = owner(&fixture, "announce").await;
    let bob = person(&fixture, 1, "bob", "room=ops").await;
    let says = |why: &str| format!("{DRAFT}.disabled && {DRAFT}.placeholder === {}", json!(why));
    let open = format!("!{DRAFT}.disabled");
    bob.sees("bob only reads", &says("Only moderators write here")).await;
    bob.reads("#topic", "on call").await;
    bob.reads("#kind", "Announcements").await;
    ann.say("ops", "release").await;
    bob.sees_messages(&["release"]).await;
    // Everybody may react, and nobody else answer.
    bob.clicks("#timeline .more").await;
    let entries = bob.js(ENTRIES).await;
    let entries = entries.as_array().unwrap();
    assert!(entries.contains(&json!("React with 👍")) && !entries.contains(&json!("Reply")), "{entries:?}");
    bob.presses(&[ESCAPE]).await;

    let mut role = act("role", "bob");
    role["role"] = json!("moderator");
    ann.ok("Moderate", role.clone()).await;
    bob.sees("a moderator writes", &open).await;
    bob.says("and a fix").await;
    assert_eq!((ann.hears().await, ann.hears().await), ("release".into(), "and a fix".into()));

    role["role"] = json!("member");
    ann.ok("Moderate", role).await;
    ann.ok("Room", json!({ "room": "ops", "kind": "open", "topic": "", "slow_mode_ms": 600_000 })).await;
    bob.reads("#timeline", "ann removed the topic").await;
    bob.sees("a member writes", &open).await;
    bob.says("one").await;
    assert_eq!(ann.hears().await, "one");
    bob.reads("#context", "Slow mode: you can write again in ").await;
    bob.says("two").await;
    assert_eq!(bob.js(&format!("{DRAFT}.value")).await, "two", "the text stays");
    ann.ok("Room", json!({ "room": "ops", "slow_mode_ms": 0 })).await;
    bob.sees("slow mode has ended", "document.getElementById('context').hidden").await;
    bob.types("#draft", ENTER).await;
    assert_eq!(ann.hears().await, "two");
    // The server still counts from the first message. The page learns that from its answer, and the message waits.
    ann.ok("Room", json!({ "room": "ops", "slow_mode_ms": 600_000 })).await;
    bob.reads("#timeline", "ann turned slow mode on: one message in 600 s").await;
    bob.says("three").await;
    bob.sees("the message waits", "document.querySelectorAll('.line.waiting').length === 1").await;
    bob.reads("#context", "Slow mode: you can write again in ").await;
    bob.reads("#me", "Online").await;
    ann.ok("Room", json!({ "room": "ops", "slow_mode_ms": 0 })).await;
    assert_eq!(ann.hears().await, "three");

    ann.ok("Moderate", act("mute", "bob")).await;
    bob.sees("bob is muted", &says("A moderator has muted you")).await;
    ann.ok("Moderate", act("unmute", "bob")).await;
    bob.sees("the mute has ended", &open).await;

    // A room that turns private keeps its members. Who is removed from it comes back by invitation only.
    ann.ok("Room", json!({ "room": "ops", "kind": "private" })).await;
    bob.reads("#kind", "Private room").await;
    ann.ok("Moderate", act("remove", "bob")).await;
    bob.reads("#refusal-text", "You were removed from this room.").await;
    assert_eq!(bob.js("document.getElementById('reenter').hidden").await, true);
    ann.ok("Moderate", act("invite", "bob")).await;
    bob.reads("#invitations", "from ann").await;
    bob.clicks("#invitations .main").await;
    bob.sees("bob is in the room again", &format!("{open} && document.getElementById('refusal').hidden"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moderator_acts_by_the_menus() {
    let fixture = start().await;
    let room = json!({ "kind": "open", "owner": "ann" });
    assert_eq!(fixture.cluster.call(0, "PUT", "/rooms/ops", room).await.0, 200);
    let ann = person(&fixture, 0, "ann", "room=ops").await;
    let cleo = person(&fixture, 0, "cleo", "room=ops").await;
    let mut bob = other(&fixture, 1, "bob").await;
    bob.ok("Enter", json!({ "room": "ops" })).await;
    bob.say("ops", "spam").await;
    ann.sees_messages(&["spam"]).await;
    cleo.sees_messages(&["spam"]).await;
    // Who is no moderator is offered none of it.
    cleo.reads("#members", "bob").await;
    assert_eq!(cleo.js("document.querySelectorAll('#members .more').length").await, 0);
    cleo.clicks("#timeline .more").await;
    assert!(!cleo.js(ENTRIES).await.as_array().unwrap().contains(&json!("Delete")));
    cleo.presses(&[ESCAPE]).await;

    ann.clicks("#timeline .more").await;
    chooses(&ann, "Delete").await;
    let retract = bob.next("Retract").await;
    assert_eq!((&retract["moderated"], &retract["moderator"]), (&json!(true), &json!("ann")));
    cleo.sees_messages(&["ann deleted this message."]).await;

    // By the keyboard alone.
    ann.js("(document.querySelector('[data-user=bob]').focus(), 0)").await;
    ann.presses(&[ENTER]).await;
    let offered = json!(["Make owner", "Make moderator", "Make member", "Mute…", "Send out…", "Ban…"]);
    ann.sees("the menu is open", "document.querySelectorAll('[role=menu]').length === 1").await;
    assert_eq!(ann.js(ENTRIES).await, offered);
    for key in ["b", ENTER] {
        ann.presses(&[key]).await;
    }
    ann.sees("the form is open", "document.activeElement.closest('.panel') !== null").await;
    ann.presses(&[ESCAPE]).await;
    assert_eq!(ann.js("document.activeElement.dataset.user").await, "bob");
    for key in [ENTER, "b", ENTER, "s", "p", "a", "m", ENTER] {
        ann.presses(&[key]).await;
    }
    assert_eq!(bob.next("Removed").await, json!({ "room": "ops", "action": "ban", "reason": "spam" }));
    ann.reads("#timeline", "You banned bob: spam").await;
    cleo.reads("#timeline", "ann banned bob: spam").await;
    ann.sees("bob has left", "!document.querySelector('[data-user=bob]')").await;

    ann.clicks("[data-user=cleo]").await;
    chooses(&ann, "Make moderator").await;
    ann.reads("#members", "cleomoderator").await;
    cleo.sees("cleo manages the room", "!document.getElementById('manage').hidden").await;
    // That ann is the owner, only the node knows.
    cleo.clicks("[data-user=ann]").await;
    chooses(&cleo, "Send out…").await;
    cleo.types(".panel input", ENTER).await;
    cleo.reads(".panel .problem", "Your role in this room does not allow that").await;
    cleo.types(".panel input", ESCAPE).await;
    cleo.clicks("#manage").await;
    chooses(&cleo, "Change the topic…").await;
    cleo.types(".panel input", &format!("on call{ENTER}")).await;
    ann.reads("#topic", "on call").await;
    ann.reads("#timeline", "cleo changed the topic: on call").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_user_can_not_write_to_a_user_of_the_page() {
    let fixture = start().await;
    let ann = person(&fixture, 0, "ann", "peer=bob").await;
    let mut bob = other(&fixture, 1, "bob").await;
    bob.ok("Auth", json!({})).await;
    bob.whisper("ann", "hello").await;
    ann.sees_messages(&["hello"]).await;
    let button = "document.getElementById('block').title";
    assert_eq!(ann.js(button).await, "Block bob");
    ann.clicks("#block").await;
    ann.reads("#notice", "bob can no longer write to you.").await;
    bob.refused("PrivateChat", json!({ "target_username": "ann", "content": "x" }), "forbidden").await;
    // The list comes from the server.
    ann.reloads().await;
    ann.is_online().await;
    ann.sees("the button tells it", "document.getElementById('block').ariaPressed === 'true'").await;
    assert_eq!(ann.js(button).await, "End the block of bob");
    ann.clicks("#block").await;
    ann.reads("#notice", "bob can write to you again.").await;
    bob.whisper("ann", "again").await;
    ann.sees_messages(&["hello", "again"]).await;
    // Another device blocks him.
    let mut phone = other(&fixture, 1, "ann").await;
    phone.ok("Block", json!({ "target_username": "bob", "on": true })).await;
    ann.sees("the button tells it", "document.getElementById('block').ariaPressed === 'true'").await;
}
