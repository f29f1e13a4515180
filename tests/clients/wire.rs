//! What a library does with single frames, and while its program is busy, against the table in `docs/clients.md`.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::driver::{Driver, End};
use super::library::with_each;
use super::peer::Peer;
use super::table::Row;
use crate::support::client::Client;
use crate::support::cluster::metric;
use crate::support::process::NodeProcess;

/// More messages than any library keeps for its program.
const UNREAD: usize = 600;

/// Connections that were closed with 4004.
const IDLE: &str = "chat_connections_closed_total{reason=\"idle\"}";

/// A node that closes a connection on which nothing comes for 3 s.
pub async fn impatient_node() -> NodeProcess {
    NodeProcess::start(&[
        ("CHAT_SERVER__PING_INTERVAL", "1s"),
        ("CHAT_SERVER__PONG_TIMEOUT", "2s"),
        ("CHAT_LIMITS__REQUEST_TIMEOUT", "1s"),
    ])
    .await
}

/// Whether the node closes its only connection within three times the time after which it closes a silent one.
pub async fn closes_it(node: &NodeProcess) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(9) {
        if metric(node.address, "chat_connections").await == 0.0 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_program_is_closed_where_the_page_says_so() {
    with_each(|library| async move {
        if library.has_own_loop() {
            return Row::of(library).says("busy", "");
        }
        let node = impatient_node().await;
        let mut alice = Driver::start(library);
        alice.enter(node.address).await;
        alice.pause().await;
        let mut bob = Client::enter(node.address, "bob", "ops").await;
        for number in 1..=UNREAD {
            bob.say("ops", &format!("said {number}")).await;
        }
        bob.leave().await;
        let told = if closes_it(&node).await {
            assert_eq!(metric(node.address, IDLE).await, 1.0, "{}", library.name);
            alice.resume().await;
            alice.ended().await;
            alice.open(node.address).await;
            "4004"
        } else {
            alice.resume().await;
            let last = format!("said {UNREAD}");
            alice.next(|frame| frame["message_body"]["content"] == last.as_str()).await;
            alice.ok("Ping", json!({})).await;
            "stays"
        };
        Row::of(library).says("busy", told);
    })
    .await;
}

/// A JSON text of so many bytes.
fn text(bytes: usize) -> String {
    format!("{{\"text\":\"{}\"}}", "x".repeat(bytes - 11))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_takes_messages_as_large_as_the_page_says() {
    with_each(|library| async move {
        let peer = Peer::start().await;
        let mut alice = Driver::start(library);
        let mut socket = peer.admit(&mut alice).await;
        let mut largest = "none";
        for (bytes, name) in
            [(32_768, "32,768"), (65_536, "65,536"), (131_072, "131,072"), (262_144, "262,144")]
        {
            if !socket.send(Message::text(text(bytes))).await || !alice.takes_a_text().await {
                break;
            }
            largest = name;
        }
        Row::of(library).says("largest", largest);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_takes_what_comes_with_the_upgrade() {
    with_each(|library| async move {
        let peer = Peer::start().await;
        let mut alice = Driver::start(library);
        let early = async { peer.request().await.upgrade(b"\x81\x0b{\"early\":1}").await };
        let (_socket, _) = tokio::join!(early, alice.open(peer.address()));
        alice.next(|frame| frame["early"] == 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_returns_what_was_in_the_ping() {
    with_each(|library| async move {
        let peer = Peer::start().await;
        let mut alice = Driver::start(library);
        let mut socket = peer.admit(&mut alice).await;
        if Row::of(library).tells_to_mind("answers no pings") {
            return;
        }
        assert!(socket.send(Message::Ping("chatnode".into())).await);
        let pong = loop {
            match socket.next().await {
                Some(Message::Pong(payload)) => break payload,
                Some(_) => {}
                None => panic!("{}: no pong", library.name),
            }
        };
        assert_eq!(pong, "chatnode", "{}", library.name);
    })
    .await;
}

/// A proxy that does not keep `Host` turns these clients into strangers: 403.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_sends_an_origin_where_the_page_says_so() {
    with_each(|library| async move {
        let peer = Peer::start().await;
        let mut alice = Driver::start(library);
        let upgrading = async {
            let request = peer.request().await;
            let sends = request.header("origin").is_some();
            (sends, request.upgrade(&[]).await)
        };
        let ((sends, _socket), _) = tokio::join!(upgrading, alice.open(peer.address()));
        assert_eq!(sends, Row::of(library).tells_to_mind("sends an `Origin`"), "{}", library.name);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_answers_a_close_frame() {
    with_each(|library| async move {
        let peer = Peer::start().await;
        let mut alice = Driver::start(library);
        let socket = peer.admit(&mut alice).await;
        let (has_answered, end) = tokio::join!(socket.close(4012, "retry_after_ms=2000"), alice.ended());
        assert!(has_answered, "{}", library.name);
        assert!(
            matches!(end, End::Failed(_) | End::Closed(None | Some(4012), _)),
            "{}: {end:?}",
            library.name
        );
    })
    .await;
}
