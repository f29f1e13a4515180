//! What the page looks like: light and dark, large and small. With `PAGE_IMAGES` set to a folder, its pictures go there;
//! those of the README are made so.

use serde_json::json;

use super::page_fixture::PageFixture;
use super::person::{ENTER, Person};

/// Fails where anything is wider than the window.
async fn fits(person: &Person<'_>) {
    let wider = "[...document.querySelectorAll('body *')].filter((node) => node.checkVisibility() && !node.closest('.sr') \
        && node.getBoundingClientRect().right > innerWidth + 1).map((node) => node.outerHTML.slice(0, 120))";
    assert_eq!(person.js(wider).await, json!([]));
    assert_eq!(person.js("document.documentElement.scrollWidth <= innerWidth").await, true);
}

/// How light the background is, from 0 to 255.
async fn lightness(person: &Person<'_>) -> f64 {
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
    bob.say("operations", "Good morning! I’m about to upgrade the second node.").await;
    bob.say("operations", "The notes are at https://example.com/notes/upgrade").await;
    chiara.say("operations", "Go ahead. The first one took 40 s, nobody noticed.").await;
    alice.sees("they have arrived", "document.querySelectorAll('#timeline .text').length === 3").await;
    alice.says("Is anybody still connected to it?").await;
    deniz.say("operations", "About 12,000 people.").await;
    deniz.say("operations", "They’ll move to the others by themselves 🙂").await;
    erik.say("operations", "אני מסתכל על הגרפים.").await;
    alice.sees("they have arrived", "document.querySelectorAll('#timeline .text').length === 7").await;
    alice.says("Then let’s do it.").await;
    bob.say("operations", "🚀").await;
    bob.say("operations", "Done. One reconnect, nothing lost.").await;
    chiara.whisper("Alice", "Lunch at one?").await;
    deniz.whisper("Alice", "Thanks for the review!").await;
    erik.ok("Enter", json!({ "room": "design" })).await;
    erik.say("design", "The new icon is in.").await;
    alice.sees("they have arrived", "document.querySelectorAll('#timeline .text').length === 10").await;
    alice.unread("peer=Chiara", 1).await;
    alice.unread("room=design", 1).await;

    // Under one day, in groups, each in the direction of its letters; what is nothing but emoji is large.
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

    alice.has_screen(1280, 800, false).await;
    fits(&alice).await;
    assert!(lightness(&alice).await > 200.0);
    alice.sees("the members are beside", "document.querySelectorAll('#members a').length === 5").await;
    deniz.tell("Typing", json!({ "room": "operations" })).await;
    alice.reads("#typing", "Deniz is typing…").await;
    picture(&alice, "chat.png").await;

    alice.has_screen(375, 700, true).await;
    alice.reloads().await;
    alice.is_online().await;
    alice.sees("all is there again", "document.querySelectorAll('#timeline .text').length === 10").await;
    fits(&alice).await;
    assert!(lightness(&alice).await < 70.0);
    deniz.tell("Typing", json!({ "room": "operations" })).await;
    alice.sees("the newest is on the screen", NEWEST_IS_SEEN).await;
    picture(&alice, "phone.png").await;

    chiara
        .say("operations", &format!("{} and https://example.com/{}", "long".repeat(60), "x".repeat(200)))
        .await;
    alice.sees("it has arrived", "document.querySelectorAll('#timeline .text').length === 11").await;
    // What is being written takes the rows that it needs, also where the window changes under it.
    let height = "document.getElementById('draft').clientHeight";
    let row = alice.js(height).await.as_f64().unwrap();
    alice.types("#draft", &"written ".repeat(8)).await;
    alice.has_screen(320, 480, false).await;
    alice.sees("it takes more rows", &format!("{height} > {row}")).await;
    alice.has_screen(1280, 800, false).await;
    alice.sees("it takes one row", &format!("{height} <= {row}")).await;
    alice.js("document.getElementById('draft').select()").await;
    alice.types("#draft", "\u{e017}").await;
    alice.has_screen(320, 480, false).await;
    fits(&alice).await;
    alice.sees("the newest is on the screen", NEWEST_IS_SEEN).await;
    alice.clicks("#people-toggle").await;
    alice.sees("the members are shown", "!document.getElementById('people').hidden").await;
    fits(&alice).await;
    alice.clicks("#people-close").await;
    alice.clicks("#back").await;
    alice.sees("the list is shown", "document.getElementById('sidebar').checkVisibility()").await;
    fits(&alice).await;
}

/// Where one writes is on the screen, and the last message just above it.
const NEWEST_IS_SEEN: &str = "(() => {
    const field = document.getElementById('draft').getBoundingClientRect();
    const last = [...document.querySelectorAll('#timeline .text')].at(-1).getBoundingClientRect();
    return field.bottom <= innerHeight && last.bottom <= field.top && last.bottom > 0;
})()";

/// Every text on the screen that stands out from what is behind it by less than 4.5 to 1, and the borders of fields by
/// less than 3 to 1: the level AA of the Web Content Accessibility Guidelines.
const FAINT: &str = "(() => {
    // A field that is being written in has another border.
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
        const field = node.id === 'composer' || node.tagName === 'INPUT';
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
        other.say("ops", "see https://example.com/").await;
        other.whisper("alice", "psst").await;
        others.push(other);
    }
    alice.says("mine, see https://example.com/").await;
    alice.sees("it is stored", "document.querySelectorAll('.line.stored.mine').length === 1").await;
    fixture.balancer.shut();
    alice.says("on its way, see https://example.com/").await;
    alice.reads("#banner-text", "Trying again").await;
    for is_dark in [false, true] {
        alice.has_screen(1280, 800, is_dark).await;
        assert_eq!(alice.js(FAINT).await, json!([]), "dark: {is_dark}");
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
    alice.sees("it fills the screen", &format!("{height} === 700")).await;
    alice.sees("the newest is on the screen", NEWEST_IS_SEEN).await;
    alice.devtools("Emulation.setPageScaleFactor", json!({ "pageScaleFactor": 2 })).await;
    alice.sees("it is zoomed in", "visualViewport.scale === 2 && visualViewport.height === 350").await;
    alice
        .sees("its size was told", "document.documentElement.style.getPropertyValue('--height') === '700px'")
        .await;
    assert_eq!(alice.js(height).await.as_f64(), Some(700.0));
    alice.devtools("Emulation.setPageScaleFactor", json!({ "pageScaleFactor": 1 })).await;
    // As much as a keyboard leaves.
    alice.has_screen(375, 360, false).await;
    alice.sees("it is as high as what is seen", &format!("{height} === 360")).await;
    alice.sees("the newest is on the screen", NEWEST_IS_SEEN).await;
    // A phone on its side, and more written than there is room for.
    for number in 0..12 {
        alice.types("#draft", &format!("line {number}\u{e008}\u{e007}\u{e008}")).await;
    }
    alice.has_screen(667, 375, false).await;
    let keyboard =
        "(Object.defineProperty(visualViewport, 'height', { value: 180 }), visualViewport.onresize(), true)";
    assert_eq!(alice.js(keyboard).await, true);
    alice
        .sees(
            "what sends it is above the keyboard",
            "document.getElementById('composer').getBoundingClientRect().bottom <= 180",
        )
        .await;
}
