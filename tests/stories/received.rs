//! What proves that a private message arrived: the client's own word, the pong of a program, a request of a page after the
//! pong.

use chatnode::backend::Backend;
use serde_json::{Value, json};

use crate::support::backend::user_name;
use crate::support::client::{Client, position};
use crate::support::cluster::{Cluster, until};

/// The `seq` up to which a user's messages count as delivered.
pub(crate) async fn cursor(backend: &Backend, user: &str) -> Option<u64> {
    backend.markers.cursor(&user_name(user)).await.unwrap().map(|position| position.seq)
}

pub(crate) async fn cursor_moves_to(backend: &Backend, user: &str, seq: u64) {
    until("the cursor moves", async || cursor(backend, user).await == Some(seq)).await;
}

/// Waits until the node has written every cursor that has moved so far: it writes them together.
pub(crate) async fn cursors_are_written(cluster: &Cluster, backend: &Backend, sender: &mut Client) {
    let name = format!("mark-{}", uuid::Uuid::new_v4());
    let mut mark = cluster.connect(0, &name).await;
    mark.ok("Auth", json!({})).await;
    sender.whisper(&name, "mark").await;
    mark.next("PrivateChat").await;
    mark.answers_a_ping().await;
    cursor_moves_to(backend, &name, 1).await;
}

/// Sends these messages to a user that is connected, and returns them as the user received them.
async fn whispers(sender: &mut Client, target: &mut Client, contents: &[&str]) -> Vec<Value> {
    let mut messages = Vec::new();
    for content in contents {
        sender.whisper(target.name(), content).await;
        messages.push(target.next("PrivateChat").await);
        assert_eq!(messages.last().unwrap()["content"], *content);
    }
    messages
}

pub(crate) async fn gets_without_a_position(cluster: &Cluster, name: &str, contents: &[&str]) {
    let mut client = cluster.connect(0, name).await;
    client.ok("Auth", json!({})).await;
    for content in contents {
        assert_eq!(client.hears_privately().await, *content);
    }
    client.heard_no("PrivateChat").await;
}

on_each_store! {
    /// Its browser keeps the page and answers pings, and no script runs.
    async fn page_that_only_answers_pings_has_received_nothing(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut bob = Client::connect_browser(cluster.address(0), "bob").await;
        bob.ok("Auth", json!({})).await;
        whispers(&mut alice, &mut bob, &["one", "two"]).await;
        bob.answers_a_ping().await;
        cursors_are_written(&cluster, &backend, &mut alice).await;
        assert_eq!(cursor(&backend, "bob").await, None);
        bob.leave().await;
        gets_without_a_position(&cluster, "bob", &["one", "two"]).await;
    }

    async fn request_of_a_page_after_the_pong_proves_arrival(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut bob = Client::connect_browser(cluster.address(0), "bob").await;
        bob.ok("Auth", json!({})).await;
        whispers(&mut alice, &mut bob, &["one", "two"]).await;
        bob.answers_a_ping().await;
        whispers(&mut alice, &mut bob, &["three"]).await;
        // As one of the four requests, from a page that knows no others.
        bob.ok("Enter", json!({ "room": "ops" })).await;
        cursor_moves_to(&backend, "bob", 2).await;
        bob.leave().await;
        gets_without_a_position(&cluster, "bob", &["three"]).await;
    }

    /// A program with the `User-Agent` of a browser, and one with an `Origin`.
    async fn pong_of_a_program_proves_arrival(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        let origin = format!("http://{}", cluster.address(0));
        for (name, header) in [("bob", ("user-agent", "Mozilla/5.0".into())), ("carol", ("origin", origin))] {
            let mut client = Client::connect_with(cluster.address(0), name, &[header]).await.unwrap();
            client.ok("Auth", json!({})).await;
            whispers(&mut alice, &mut client, &["one"]).await;
            client.answers_a_ping().await;
            cursor_moves_to(&backend, name, 1).await;
        }
    }

    async fn position_received_is_the_only_proof_once_it_was_sent(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        for (name, is_page) in [("bob", false), ("carol", true)] {
            let mut client = if is_page {
                Client::connect_browser(cluster.address(0), name).await
            } else {
                cluster.connect(0, name).await
            };
            // It has taken no message yet.
            client.received = Some(json!({ "epoch": "", "seq": 0 }));
            client.ok("Auth", json!({})).await;
            let messages = whispers(&mut alice, &mut client, &["one", "two", "three"]).await;
            client.answers_a_ping().await;
            client.ok("Ping", json!({})).await;
            cursors_are_written(&cluster, &backend, &mut alice).await;
            assert_eq!(cursor(&backend, name).await, None, "{name}");
            client.received = Some(position(&messages[1]));
            client.ok("Ping", json!({})).await;
            cursor_moves_to(&backend, name, 2).await;
            client.leave().await;
            gets_without_a_position(&cluster, name, &["three"]).await;
        }
    }

    async fn messages_from_the_log_are_received_as_live_ones_are(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        for content in ["one", "two", "three"] {
            alice.whisper("bob", content).await;
        }
        let mut bob = cluster.connect(0, "bob").await;
        bob.received = Some(json!({ "epoch": "", "seq": 0 }));
        bob.ok("Auth", json!({})).await;
        let mut last = Value::Null;
        for content in ["one", "two", "three"] {
            last = bob.next("PrivateChat").await;
            assert_eq!(last["content"], content);
        }
        bob.received = Some(position(&last));
        bob.ok("Enter", json!({ "room": "ops" })).await;
        cursor_moves_to(&backend, "bob", 3).await;
    }

    async fn forged_position_moves_nothing(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut bob = cluster.connect(0, "bob").await;
        let mut other = cluster.connect(0, "carol").await;
        other.ok("Auth", json!({})).await;
        let foreign = whispers(&mut alice, &mut other, &["for carol"]).await.remove(0);
        bob.received = Some(json!({ "epoch": "", "seq": 0 }));
        bob.ok("Auth", json!({})).await;
        let messages = whispers(&mut alice, &mut bob, &["one", "two"]).await;
        let (first, last) = (position(&messages[0]), position(&messages[1]));
        let changed = |field: &str, value: Value| {
            let mut changed = last.clone();
            changed[field] = value;
            changed
        };
        let forged = [
            position(&foreign),
            changed("seq", json!(3)),
            changed("seq", json!(1)),
            changed("seq", json!(0)),
            changed("seq", json!(9_007_199_254_740_991_u64)),
            changed("epoch", json!("0123456789abcdef")),
            changed("epoch", json!("no epoch")),
            changed("message_id", first["message_id"].clone()),
            changed("message_id", json!(uuid::Uuid::now_v7().to_string())),
            changed("message_id", json!("no id")),
            changed("message_id", json!("")),
        ];
        for position in forged {
            bob.received = Some(position);
            bob.ok("Ping", json!({})).await;
        }
        cursors_are_written(&cluster, &backend, &mut alice).await;
        assert_eq!(cursor(&backend, "bob").await, None);
        // A request that is refused changes nothing.
        bob.received = Some(last.clone());
        bob.refused("Ping", json!({ "sender_username": "mallory" }), "identity_mismatch").await;
        cursors_are_written(&cluster, &backend, &mut alice).await;
        assert_eq!(cursor(&backend, "bob").await, None);
        // What fails later has arrived all the same.
        bob.refused("GroupChat", json!({ "content": "hello" }), "not_in_room").await;
        cursor_moves_to(&backend, "bob", 2).await;
        // An older one does not take it back.
        bob.received = Some(first);
        bob.ok("Ping", json!({})).await;
        cursors_are_written(&cluster, &backend, &mut alice).await;
        assert_eq!(cursor(&backend, "bob").await, Some(2));
    }

    async fn malformed_position_is_an_invalid_message(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut bob = cluster.connect(0, "bob").await;
        for (received, field) in [
            (json!("9f2c"), "`received`"),
            (json!([]), "`received`"),
            (json!({}), "`received.epoch`"),
            (json!({ "epoch": "x", "seq": 1 }), "`received.message_id`"),
            (json!({ "epoch": "x", "seq": -1, "message_id": "" }), "`received.seq`"),
            (json!({ "epoch": 5, "seq": 1, "message_id": "" }), "`received.epoch`"),
        ] {
            bob.received = Some(received.clone());
            let error = bob.refused("Ping", json!({}), "invalid_message").await;
            assert!(error["message"].as_str().unwrap().contains(field), "{received}: {error}");
        }
        bob.received = Some(Value::Null);
        bob.ok("Ping", json!({})).await;
    }
}
