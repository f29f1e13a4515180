//! What only Firefox does: it saves passwords, zooms the text alone, and delays sockets to a server that was away.

use std::time::{Duration, Instant};

use serde_json::json;

use super::browser::Browser;
use super::engine::Engine;
use super::page_fixture::PageFixture;
use super::person::{ENTER, Person, SHIFT};
use super::screen::Screen;
use crate::support::cluster::{Cluster, Kind};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_now_connects_at_once_after_an_outage() {
    let fixture = PageFixture::start_in(Engine::Firefox).await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    fixture.balancer.go_away();
    for _ in 0..12 {
        alice.sees("the button is shown", "!document.getElementById('retry').hidden").await;
        // The countdown may end at this moment, so the click does not wait for the button.
        alice.js("document.getElementById('retry').click()").await;
        alice.reads("#banner-text", "Trying again in").await;
    }
    fixture.balancer.open();
    let began = Instant::now();
    alice.js("document.getElementById('retry').click()").await;
    alice.is_online().await;
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    assert_eq!(fixture.balancer.turned_away(), 1, "sockets that were tried while the server was away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saved_password_does_not_reach_the_sign_in() {
    let fixture = PageFixture::start_in(Engine::Firefox).await;
    let save = format!(
        "const origin = 'http://{}';
        const login = Cc['@mozilla.org/login-manager/loginInfo;1'].createInstance(Ci.nsILoginInfo);
        login.init(origin, origin, null, 'alice', 'a-saved-token', '', '');
        return Services.logins.addLoginAsync(login)
            .then(() => Services.logins.searchLoginsAsync({{ origin }})).then(({{ length }}) => length);",
        fixture.balancer.address
    );
    fixture.browser.post("/moz/context", json!({ "context": "chrome" })).await;
    let saved = fixture.browser.post("/execute/sync", json!({ "script": save, "args": [] })).await;
    assert_eq!(saved, 1);
    fixture.browser.post("/moz/context", json!({ "context": "content" })).await;

    let alice = Person::visits(&fixture.browser, &fixture.link("room=ops")).await;
    alice.sees("the page asks for a name", "!document.getElementById('sign-in').hidden").await;
    // A form of the test, with a field for a password, shows when the browser has filled all it would fill.
    let form = "(() => {
        const [form, name, other] = ['form', 'input', 'input'].map((tag) => document.createElement(tag));
        Object.assign(other, { id: 'other', type: 'password' });
        form.append(name, other);
        document.body.append(form);
    })()";
    alice.js(form).await;
    alice
        .sees("the browser fills what it saved", "document.getElementById('other').value === 'a-saved-token'")
        .await;
    alice.types("#name", &format!("alice{ENTER}")).await;
    alice.is_online().await;
    assert_eq!(alice.js("document.getElementById('token').value").await, "");
    assert_eq!(alice.js("JSON.stringify(sessionStorage).includes('a-saved-token')").await, false);
    alice.says("hello").await;
    alice.sees("the message is stored", "document.querySelectorAll('.line.stored.mine').length === 1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn composer_is_whole_at_twice_the_text_size() {
    let screen = Screen::start();
    let (cluster, browser) = tokio::join!(
        Cluster::start_with(Kind::Embedded, 1, |_| {}),
        Browser::start_on(Engine::Firefox, &screen.display)
    );
    let link = format!("http://{}/#room=ops", cluster.address(0));
    let alice = Person::signs_in_on_screen(&browser, &link, "alice").await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    bob.say_many("ops", "one of many", 40).await;
    alice
        .sees("the messages have arrived", "document.querySelectorAll('#timeline .text').length === 40")
        .await;
    screen.focuses_window(Engine::Firefox.window_class());
    alice.sees("the window has the keyboard", "document.hasFocus()").await;
    // The height of a line, since a zoom of the text changes no computed size.
    let line = "document.querySelector('#timeline .text').getBoundingClientRect().height";
    let before = alice.js(line).await.as_f64().unwrap();
    let mut now = before;
    while now < before * 1.9 {
        screen.presses("ctrl+equal");
        alice.sees("the text is larger", &format!("{line} > {now}")).await;
        now = alice.js(line).await.as_f64().unwrap();
    }
    for number in 1..=4 {
        alice.types("#draft", &format!("line {number}{SHIFT}{ENTER}{SHIFT}")).await;
        alice.sees("the composer and the newest message are whole", IS_WHOLE).await;
    }
    bob.say("ops", "the newest").await;
    alice.reads("#timeline > li:last-child .text", "the newest").await;
    alice.sees("the composer and the newest message are whole", IS_WHOLE).await;
}

/// The text field shows its whole text and is inside the window, as is its button; the last message is above it.
const IS_WHOLE: &str = "(() => {
    const draft = document.getElementById('draft');
    const composer = document.getElementById('composer').getBoundingClientRect();
    const { right, bottom } = document.getElementById('send').getBoundingClientRect();
    const last = [...document.querySelectorAll('#timeline .text')].at(-1).getBoundingClientRect();
    return draft.scrollHeight <= draft.clientHeight + 1 && composer.bottom <= innerHeight && bottom <= innerHeight
        && right <= innerWidth && last.bottom <= composer.top && last.top > 0;
})()";
