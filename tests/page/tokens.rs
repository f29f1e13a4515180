//! Sign-in on a server that requires tokens: without a token, with an invalid one, and after the token has ended.

use serde_json::json;

use super::page_fixture::PageFixture;
use super::person::{ENTER, Person};
use crate::support::api::with_tokens;
use crate::support::client::Client;
use crate::support::cluster::Kind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_token_keeps_rooms_and_messages() {
    let fixture = PageFixture::start_with(Kind::Embedded, |config| {
        with_tokens(config);
        config.rooms.default = "den".parse().unwrap();
    });
    let fixture = fixture.await;
    let alice = Person::visits(&fixture.browser, &fixture.link("")).await;
    alice.reads("#enter", "Join #den").await;
    alice.types("#name", &format!("alice{ENTER}")).await;
    alice.reads("#problem", "This server requires an access token.").await;
    alice.types("#token", &format!("0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10{ENTER}")).await;
    alice.reads("#problem", "The server does not accept this token.").await;
    // The token of another user.
    let others = fixture.cluster.token(0, "bob").await;
    alice.types("#token", &format!("{others}{ENTER}")).await;
    alice.reads("#problem", "This access token belongs to another user.").await;

    let first = fixture.cluster.token(0, "alice").await;
    alice.types("#token", &format!("{first}{ENTER}")).await;
    alice.is_online().await;
    alice.reads("#title", "#den").await;
    let mut bob = Client::connect(fixture.cluster.address(1), "bob").await;
    bob.token = Some(others);
    bob.ok("Enter", json!({ "room": "den" })).await;
    alice.says("with a token").await;
    assert_eq!(bob.hears().await, "with a token");
    let kept = "[localStorage, sessionStorage].map((area) => JSON.stringify(area).includes";
    let kept = alice.js(&format!("{kept}({}))", json!(first))).await;
    assert_eq!(kept, json!([false, true]), "only the tab stores the token");

    fixture.cluster.revoke(0, &first).await;
    alice.reads("#problem", "Your access token has expired or was revoked.").await;
    alice.reads("#sign-in-title", "Sign in again").await;
    assert_eq!(alice.js("document.getElementById('name').readOnly").await, true);
    bob.say("den", "meanwhile").await;
    let second = fixture.cluster.token(1, "alice").await;
    alice.types("#token", &format!("{second}{ENTER}")).await;
    alice.is_online().await;
    alice.sees_messages(&["with a token", "meanwhile"]).await;
    assert_eq!(alice.js("document.activeElement.id").await, "draft");
    alice.says("with another").await;
    assert_eq!(bob.hears().await, "meanwhile");
    assert_eq!(bob.hears().await, "with another");

    // A user that an administrator disconnects sees the reason, and the page does not reconnect.
    assert_eq!(fixture.cluster.call(0, "POST", "/users/alice/disconnect", json!(null)).await.0, 204);
    alice.reads("#problem", "An administrator disconnected you.").await;
    assert_eq!(alice.js("document.getElementById('chat').hidden").await, true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn word_that_is_being_written_stays_out_of_the_token_field() {
    let fixture = PageFixture::start_with(Kind::Embedded, with_tokens).await;
    let alice = Person::visits(&fixture.browser, &fixture.link("room=den")).await;
    alice.clicks("#token-show").await;
    let token = fixture.cluster.token(0, "alice").await;
    alice.types("#token", &format!("{token}{ENTER}")).await;
    alice.is_online().await;
    // The clock stands, so that she writes without a pause however slow the machine is.
    alice.js("(window.now = Date.now, window.stands = now(), Date.now = () => stands, 0)").await;
    alice.types("#draft", "half a w").await;
    fixture.cluster.revoke(0, &token).await;
    alice.reads("#me small", "Connecting…").await;
    for key in ["o", "r", "d"] {
        alice.presses(&[key]).await;
    }
    assert_eq!(alice.js("document.getElementById('sign-in').hidden").await, true);
    assert_eq!(alice.js("document.getElementById('draft').value").await, "half a word");
    alice.js("(Date.now = now, 0)").await;
    alice.reads("#problem", "Your access token has expired or was revoked.").await;
    alice.sees("the field for the token has the focus", "document.activeElement.id === 'token'").await;
    assert_eq!(alice.js("document.getElementById('token').value").await, "");
    let second = fixture.cluster.token(1, "alice").await;
    alice.types("#token", &format!("{second}{ENTER}")).await;
    alice.is_online().await;
    assert_eq!(alice.js("document.getElementById('draft').value").await, "half a word");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_alone_determines_the_user() {
    let fixture = PageFixture::start_with(Kind::Embedded, with_tokens).await;
    let mut bob = Client::connect(fixture.cluster.address(1), "bob").await;
    bob.token = Some(fixture.cluster.token(0, "bob").await);
    bob.ok("Enter", json!({ "room": "den" })).await;
    bob.whisper("alice", "waits for her").await;

    let alice = Person::visits(&fixture.browser, &fixture.link("room=den")).await;
    alice.clicks("#token-show").await;
    alice.clicks("#enter").await;
    alice.reads("#problem", "Enter a name or an access token.").await;
    alice.types("#token", &format!("0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10{ENTER}")).await;
    alice.reads("#problem", "The server does not accept this access token.").await;
    let token = fixture.cluster.token(0, "alice").await;
    alice.types("#token", &format!("{token}{ENTER}")).await;
    alice.is_online().await;
    alice.reads("#me", "alice").await;
    alice.says("it is me").await;
    let said = bob.next("GroupChat").await;
    assert_eq!((&said["sender_username"], &said["content"]), (&json!("alice"), &json!("it is me")));
    // Checking the owner of the token did not consume the waiting message.
    alice.unread("peer=bob", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_without_tokens_requires_a_name() {
    let fixture = PageFixture::start().await;
    let alice = Person::visits(&fixture.browser, &fixture.link("")).await;
    alice.clicks("#token-show").await;
    alice.types("#token", &format!("0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10{ENTER}")).await;
    alice.reads("#problem", "Enter a name or an access token.").await;
    alice.types("#name", &format!("alice{ENTER}")).await;
    alice.is_online().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hidden_token_field_has_no_effect() {
    let fixture = PageFixture::start().await;
    let alice = Person::visits(&fixture.browser, &fixture.link("")).await;
    alice.sees("the page asks for a name", "!document.getElementById('sign-in').hidden").await;
    // A browser saves and fills the fields of this type only.
    assert_eq!(alice.js("document.querySelectorAll('[type=password]').length").await, 0);
    alice.js("document.getElementById('token').value = 'the password of somebody'").await;
    alice.types("#name", &format!("alice{ENTER}")).await;
    alice.is_online().await;
    assert_eq!(alice.js("JSON.stringify(sessionStorage).includes('somebody')").await, false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_tab_of_a_user_needs_no_token() {
    let fixture = PageFixture::start_with(Kind::Embedded, with_tokens).await;
    let first = Person::visits(&fixture.browser, &fixture.link("room=den")).await;
    first.clicks("#token-show").await;
    let token = fixture.cluster.token(0, "alice").await;
    first.types("#token", &format!("{token}{ENTER}")).await;
    first.is_online().await;

    let second = Person::visits(&fixture.browser, &fixture.link("room=tea")).await;
    assert_eq!(second.js("document.getElementById('name').value").await, "alice", "the suggested name");
    second.types("#name", ENTER).await;
    second.is_online().await;
    second.reads("#title", "#tea").await;
    // The first tab gives nothing to another name, and nothing after it has signed out.
    let third = Person::visits(&fixture.browser, &fixture.link("room=tea")).await;
    third.js("document.getElementById('name').value = 'bob'").await;
    third.types("#name", ENTER).await;
    third.reads("#problem", "This server requires an access token.").await;
    first.clicks("#sign-out").await;
    second.clicks("#sign-out").await;
    let fourth = Person::visits(&fixture.browser, &fixture.link("room=tea")).await;
    fourth.js("document.getElementById('name').value = 'alice'").await;
    fourth.types("#name", ENTER).await;
    fourth.reads("#problem", "This server requires an access token.").await;
}
