//! Signing on, a long history, and the contents that are hardest to carry.

use serde_json::{Value, json};

use super::driver::Driver;
use super::library::with_each;
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_signs_on_and_talks() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let address = cluster.address(0);
    with_each(|library| async move {
        let mut alice = Driver::start(library);
        alice.enter(address).await;
        let ack = alice.ok("GroupChat", json!({ "content": library.name })).await;
        // All libraries are in the same room.
        let own = alice.next(|frame| frame["message_body"]["message_id"] == ack["message_id"]).await;
        assert_eq!(own["message_body"]["content"], library.name);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_reads_240_kib_of_history() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let address = cluster.address(0);
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let contents: Vec<String> = (10..25).map(|number| number.to_string().repeat(8_192)).collect();
    for content in &contents {
        bob.say("ops", content).await;
    }
    with_each(|library| {
        let contents = contents.clone();
        async move {
            let mut alice = Driver::start(library);
            alice.enter(address).await;
            let mut read: Vec<String> = Vec::new();
            let mut request = json!({ "room": "ops", "limit": 200 });
            loop {
                let page = alice.ok("History", request.clone()).await;
                let messages = page["messages"].as_array().unwrap();
                assert!(!messages.is_empty(), "{}: an empty page", library.name);
                let text = |message: &Value| message["content"].as_str().unwrap().to_owned();
                read.splice(0..0, messages.iter().map(text));
                if page["more"] == false {
                    break;
                }
                request["before"] = messages[0]["seq"].clone();
                request["epoch"] = page["epoch"].clone();
            }
            assert!(read == contents, "{}: {} messages of {}", library.name, read.len(), contents.len());
        }
    })
    .await;
}

/// Contents that grow most in JSON or have the widest characters, and whether a frame takes them as JSON spells them.
fn worst() -> [(String, bool); 6] {
    [
        ("\"".repeat(15_000), true),
        ("\"".repeat(16_384), false),
        ("\u{1}".repeat(5_000), true),
        ("\u{1}".repeat(16_384), false),
        ("👩‍🚀🏴‍☠️".repeat(682), true),
        // No escape, though it looks like half of one.
        ("\\ud83d".repeat(2_730), true),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_takes_the_worst_contents() {
    with_each(|library| async move {
        let cluster = Cluster::start(Kind::Embedded, 1).await;
        let mut bob = Client::enter(cluster.address(0), "bob", "ops").await;
        let mut alice = Driver::start(library);
        alice.enter(cluster.address(0)).await;
        for (content, fits) in worst() {
            let answer = alice.ask("GroupChat", json!({ "content": content })).await;
            if !fits {
                assert_eq!(answer["message_body"]["code"], "message_too_large", "{}: {answer}", library.name);
                continue;
            }
            assert_eq!(bob.hears().await, content);
            let own = alice.next(|frame| frame["message_type"] == "GroupChat").await;
            assert!(own["message_body"]["content"] == content.as_str(), "{}: {content:.20}…", library.name);
        }
        // Half of a character, which is no text in JSON.
        let lone = r#"{"message_type":"GroupChat","id":"lone","message_body":{"sender_username":"alice","content":"\ud83d"}}"#;
        alice.send_text(lone).await;
        let error = alice.next(|frame| frame["message_type"] == "Error").await;
        assert!(error["message_body"]["code"].as_str().unwrap().starts_with("invalid_"), "{error}");
        alice.ok("Ping", json!({})).await;
    })
    .await;
}
