//! Accessibility: the page in Chromium's accessibility tree, as screen readers get it, and the way of the focus.

use serde_json::{Value, json};

use super::page_fixture::PageFixture;
use super::person::{ENTER, Person, SHIFT};

const TAB: &str = "\u{e004}";
const CONTROL: &str = "\u{e009}";
const ALT: &str = "\u{e00a}";
const UP: &str = "\u{e013}";
const ESCAPE: &str = "\u{e00c}";

/// One node of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    role: String,
    name: String,
    takes_focus: bool,
    has_focus: bool,
    /// The politeness of a live region; empty for other nodes.
    live: String,
}

impl Node {
    fn is(&self, role: &str, name: &str) -> bool {
        self.role == role && self.name == name
    }
}

/// The accessibility tree without ignored nodes, in reading order.
async fn tree(person: &Person<'_>) -> Vec<Node> {
    let answer = person.devtools("Accessibility.getFullAXTree", json!({})).await;
    let nodes = answer["nodes"].as_array().unwrap();
    let find = |id: &Value| nodes.iter().find(|node| node["nodeId"] == *id);
    // Chromium returns the tree level by level, but screen readers read branch by branch.
    let (mut branches, mut ordered) = (vec![&nodes[0]], Vec::new());
    while let Some(node) = branches.pop() {
        branches.extend(node["childIds"].as_array().into_iter().flatten().rev().filter_map(find));
        ordered.push(node);
    }
    let read = ordered.into_iter().filter(|node| node["ignored"] != true).map(|node| {
        let property = |name: &str| {
            let properties = node["properties"].as_array().into_iter().flatten();
            let mut found = properties.filter(|property| property["name"] == name);
            found.next().map_or(Value::Null, |property| property["value"]["value"].clone())
        };
        let text = |key: &str| node[key]["value"].as_str().unwrap_or_default().trim().to_owned();
        Node {
            role: text("role"),
            name: text("name"),
            takes_focus: property("focusable") == true,
            has_focus: property("focused") == true,
            live: property("live").as_str().unwrap_or_default().to_owned(),
        }
    });
    read.filter(|node| node.role != "RootWebArea").collect()
}

/// All nodes that can have the focus. Fails if one of them has no known role or no name.
async fn controls(person: &Person<'_>) -> Vec<Node> {
    let controls: Vec<Node> = tree(person).await.into_iter().filter(|node| node.takes_focus).collect();
    for control in &controls {
        let known = ["button", "link", "textbox", "combobox", "region", "dialog", "heading"];
        let chosen = ["menuitem", "menuitemradio", "radio", "checkbox"];
        let known = [&known[..], &chosen[..]].concat();
        assert!(known.contains(&control.role.as_str()), "unknown role: {control:?}");
        assert!(!control.name.is_empty(), "no name: {control:?} in {controls:#?}");
    }
    controls
}

fn has(nodes: &[Node], role: &str, name: &str) -> bool {
    nodes.iter().any(|node| node.is(role, name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controls_have_roles_and_names() {
    let fixture = PageFixture::start().await;
    let alice = Person::visits(&fixture.browser, &fixture.link("room=ops")).await;
    alice.sees("the page asks for a name", "!document.getElementById('sign-in').hidden").await;
    let first = controls(&alice).await;
    for (role, name) in
        [("textbox", "Your name"), ("button", "Join #ops"), ("button", "I have an access token")]
    {
        assert!(has(&first, role, name), "{role} {name}: {first:#?}");
    }
    // The focus moves to the field that is required.
    alice.clicks("#enter").await;
    alice.reads("#problem", "Enter a name or an access token.").await;
    assert_eq!(alice.js("document.activeElement.id").await, "name");
    alice.clicks("#token-show").await;
    assert_eq!(alice.js("document.activeElement.id").await, "token");
    assert!(has(&controls(&alice).await, "textbox", "Access token"));
    alice.clicks("#enter").await;
    assert_eq!(alice.js("document.activeElement.id").await, "token");

    alice.types("#name", "alice\u{e007}").await;
    alice.is_online().await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    // The page speaks a message up to a second after it shows it. Both are spoken before the dialog below opens.
    bob.say("ops", "see https://example.com/").await;
    alice.reads("#live", "bob: see https://example.com/").await;
    bob.whisper("alice", "psst").await;
    alice.reads("#live", "bob wrote to you").await;
    alice.says("hello").await;
    alice.unread("peer=bob", 1).await;
    alice.sees("both messages are shown", "document.querySelectorAll('#timeline .text').length === 2").await;
    alice.reads("#members", "bob").await;
    let chat = controls(&alice).await;
    for (role, name) in [
        ("button", "Join or write (Ctrl+K)"),
        ("link", "ops"),
        ("link", "bob online 1 unread"),
        ("button", "Settings"),
        ("button", "Sign out"),
        ("button", "Copy the link"),
        ("button", "Notifications: Only count, and notify about mentions"),
        ("button", "Members"),
        ("button", "Leave this room"),
        ("region", "Messages, #ops"),
        ("link", "https://example.com/"),
        ("textbox", "Message #ops"),
    ] {
        assert!(has(&chat, role, name), "{role} {name}: {chat:#?}");
    }
    // The names of the conversation and of the parts of the page.
    let all = tree(&alice).await;
    for (role, name) in [
        ("navigation", "Conversations"),
        ("list", "Rooms"),
        ("list", "Direct messages"),
        ("heading", "#ops"),
        ("complementary", "Members"),
        ("main", ""),
    ] {
        assert!(has(&all, role, name), "{role} {name}: {all:#?}");
    }
    let current = "document.querySelector('#rooms [aria-current=page]').textContent";
    assert!(alice.js(current).await.as_str().unwrap().contains("ops"));
    // The sender before the text, and the state after an own message.
    let texts: Vec<&str> =
        all.iter().filter(|node| node.role == "StaticText").map(|node| node.name.as_str()).collect();
    let at = |text: &str| {
        texts.iter().position(|each| *each == text).unwrap_or_else(|| panic!("{text}: {texts:?}"))
    };
    assert!(at("You") < at("hello") && at("hello") < at("Sent"), "{texts:?}");
    // Screen readers would spell a text that breaks into one letter per line, and join a text without spaces to its
    // neighbour.
    let spaces = "getComputedStyle(document.querySelector('.meta .sr')).whiteSpace";
    assert_eq!(alice.js(spaces).await, "pre");

    alice.presses(&[CONTROL, "k"]).await;
    alice.sees("the switcher is open", "document.getElementById('switcher').open").await;
    assert_eq!(alice.js(LIVE).await, "", "a text in the live region would be spoken again");
    let dialog = controls(&alice).await;
    for (role, name) in [
        ("combobox", "Join a room or write to someone"),
        ("button", "Join room"),
        ("button", "Write to person"),
    ] {
        assert!(has(&dialog, role, name), "{role} {name}: {dialog:#?}");
    }
    assert!(!has(&dialog, "textbox", "Message #ops"), "elements behind a dialog can't have the focus");
    let known = alice.js("[...document.querySelectorAll('#known option')].map(({ value }) => value)").await;
    assert_eq!(known, json!(["#ops", "bob"]), "the list does not contain the user");
    alice.presses(&[ESCAPE]).await;

    // The menus are menus, and say what they are for and what is chosen.
    alice.js("document.querySelector('#timeline .more').click()").await;
    let menu = tree(&alice).await;
    let named = menu.iter().find(|node| node.role == "menu").map(|node| node.name.as_str());
    assert!(named.is_some_and(|name| name.starts_with("Actions: bob, ")), "{named:?}");
    assert!(
        has(&menu, "menuitem", "Copy text") && has(&menu, "menuitem", "Copy link to message"),
        "{menu:#?}"
    );
    controls(&alice).await;
    alice.presses(&[ESCAPE]).await;
    alice.clicks("#level").await;
    let menu = controls(&alice).await;
    assert!(has(&menu, "menuitemradio", "Mute"), "{menu:#?}");
    assert_eq!(
        alice.js("document.querySelector('[aria-checked=true]').textContent").await,
        "Only count, and notify about mentions"
    );
    alice.presses(&[ESCAPE]).await;
    alice.clicks("#preferences-open").await;
    let dialog = controls(&alice).await;
    for (role, name) in [
        ("radio", "As on this device"),
        ("radio", "Dark"),
        ("radio", "Unread conversations"),
        ("checkbox", "Notify me on this device"),
        ("button", "Done"),
    ] {
        assert!(has(&dialog, role, name), "{role} {name}: {dialog:#?}");
    }
    assert!(!has(&dialog, "button", "Sign out"), "elements behind a dialog can't have the focus");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_region_speaks_each_event_once() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    bob.say("ops", "good morning").await;
    alice.reads("#live", "good morning").await;
    let all = tree(&alice).await;
    let live = all.iter().position(|node| node.live == "polite");
    let live = live.unwrap_or_else(|| panic!("no live region: {all:#?}"));
    assert_eq!(
        (all[live + 1].role.as_str(), all[live + 1].name.as_str()),
        ("StaticText", "bob: good morning")
    );
    // Only these regions: a live region around the messages would speak each of them a second time.
    let spoken = "document.querySelectorAll('[aria-live], [role=status], [role=alert], [role=log]')";
    let regions = alice.js(&format!("[...{spoken}].map((node) => node.id)")).await;
    assert_eq!(regions, json!(["problem", "live"]));
    // The clock of the user may differ from that of the server.
    alice.js("(window.now = Date.now, Date.now = () => now() + 120_000, 0)").await;
    bob.whisper("alice", "psst").await;
    alice.reads("#live", "bob wrote to you").await;
    alice.js("(Date.now = now, 0)").await;
    alice.js("(navigator.clipboard.writeText = async () => {}, 0)").await;
    alice.clicks("#copy").await;
    alice.reads("#live", "Link copied.").await;

    // The page speaks the loss and the return of the connection, but not each second of the countdown.
    alice.notes("banner-text", LIVE).await;
    fixture.balancer.shut();
    alice.sees("the countdown runs", "told.length > 3").await;
    let told = alice.js("[...new Set(told)].join()").await;
    assert_eq!(told.as_str().unwrap().matches("No connection to the server.").count(), 1, "{told}");
    assert!(has(&tree(&alice).await, "button", "Retry now"));
    bob.say("ops", "meanwhile").await;
    fixture.balancer.open();
    alice.js("document.getElementById('retry').click()").await;
    alice.reads("#live", "Reconnected. Loaded missed messages: 1.").await;
}

/// The last spoken text.
const LIVE: &str = "document.getElementById('live').textContent";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_announces_the_opened_conversation() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    assert_eq!(alice.js(LIVE).await, "#ops");
    assert_eq!(alice.js("document.activeElement.id").await, "draft");
    alice.opens("room=tea").await;
    assert_eq!(alice.js(LIVE).await, "#tea");
    let mut bob = fixture.other(1, "bob", "ops").await;
    bob.say("ops", "good morning").await;
    alice.reads("#live", "bob wrote in #ops").await;
    // The focus stays in the text field, so only the live region reports the change.
    alice.presses(&[ALT, UP]).await;
    alice.reads("#title", "#ops").await;
    assert_eq!(alice.js(LIVE).await, "#ops, 1 unread");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tab_key_follows_the_reading_order() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    bob.whisper("alice", "psst").await;
    alice.unread("peer=bob", 1).await;
    alice.reads("#members", "bob").await;
    alice.types("#draft", "half a").await;
    // Through the whole page, through the browser's own controls, and back to the text field.
    let mut visited = Vec::new();
    while visited.len() < 2 || visited.first() != visited.last() {
        assert!(visited.len() < 30, "the focus does not return: {visited:#?}");
        let nodes = tree(&alice).await;
        let here = nodes.iter().find(|node| node.has_focus);
        visited.extend(here.map(|node| format!("{} {}", node.role, node.name)));
        alice.presses(&[TAB]).await;
    }
    assert_eq!(
        visited,
        [
            "textbox Message #ops",
            "button Send",
            "button Close",
            "link bob",
            "button Join or write (Ctrl+K)",
            "link ops",
            "link bob online 1 unread",
            "button Settings",
            "button Sign out",
            "button Copy the link",
            "button Notifications: Only count, and notify about mentions",
            "button Members",
            "button Leave this room",
            "region Messages, #ops",
            "textbox Message #ops",
        ]
    );
    alice.clicks("#draft").await;
    alice.presses(&[CONTROL, "k"]).await;
    alice.sees("the field of the switcher has the focus", "document.activeElement.id === 'find'").await;
    alice.presses(&[ESCAPE]).await;
    alice.sees("the focus has returned", "document.activeElement.id === 'draft'").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_dialog_gets_all_keys() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=tea").await;
    alice.opens("room=ops").await;
    // WebKit does not close the dialog by itself while its field is empty.
    let keep_open = "document.getElementById('switcher').oncancel = (event) => event.preventDefault()";
    alice.js(&format!("({keep_open}, 0)")).await;
    let is_open = "document.getElementById('switcher').open";
    alice.presses(&[CONTROL, "k"]).await;
    alice.sees("the switcher is open", is_open).await;
    alice.presses(&[ALT, UP]).await;
    alice.presses(&[CONTROL, "k"]).await;
    assert_eq!(alice.js("location.hash").await, "#room=ops", "the conversation behind the dialog");
    alice.presses(&[ESCAPE]).await;
    alice.sees("the switcher is closed", &format!("!{is_open}")).await;
    alice.presses(&[ALT, UP]).await;
    alice.sees("the keys work again", "location.hash === '#room=tea'").await;

    // The heading of an empty list is hidden, and shown with the first room.
    alice.clicks("#leave").await;
    alice.reads("#title", "#ops").await;
    alice.clicks("#leave").await;
    let shown = "!document.getElementById('rooms').previousElementSibling.hidden";
    alice.sees("the heading is hidden", &format!("!({shown})")).await;
    alice.opens("room=ops").await;
    alice.sees("the heading is shown", shown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_a_panel_keeps_the_focus_visible() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    alice.has_screen(900, 700, false).await;
    let focus = |id: &str| format!("document.activeElement.id === '{id}'");
    // At this width, the members cover the messages.
    for close in ["escape", "button"] {
        alice.clicks("#people-toggle").await;
        alice.sees("the members are shown", "!document.getElementById('people').hidden").await;
        if close == "escape" {
            alice.presses(&[ESCAPE]).await;
        } else {
            alice.clicks("#people-close").await;
        }
        alice.sees("the members are closed", "document.getElementById('people').hidden").await;
        alice.sees("the button for the members has the focus", &focus("people-toggle")).await;
    }
    alice.presses(&[ESCAPE]).await;
    alice.sees("the text field has the focus", &focus("draft")).await;
    alice.clicks("#leave").await;
    alice.reads("#title", "Press + to join a room").await;
    alice.sees("the button that joins a room has the focus", &focus("go")).await;
}

/// A narrow page shows either the list or a conversation, so the element with the focus may disappear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn focus_follows_the_view_on_a_small_screen() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    alice.has_screen(320, 560, true).await;
    alice.opens("room=tea").await;
    alice.sees("the focus is on the title", "document.activeElement.id === 'title'").await;
    alice.presses(&[SHIFT, TAB]).await;
    assert_eq!(alice.js("document.activeElement.id").await, "back");
    alice.presses(&[ENTER]).await;
    alice
        .sees("the focus is on the conversation that was left", "document.activeElement.hash === '#room=tea'")
        .await;
    alice.presses(&[SHIFT, TAB]).await;
    alice.presses(&[ENTER]).await;
    alice.sees("the focus is on the title of the other room", "document.activeElement.id === 'title'").await;
    alice.reads("#title", "#ops").await;

    alice.clicks("#people-toggle").await;
    alice.sees("the focus is in the members", "document.activeElement.id === 'people-close'").await;
    alice.presses(&[ENTER]).await;
    alice
        .sees("the focus is on the button for the members", "document.activeElement.id === 'people-toggle'")
        .await;
    alice.clicks("#leave").await;
    alice.sees("the focus is on the button that joins a room", "document.activeElement.id === 'go'").await;
}
