//! The appearance of the page: light and dark, large and small. If `PAGE_IMAGES` names a folder, the screenshots are
//! written there; those in docs/images come from here.

use serde_json::json;

use super::page_fixture::PageFixture;
use super::person::{ENTER, Person, SHIFT};

const ESCAPE: &str = "\u{e00c}";
/// Deletes the selected text.
const DELETE: &str = "\u{e017}";

/// Asserts that nothing is wider than the window.
pub async fn fits(person: &Person<'_>) {
    let wider = "[...document.querySelectorAll('body *')].filter((node) => node.checkVisibility() && !node.closest('.sr') \
        && (node.getBoundingClientRect().right > innerWidth + 1 || node.getBoundingClientRect().left < -1)).map((node) => node.outerHTML.slice(0, 120))";
    assert_eq!(person.js(wider).await, json!([]));
    assert_eq!(person.js("document.documentElement.scrollWidth <= innerWidth").await, true);
}

/// The brightness of the background, from 0 to 255.
pub async fn lightness(person: &Person<'_>) -> f64 {
    let script = "(() => {
        const canvas = new OffscreenCanvas(1, 1).getContext('2d');
        canvas.fillStyle = getComputedStyle(document.body).backgroundColor;
        canvas.fillRect(0, 0, 1, 1);
        const [red, green, blue] = canvas.getImageData(0, 0, 1, 1).data;
        return (red + green + blue) / 3;
    })()";
    person.js(script).await.as_f64().unwrap()
}

async fn picture(person: &Person<'_>, name: &str) {
    let png = person.screenshot().await;
    assert!(png.starts_with(b"\x89PNG"), "no picture");
    if let Some(folder) = std::env::var_os("PAGE_IMAGES") {
        std::fs::write(std::path::Path::new(&folder).join(name), png).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_fits_every_screen_in_both_colour_schemes() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "Alice", "room=operations").await;
    alice.opens("room=lobby").await;
    alice.opens("room=design").await;
    let mut others = Vec::new();
    for (node, name) in [(0, "Bob"), (1, "Chiara"), (1, "Deniz"), (0, "Erik")] {
        others.push(fixture.other(node, name, "operations").await);
    }
    let [bob, chiara, deniz, erik] = &mut others[..] else { unreachable!() };
    alice.opens("room=operations").await;
    let plan = bob.say("operations", "Good morning! I’m about to upgrade the second node.").await;
    bob.say("operations", "The notes are at https://example.com/notes/upgrade").await;
    let answer = "Go ahead. The first one took **40 s**: see `chatnode nodes`.";
    let answer = json!({ "room": "operations", "content": answer, "reply_to": plan["message_id"] });
    chiara.ok("GroupChat", answer).await;
    alice
        .sees("the messages have arrived", "document.querySelectorAll('#timeline .text').length === 3")
        .await;
    alice.says("Is anybody still connected to it?").await;
    let count =
        json!({ "room": "operations", "content": "@Alice About 12,000 people.", "mentions": ["Alice"] });
    deniz.ok("GroupChat", count).await;
    deniz.say("operations", "They’ll move to the others by themselves 🙂").await;
    erik.say("operations", "אני מסתכל על הגרפים.").await;
    alice
        .sees("the messages have arrived", "document.querySelectorAll('#timeline .text').length === 7")
        .await;
    alice.says("Then let’s do it.").await;
    bob.say("operations", "🚀").await;
    let done = bob.say("operations", "Done. One reconnect, nothing lost.").await;
    for other in [&mut *chiara, &mut *deniz] {
        let reaction =
            json!({ "room": "operations", "message_id": done["message_id"], "reaction": "🎉", "on": true });
        other.ok("React", reaction).await;
    }
    chiara.whisper("Alice", "Lunch at one?").await;
    deniz.whisper("Alice", "Thanks for the review!").await;
    erik.ok("Enter", json!({ "room": "design" })).await;
    erik.say("design", "The new icon is in.").await;
    alice
        .sees("the messages have arrived", "document.querySelectorAll('#timeline .text').length === 10")
        .await;
    alice.unread("peer=Chiara", 1).await;
    alice.unread("room=design", 1).await;
    alice
        .sees("the reactions have arrived", "document.querySelector('.chosen')?.textContent === '🎉 2'")
        .await;

    // One day, messages in groups, each in the direction of its script; a message of emoji only is large.
    assert_eq!(
        alice.js("[...document.querySelectorAll('.day')].map((day) => day.textContent)").await,
        json!(["Today"])
    );
    let first =
        "[...document.querySelectorAll('.line')].map((line) => Number(line.classList.contains('first')))";
    assert_eq!(alice.js(first).await, json!([1, 0, 1, 1, 1, 0, 1, 1, 1, 0]));
    assert_eq!(alice.js("getComputedStyle(document.querySelectorAll('.text')[6]).direction").await, "rtl");
    assert_eq!(alice.js("getComputedStyle(document.querySelectorAll('.text')[5]).direction").await, "ltr");
    let size = "parseFloat(getComputedStyle(document.querySelector('.emoji')).fontSize)";
    assert!(alice.js(size).await.as_f64().unwrap() > 30.0);

    alice.has_screen(1280, 890, false).await;
    fits(&alice).await;
    assert!(lightness(&alice).await > 200.0);
    alice.sees("the members are shown", "document.querySelectorAll('#members a').length === 5").await;
    deniz.tell("Typing", json!({ "room": "operations" })).await;
    alice.reads("#typing", "Deniz is typing…").await;
    picture(&alice, "chat.png").await;

    alice.has_screen(375, 700, true).await;
    alice.reloads().await;
    alice.is_online().await;
    alice
        .sees("all messages are shown again", "document.querySelectorAll('#timeline .text').length === 10")
        .await;
    fits(&alice).await;
    assert!(lightness(&alice).await < 70.0);
    deniz.tell("Typing", json!({ "room": "operations" })).await;
    alice.sees("the newest message is on the screen", NEWEST_IS_SEEN).await;
    picture(&alice, "phone.png").await;

    chiara
        .say("operations", &format!("{} and https://example.com/{}", "long".repeat(60), "x".repeat(200)))
        .await;
    alice.sees("the message has arrived", "document.querySelectorAll('#timeline .text').length === 11").await;
    // The text field has as many rows as its text needs, also after the window changes.
    let height = "document.getElementById('draft').clientHeight";
    let row = alice.js(height).await.as_f64().unwrap();
    alice.types("#draft", &"written ".repeat(8)).await;
    alice.has_screen(320, 480, false).await;
    alice.sees("the text field has more rows", &format!("{height} > {row}")).await;
    alice.has_screen(1280, 800, false).await;
    alice.sees("the text field has one row", &format!("{height} <= {row}")).await;
    alice.js("document.getElementById('draft').select()").await;
    alice.types("#draft", "\u{e017}").await;
    alice.has_screen(320, 480, false).await;
    fits(&alice).await;
    alice.sees("the newest message is on the screen", NEWEST_IS_SEEN).await;
    alice.clicks("#people-toggle").await;
    alice.sees("the members are shown", "!document.getElementById('people').hidden").await;
    fits(&alice).await;
    alice.clicks("#people-close").await;
    alice.clicks("#back").await;
    alice.sees("the list is shown", "document.getElementById('sidebar').checkVisibility()").await;
    fits(&alice).await;
    alice.clicks("#preferences-open").await;
    fits(&alice).await;
    alice.js("document.getElementById('preferences').close()").await;

    // From right to left: the page of a translation.
    alice.js("document.documentElement.dir = 'rtl'").await;
    fits(&alice).await;
    alice.opens("room=operations").await;
    fits(&alice).await;
    alice.has_screen(1280, 800, false).await;
    fits(&alice).await;
    let sides = "(() => {
        const left = (id) => document.getElementById(id).getBoundingClientRect().left;
        return left('people') < left('pane') && left('pane') < left('sidebar') && left('send') < left('draft');
    })()";
    alice.sees("the page is mirrored", sides).await;
}

/// The text field is on the screen, with the last message directly above it.
const NEWEST_IS_SEEN: &str = "(() => {
    const field = document.getElementById('draft').getBoundingClientRect();
    const last = [...document.querySelectorAll('#timeline .text')].at(-1).getBoundingClientRect();
    return field.bottom <= innerHeight && last.bottom <= field.top && last.bottom > 0;
})()";

/// All texts with a contrast below 4.5 to 1, and all borders of fields with a contrast below 3 to 1: the level AA of
/// the Web Content Accessibility Guidelines.
const FAINT: &str = "(() => {
    // A field with the focus has another border.
    document.activeElement.blur();
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    const paint = (...colors) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const [color, opacity] of colors) {
            canvas.globalAlpha = opacity;
            canvas.fillStyle = color;
            canvas.fillRect(0, 0, 1, 1);
        }
        const [red, green, blue] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => {
            const part = value / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const ancestors = (node) => node ? [node, ...ancestors(node.parentElement)] : [];
    const behind = (node) => ancestors(node).reverse().map((each) => [getComputedStyle(each).backgroundColor, 1]);
    const ratio = (node, color) => {
        const opacity = ancestors(node).reduce((all, each) => all * getComputedStyle(each).opacity, 1);
        const lights = [paint(...behind(node)), paint(...behind(node), [color, opacity])].sort((a, b) => b - a);
        return (lights[0] + 0.05) / (lights[1] + 0.05);
    };
    const faint = [];
    for (const node of document.querySelectorAll('body *')) {
        const text = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
        if (!node.checkVisibility({ visibilityProperty: true }) || node.closest('.sr, :disabled')) continue;
        const style = getComputedStyle(node);
        const field = node.id === 'composer' || node.matches('input:not([type])');
        if (text && ratio(node, style.color) < 4.5) faint.push([node.outerHTML.slice(0, 120), ratio(node, style.color)]);
        if (field && ratio(node.parentElement, style.borderTopColor) < 3) faint.push([node.id, ratio(node, style.borderTopColor)]);
    }
    return faint;
})()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_and_fields_have_enough_contrast() {
    let fixture = PageFixture::start().await;
    let alice = Person::visits(&fixture.browser, &fixture.link("room=ops")).await;
    alice.sees("the page asks for a name", "!document.getElementById('sign-in').hidden").await;
    for is_dark in [false, true] {
        alice.has_screen(1280, 800, is_dark).await;
        assert_eq!(alice.js(FAINT).await, json!([]), "signing in, dark: {is_dark}");
    }
    alice.types("#name", &format!("alice{ENTER}")).await;
    alice.is_online().await;
    let mut others = Vec::new();
    for name in ["bob", "Chiara", "deniz", "Erik", "yuki", "zoë"] {
        let mut other = fixture.other(1, name, "ops").await;
        let id = other
            .say("ops", "see https://example.com/ or `code`\n> quote `code`\n```\nblock\n```")
            .await["message_id"]
            .clone();
        let file = json!([{ "url": "https://x.test/", "name": "file", "mime": "text/plain", "bytes": 1 }]);
        let more = json!({ "room": "ops", "content": "@alice @bob", "reply_to": id, "mentions": ["alice", "bob"], "attachments": file });
        other.ok("GroupChat", more).await;
        other.ok("React", json!({ "room": "ops", "message_id": id, "reaction": "ok", "on": true })).await;
        other.whisper("alice", "psst").await;
        others.push(other);
    }
    alice.says("mine, see https://example.com/ or `code`").await;
    alice.sees("the message is stored", "document.querySelectorAll('.line.stored.mine').length === 1").await;
    fixture.balancer.shut();
    alice.says("on its way, see https://example.com/").await;
    alice.reads("#banner-text", "Trying again").await;
    for is_dark in [false, true] {
        alice.has_screen(1280, 800, is_dark).await;
        assert_eq!(alice.js(FAINT).await, json!([]), "dark: {is_dark}");
        alice.js("document.querySelector('#timeline .more').click()").await;
        assert_eq!(alice.js(FAINT).await, json!([]), "menu, dark: {is_dark}");
        alice.js("document.querySelector('[role=menu] button').click()").await;
        alice.types("#draft", "@b").await;
        alice.reads("#suggestions", "bob").await;
        assert_eq!(
            alice.js(FAINT.replace("document.activeElement.blur();", "").as_str()).await,
            json!([]),
            "answer, dark: {is_dark}"
        );
        alice.presses(&[ESCAPE]).await;
        alice.js("document.getElementById('draft').select()").await;
        alice.types("#draft", DELETE).await;
        alice.js("document.getElementById('preferences-open').click()").await;
        assert_eq!(alice.js(FAINT).await, json!([]), "settings, dark: {is_dark}");
        alice.js("document.getElementById('preferences').close()").await;
    }
    fixture.balancer.open();
    alice.js("document.getElementById('retry').click()").await;
    alice.reads("#banner-text", "Reconnected. No messages missed.").await;
    assert_eq!(alice.js(FAINT).await, json!([]), "back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phone_keyboard_shrinks_the_page_but_zoom_does_not() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    for number in 1..=40 {
        bob.say("ops", &format!("number {number}")).await;
    }
    alice.has_screen(375, 700, false).await;
    let height = "document.getElementById('chat').getBoundingClientRect().height";
    alice.sees("the page fills the screen", &format!("{height} === 700")).await;
    alice.sees("the newest message is on the screen", NEWEST_IS_SEEN).await;
    alice.devtools("Emulation.setPageScaleFactor", json!({ "pageScaleFactor": 2 })).await;
    alice.sees("the page is zoomed in", "visualViewport.scale === 2 && visualViewport.height === 350").await;
    alice
        .sees(
            "the page knows its height",
            "document.documentElement.style.getPropertyValue('--height') === '700px'",
        )
        .await;
    assert_eq!(alice.js(height).await.as_f64(), Some(700.0));
    alice.devtools("Emulation.setPageScaleFactor", json!({ "pageScaleFactor": 1 })).await;
    // The height that remains above a keyboard.
    alice.has_screen(375, 360, false).await;
    alice.sees("the page has the height of the visible part", &format!("{height} === 360")).await;
    alice.sees("the newest message is on the screen", NEWEST_IS_SEEN).await;
    // A phone in landscape, with more text than fits.
    for number in 0..12 {
        alice.types("#draft", &format!("line {number}\u{e008}\u{e007}\u{e008}")).await;
    }
    alice.has_screen(667, 375, false).await;
    let keyboard =
        "(Object.defineProperty(visualViewport, 'height', { value: 180 }), visualViewport.onresize(), true)";
    assert_eq!(alice.js(keyboard).await, true);
    alice
        .sees(
            "the send button is above the keyboard",
            "document.getElementById('composer').getBoundingClientRect().bottom <= 180",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_draft_keeps_the_newest_message_visible() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    bob.say_many("ops", "one of many", 40).await;
    alice
        .sees("the messages have arrived", "document.querySelectorAll('#timeline .text').length === 40")
        .await;
    for number in 1..=4 {
        alice.types("#draft", &format!("line {number}{SHIFT}{ENTER}{SHIFT}")).await;
        alice.sees("the newest message is on the screen", NEWEST_IS_SEEN).await;
    }
    bob.say("ops", "the newest").await;
    alice.reads("#timeline > li:last-child .text", "the newest").await;
    alice.sees("the newest message is on the screen", NEWEST_IS_SEEN).await;
    assert_eq!(alice.js("document.getElementById('jump').hidden").await, true);

    // A zoom of the text only, as Firefox has it, changes no size of the window.
    alice.js("document.documentElement.style.fontSize = '30px'").await;
    alice
        .sees(
            "the text field shows its whole text",
            "(({ scrollHeight, clientHeight }) => scrollHeight <= clientHeight + 1)(document.getElementById('draft'))",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn print_contains_all_loaded_messages() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    bob.say_many("ops", "one of many", 70).await;
    alice
        .sees("the messages have arrived", "document.querySelectorAll('#timeline .text').length === 70")
        .await;
    alice.devtools("Emulation.setEmulatedMedia", json!({ "media": "print" })).await;
    let all = "document.documentElement.scrollHeight
        >= document.querySelector('#timeline > li:last-child').getBoundingClientRect().bottom
        && document.querySelector('#timeline > li').getBoundingClientRect().top >= 0
        && document.documentElement.scrollHeight > innerHeight";
    alice.sees("the document is as long as the list", all).await;
    assert_eq!(alice.js("document.getElementById('composer').checkVisibility()").await, false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_browser_gets_a_reason() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    assert_eq!(alice.js("document.getElementById('unsupported')").await, json!(null));
    let old = json!({ "source": "CSS.supports = () => false" });
    alice.devtools("Page.addScriptToEvaluateOnNewDocument", old).await;
    alice.reloads().await;
    alice.reads("#unsupported", "Safari 17.5").await;
    let shown = "document.getElementById('unsupported').checkVisibility({ visibilityProperty: true })";
    alice.sees("the reason is shown", shown).await;
}
