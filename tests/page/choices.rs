//! What users choose: notifications, the number in the title, colours, muted conversations. Also the order of names.

use serde_json::json;

use super::looks::lightness;
use super::page_fixture::PageFixture;
use super::person::Person;

const ESCAPE: &str = "\u{e00c}";

/// Counts what is asked of the browser, and keeps the notifications that it shows.
const RECORD: &str = "(() => {
    window.asked = 0;
    window.shown = [];
    const Real = Notification;
    window.Notification = class extends Real {
        constructor(title, options) {
            super(title, options);
            shown.push([title, options.body]);
            window.last = this;
            this.addEventListener('close', () => (window.closes = (window.closes ?? 0) + 1));
        }
        static requestPermission() {
            window.asked += 1;
            return super.requestPermission();
        }
    };
})()";

/// Opens the settings, clicks one of them, and closes the dialog.
async fn chooses(person: &Person<'_>, selector: &str) {
    person.clicks("#preferences-open").await;
    person.clicks(selector).await;
    person.presses(&[ESCAPE]).await;
    person.sees("the settings are closed", "!document.getElementById('preferences').open").await;
}

/// Chooses how loud the open conversation is.
async fn sets_level(person: &Person<'_>, label: &str) {
    person.clicks("#level").await;
    let entry = format!(
        "[...document.querySelectorAll('[role=menuitemradio]')].find((entry) => entry.textContent === {}).click()",
        json!(label)
    );
    person.js(&entry).await;
    assert_eq!(person.js("document.activeElement.id").await, "level");
    let chosen =
        format!("document.getElementById('level').title === {}", json!(format!("Notifications: {label}")));
    person.sees("the level is chosen", &chosen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_follow_the_choices_of_the_user() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=room10").await;
    for room in ["room=room2", "room=Room1", "room=ops"] {
        alice.opens(room).await;
    }
    // Numbers count by their value.
    let rooms =
        alice.js("[...document.querySelectorAll('#rooms bdi')].map((name) => name.textContent)").await;
    assert_eq!(rooms, json!(["ops", "Room1", "room2", "room10"]));
    let mut bob = fixture.other(1, "bob", "room2").await;
    let mut carol = fixture.other(1, "carol", "ops").await;
    alice.js(RECORD).await;
    let origin = format!("http://{}", fixture.balancer.address);
    let grant = json!({ "origin": origin, "permissions": ["notifications"] });
    alice.devtools("Browser.grantPermissions", grant).await;

    // Off until the user switches them on, although the browser would show them.
    bob.whisper("alice", "before").await;
    alice.unread("peer=bob", 1).await;
    assert_eq!(alice.js("[asked, shown]").await, json!([0, []]));
    chooses(&alice, "#notify").await;
    assert_eq!(alice.js("asked").await, 1);
    // A private message, but not one in a room.
    bob.say("room2", "in a room").await;
    bob.whisper("alice", "**psst**, you\u{202e}\nsecond line").await;
    alice.unread("peer=bob", 2).await;
    alice.unread("room=room2", 1).await;
    assert_eq!(alice.js("shown").await, json!([["bob", "psst, you"]]));
    // A click opens the conversation; nothing is shown for what is on the screen.
    alice.js("(last.dispatchEvent(new Event('click')), 0)").await;
    alice.reads("#title", "bob").await;
    alice.sees("the notification is closed", "window.closes === 1").await;
    bob.whisper("alice", "seen").await;
    alice.sees_messages(&["before", "psst, you\u{202e}\nsecond line", "seen"]).await;
    assert_eq!(alice.js("shown.length").await, 1);
    // Every message of a room, if the user wants it; none of a muted conversation, whose messages the title does not count.
    sets_level(&alice, "Mute").await;
    alice.opens("room=room2").await;
    sets_level(&alice, "Notify about every message").await;
    alice.opens("room=ops").await;
    carol.say("ops", "on the screen").await;
    let muted = json!({ "target_username": "alice", "content": "@alice muted", "mentions": ["alice"] });
    bob.ok("PrivateChat", muted).await;
    bob.say("room2", "wanted").await;
    alice.unread("peer=bob", 1).await;
    alice.sees("the room notifies", "shown.length === 2").await;
    assert_eq!(alice.js("shown[1]").await, json!(["bob in #room2", "wanted"]));
    assert_eq!(alice.js("document.querySelectorAll('#peers .quiet').length").await, 1);
    alice.sees("the title counts one message", "/^\\(1\\)/.test(document.title)").await;
    bob.say("room2", "again").await;
    alice.sees("the title counts two messages", "/^\\(2\\)/.test(document.title)").await;
    // A mention notifies in a room whose messages are only counted, and the title marks it.
    bob.ok("Enter", json!({ "room": "room10" })).await;
    bob.ok("GroupChat", json!({ "room": "room10", "content": "@alice!", "mentions": ["alice"] })).await;
    let mention = json!(["bob mentioned you in #room10", "@alice!"]);
    alice.sees("the mention notifies", &format!("JSON.stringify(shown).includes('{mention}')")).await;
    alice.sees("the title marks it", "/^\\(@3\\)/.test(document.title)").await;
    alice.reads("#rooms [href='#room=room10']", "@ mentions you").await;
    chooses(&alice, "[value=conversations]").await;
    alice.sees("the title counts two conversations", "/^\\(@2\\)/.test(document.title)").await;
    chooses(&alice, "[value=none]").await;
    alice.sees("the title counts nothing", "document.title === '#ops'").await;

    // A reload keeps the choices, and another window of this browser shares them.
    chooses(&alice, "[value=dark]").await;
    alice.reloads().await;
    alice.is_online().await;
    assert!(lightness(&alice).await < 70.0, "dark by choice");
    alice.opens("peer=bob").await;
    assert_eq!(alice.js("document.getElementById('level').title").await, "Notifications: Mute");
    let other = fixture.person(1, "alice", "room=ops").await;
    assert!(lightness(&other).await < 70.0);
    chooses(&other, "[value=light]").await;
    alice.sees("the other window follows", "document.documentElement.dataset.theme === 'light'").await;
    assert!(lightness(&alice).await > 200.0);
    alice.has_screen(1280, 800, true).await;
    assert!(lightness(&alice).await > 200.0, "light by choice on a dark device");
    chooses(&alice, "[value=system]").await;
    assert!(lightness(&alice).await < 70.0, "dark as the device");

    // Switched off again. A browser that refuses leaves them off, and says why.
    alice.js(RECORD).await;
    chooses(&alice, "#notify").await;
    alice.opens("room=ops").await;
    carol.whisper("alice", "silent").await;
    alice.unread("peer=carol", 1).await;
    assert_eq!(alice.js("[asked, shown]").await, json!([0, []]));
    let deny = json!({ "origin": origin, "permission": { "name": "notifications" }, "setting": "denied" });
    alice.devtools("Browser.setPermission", deny).await;
    alice.clicks("#preferences-open").await;
    alice.reads("#notify-hint", "Your browser blocks notifications of this page.").await;
    assert_eq!(alice.js("document.getElementById('notify').disabled").await, true);
}
