//! The page under a real hand: wheel and keys reach the browser through the screen, so that its own smooth scrolling
//! takes part.

use super::browser::Browser;
use super::engine::Engine;
use super::person::Person;
use super::screen::Screen;
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind};

const BELOW: &str = "(() => {
    const { scrollHeight, scrollTop, clientHeight } = document.getElementById('scroller');
    return scrollHeight - scrollTop - clientHeight;
})()";

struct HandFixture {
    browser: Browser,
    cluster: Cluster,
    screen: Screen,
    engine: Engine,
}

impl HandFixture {
    async fn start(engine: Engine) -> Self {
        let screen = Screen::start();
        let (cluster, browser) = tokio::join!(
            Cluster::start_with(Kind::Embedded, 1, |_| {}),
            Browser::start_on(engine, &screen.display)
        );
        Self { browser, cluster, screen, engine }
    }

    /// Alice, with the keyboard in her window, in a room with this number of messages of Bob.
    async fn alice(&self, messages: usize) -> (Person<'_>, Client) {
        let link = format!("http://{}/#room=ops", self.cluster.address(0));
        let alice = Person::signs_in_on_screen(&self.browser, &link, "alice").await;
        let mut bob = self.cluster.enter(0, "bob", "ops").await;
        bob.say_many("ops", "one of many", messages).await;
        let shown = format!("document.querySelectorAll('#timeline .text').length === {messages}");
        alice.sees("all messages are shown", &shown).await;
        self.screen.focuses_window(self.engine.window_class());
        alice.sees("the window has the keyboard", "document.hasFocus()").await;
        // GTK counts a wheel from its first turn over a window. At the end, a turn down does nothing.
        self.screen.turns_wheel(1);
        alice.sees("the end is shown", &format!("{BELOW} < 2")).await;
        (alice, bob)
    }
}

/// Counts the frames of the page since it last scrolled. On a busy machine, half a second may be less than a frame.
const STILL: &str = "(window.stillness ??= (() => {
    const seen = { frames: 0, at: NaN };
    const look = () => {
        const { scrollTop, scrollHeight } = document.getElementById('scroller');
        const at = scrollHeight - scrollTop;
        seen.frames = Math.abs(at - seen.at) <= 0.1 ? seen.frames + 1 : 0;
        seen.at = at;
        requestAnimationFrame(look);
    };
    look();
    return seen;
})()).frames";

/// The distance from the end, once the page has stopped scrolling.
async fn distance(person: &Person<'_>) -> f64 {
    person.sees("the page stops scrolling", &format!("{STILL} > 20")).await;
    person.js(BELOW).await.as_f64().unwrap()
}

/// The distance from the end after a move of the hand, which may take a while to begin.
async fn distance_after(person: &Person<'_>, what: &str, least: u32) -> f64 {
    person.sees(&format!("{what} moves the view"), &format!("{BELOW} > {least}")).await;
    distance(person).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wheel_and_keys_work_in_chromium() {
    wheel_and_keys_work(Engine::Chromium).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wheel_and_keys_work_in_firefox() {
    wheel_and_keys_work(Engine::Firefox).await;
}

/// Not in CI: it needs webkit2gtk-driver, and its WebKit is older than those of Safari.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Debian's webkit2gtk-driver"]
async fn wheel_and_keys_work_in_webkit() {
    wheel_and_keys_work(Engine::WebKit).await;
}

async fn wheel_and_keys_work(engine: Engine) {
    let fixture = HandFixture::start(engine).await;
    let (alice, mut bob) = fixture.alice(150).await;
    for (name, notches) in [("one notch", -1), ("four notches", -4)] {
        fixture.screen.turns_wheel(notches);
        let left = distance_after(&alice, name, 40).await;
        // A message that arrives does not move the view.
        let count = alice.messages().await.len();
        bob.say("ops", "one more").await;
        alice
            .sees("the button tells of it", "document.getElementById('jump').textContent === '↓ 1 new'")
            .await;
        assert!(distance(&alice).await > left, "{name}: the new message moved the view");
        assert_eq!(alice.messages().await.len(), count + 1);
        // The wheel goes back to the end, and the view follows again.
        fixture.screen.turns_wheel(12);
        alice.sees("the view follows the end", "document.getElementById('jump').hidden").await;
        bob.say("ops", "one more").await;
        alice
            .sees(
                "the message has arrived",
                &format!("document.querySelectorAll('#timeline .text').length === {}", count + 2),
            )
            .await;
        alice.sees(&format!("{name}: the view follows"), &format!("{BELOW} < 2")).await;
    }
    alice.js("document.getElementById('scroller').focus()").await;
    for key in ["Up", "Prior", "Home"] {
        fixture.screen.presses(key);
        distance_after(&alice, key, 30).await;
        fixture.screen.presses("End");
        alice.sees(&format!("End shows the end after {key}"), &format!("{BELOW} < 2")).await;
        // A browser still scrolls, and drops a key that comes meanwhile.
        distance(&alice).await;
    }
    // The dialog takes the keys, also while its field is empty.
    let is_open = "document.getElementById('switcher').open";
    for text in ["", "somebody"] {
        fixture.screen.presses("ctrl+k");
        alice.sees("the dialog is open", &format!("{is_open} && document.activeElement.id === 'find'")).await;
        if !text.is_empty() {
            alice.types("#find", text).await;
        }
        // The first Escape may be for the list of suggestions that the browser shows below the field.
        for attempt in 0.. {
            fixture.screen.presses("Escape");
            distance(&alice).await;
            if alice.js(is_open).await == false {
                break;
            }
            assert!(attempt < 5, "Escape does not close the dialog with the text {text:?}");
        }
    }
    // The menu of a message, and the browser's own clipboard.
    bob.say("ops", "**copied**").await;
    bob.say("ops", "the newest").await;
    alice.reads("#timeline > li:last-child .text", "the newest").await;
    alice.js("document.getElementById('draft').focus()").await;
    fixture.screen.presses("shift+Tab");
    let newest = "document.activeElement.matches('#timeline > li:last-child .more')";
    alice.sees("the newest message has the focus", newest).await;
    fixture.screen.presses("Up");
    alice.sees("the message before it has the focus", &format!("!{newest}")).await;
    fixture.screen.presses("Return");
    let entry = |label: &str| format!("document.activeElement.textContent === '{label}'");
    alice.sees("the menu is open", &entry("Reply")).await;
    fixture.screen.presses("Down");
    alice.sees("the next entry has the focus", &entry("Copy text")).await;
    fixture.screen.presses("Up");
    alice.sees("the first entry has the focus", &entry("Reply")).await;
    fixture.screen.presses("Down");
    alice.sees("the next entry has the focus again", &entry("Copy text")).await;
    fixture.screen.presses("Return");
    alice.reads("#notice", "Text copied.").await;
    alice.js("document.getElementById('draft').focus()").await;
    fixture.screen.presses("ctrl+v");
    alice.sees("the text is pasted", "document.getElementById('draft').value === '**copied**'").await;
}
