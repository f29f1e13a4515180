//! What people read when a request fails: the page's own words, since those of the server are for programmers.

use serde_json::Value;

use super::page_fixture::PageFixture;
use super::person::{ENTER, Person};
use crate::support::api::with_tokens;
use crate::support::cluster::Kind;

const SCHEMA: &str = include_str!("../../docs/protocol.schema.json");
const NAMES: &str = "A name can have up to 64 characters, and all of them must be visible.";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_has_words_for_people() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "room=ops").await;
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let codes = &schema["$defs"]["ErrorCode"]["enum"];
    let words =
        format!("import('/assets/words.js').then(({{ wordsFor }}) => {codes}.map((code) => wordsFor(code)))");
    let words: Vec<String> = serde_json::from_value(alice.js(&words).await).unwrap();
    // Only a page that does not fit the server gets these.
    let for_programmers = ["invalid_json", "unknown_type", "unsupported_frame"];
    for (code, words) in codes.as_array().unwrap().iter().map(|code| code.as_str().unwrap()).zip(&words) {
        let is_general = words.contains("Reload the page");
        assert_eq!(is_general, for_programmers.contains(&code), "{code}: {words}");
        assert!(!words.contains(['_', '`']), "{code}: {words}");
    }
    assert_eq!(words.len(), 18);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_names_are_explained() {
    let fixture = PageFixture::start().await;
    let long = "x".repeat(65);
    let alice = Person::visits(&fixture.browser, &fixture.link("room=ops")).await;
    alice.sees("the page asks for a name", "!document.getElementById('sign-in').hidden").await;
    alice.types("#name", &format!("{long}{ENTER}")).await;
    alice.reads("#problem", NAMES).await;
    alice.js("document.getElementById('name').value = ''").await;
    alice.types("#name", &format!("alice{ENTER}")).await;
    alice.is_online().await;
    alice.opens(&format!("room={long}")).await;
    alice.reads("#older", &format!("You can’t join this room: {NAMES}")).await;
    alice.opens(&format!("peer={long}")).await;
    alice.says("hello").await;
    alice.reads(".failure", &format!("Not sent. {NAMES}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_inbox_of_a_stranger_is_explained() {
    let fixture = PageFixture::start().await;
    let alice = fixture.person(0, "alice", "peer=nobody").await;
    let mut bob = fixture.other(1, "bob", "ops").await;
    for _ in 0..64 {
        bob.whisper("nobody", "are you there?").await;
    }
    alice.says("hello").await;
    alice.reads(".failure", "Not sent. This person was never here and has many messages waiting.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connection_at_the_sign_in_is_explained() {
    let fixture = PageFixture::start_with(Kind::Embedded, with_tokens).await;
    let alice = Person::visits(&fixture.browser, &fixture.link("room=den")).await;
    alice.clicks("#token-show").await;
    fixture.balancer.mute();
    let token = fixture.cluster.token(0, "alice").await;
    alice.types("#token", &format!("{token}{ENTER}")).await;
    alice.reads("#problem", "Connecting…").await;
    fixture.balancer.cut();
    alice.reads("#problem", "No connection to the server.").await;
}
