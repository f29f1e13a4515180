//! What the page looks like: light and dark, large and small. With `PAGE_IMAGES` set to a folder, its pictures go there;
//! those of the README are made so.

use serde_json::json;

use super::house::House;
use super::person::Person;

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
async fn it_fits_every_screen_in_the_light_and_in_the_dark() {
    let house = House::start().await;
    let alice = house.person(0, "Alice", "room=operations").await;
    alice.opens("room=lobby").await;
    alice.opens("room=design").await;
    let mut others = Vec::new();
    for (node, name) in [(0, "Bob"), (1, "Chiara"), (1, "Deniz"), (0, "Erik")] {
        others.push(house.other(node, name, "operations").await);
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
