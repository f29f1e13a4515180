//! What happens without the advice in `docs/clients.md`: programs that ignore it, one story for each piece of advice.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::driver::{Driver, End};
use super::library::Library;
use super::peer::Peer;
use super::wire::{closes_it, impatient_node};
use crate::support::cluster::{Cluster, Kind};

/// The libraries with these names that are installed.
fn installed<const COUNT: usize>(names: [&str; COUNT]) -> impl Iterator<Item = Library> {
    names.into_iter().filter_map(Library::if_installed)
}

/// What a program is told of a close with this code.
async fn told_of(alice: &mut Driver, code: u16) -> End {
    let peer = Peer::start().await;
    let socket = peer.admit(alice).await;
    tokio::join!(socket.close(code, "retry_after_ms=60000"), alice.ended()).1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_client_with_reconnect_hides_the_code() {
    for library in installed(["websocket-client"]) {
        let peer = Peer::start().await;
        let mut alice = Driver::start_unadvised(library);
        peer.admit(&mut alice).await.close(4012, "retry_after_ms=60000").await;
        let (_socket, ends) = tokio::join!(peer.accept(), alice.opened());
        assert!(ends.iter().all(|end| !matches!(end, End::Closed(Some(_), _))), "{ends:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_client_sends_an_origin_by_default() {
    for library in installed(["websocket-client"]) {
        let peer = Peer::start().await;
        let mut alice = Driver::start_unadvised(library);
        alice.begin(peer.address()).await;
        let request = peer.request().await;
        assert!(request.header("origin").is_some(), "{}", request.head);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn picows_leaves_close_frames_to_the_program() {
    for library in installed(["picows"]) {
        let peer = Peer::start().await;
        let mut alice = Driver::start_unadvised(library);
        assert!(!peer.admit(&mut alice).await.close(4012, "retry_after_ms=60000").await);
        assert_eq!(alice.ended().await, End::Closed(Some(4012), "retry_after_ms=60000".into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn iterators_of_websockets_end_without_an_exception() {
    for library in installed(["websockets"]) {
        for code in [1000, 1001] {
            let mut alice = Driver::start_unadvised(library);
            assert_eq!(told_of(&mut alice, code).await, End::Closed(None, String::new()), "{code}");
        }
        // The iterator of connections comes back after 503, and ends at 429.
        let peer = Peer::start().await;
        let mut alice = Driver::start_unadvised(library);
        alice.begin(peer.address()).await;
        peer.request().await.refuse("503 Service Unavailable").await;
        peer.request().await.refuse("429 Too Many Requests").await;
        let end = alice.ended().await;
        assert!(matches!(&end, End::Failed(message) if message.contains("429")), "{end:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_connection_ends_ws_without_a_listener() {
    for library in installed(["ws"]) {
        let peer = Peer::start().await;
        let mut alice = Driver::start_unadvised(library);
        alice.begin(peer.address()).await;
        peer.request().await.refuse("503 Service Unavailable").await;
        alice.exits().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_queue_is_sent_before_the_first_request() {
    for library in installed(["partysocket", "reconnecting-websocket"]) {
        for (unadvised, first) in [(true, "queued"), (false, "Auth")] {
            let mut alice = if unadvised { Driver::start_unadvised(library) } else { Driver::start(library) };
            let peer = Peer::start().await;
            alice.begin_and_send(peer.address(), "queued").await;
            let request = peer.request().await;
            let (mut socket, _) = tokio::join!(request.upgrade(&[]), alice.opened());
            alice.send_text("Auth").await;
            assert_eq!(socket.next().await, Some(Message::text(first)), "{}", library.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_attempts_heed_no_time() {
    for library in installed(["partysocket", "reconnecting-websocket", "ezsockets"]) {
        let peer = Peer::start().await;
        let mut alice = Driver::start_unadvised(library);
        peer.admit(&mut alice).await.close(4012, "retry_after_ms=60000").await;
        let closed = Instant::now();
        let _again = peer.accept().await;
        assert!(closed.elapsed() < Duration::from_secs(20), "{}: {:?}", library.name, closed.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn websocket_of_npm_throws_between_connections() {
    for library in installed(["websocket"]) {
        let mut alice = Driver::start(library);
        assert!(matches!(told_of(&mut alice, 4012).await, End::Closed(Some(4012), _)));
        alice.send_text("{}").await;
        let end = alice.ended().await;
        assert!(matches!(end, End::Failed(_)), "{end:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gobwas_without_its_reader_loses_a_frame() {
    for library in installed(["gobwas/ws"]) {
        let peer = Peer::start().await;
        let mut alice = Driver::start_unadvised(library);
        let early = async { peer.request().await.upgrade(b"\x81\x0b{\"early\":1}").await };
        let (mut socket, _) = tokio::join!(early, alice.open(peer.address()));
        assert!(socket.send(Message::text("{\"early\":0}")).await);
        let first = alice.next(|_| true).await;
        assert_eq!(first["early"], 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handler_of_gws_sends_empty_pongs() {
    for library in installed(["lxzan/gws"]) {
        let peer = Peer::start().await;
        let mut alice = Driver::start_unadvised(library);
        let mut socket = peer.admit(&mut alice).await;
        assert!(socket.send(Message::Ping("chatnode".into())).await);
        assert_eq!(socket.next().await, Some(Message::Pong("".into())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn origin_with_a_path_is_refused() {
    for library in installed(["golang.org/x/net"]) {
        let cluster = Cluster::start(Kind::Embedded, 1).await;
        let mut alice = Driver::start_unadvised(library);
        let end = alice.try_open(cluster.address(0)).await.expect_err("an origin has no path");
        assert!(matches!(end, End::Failed(_)), "{end:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn netty_tells_no_code_by_default() {
    for library in installed(["Netty"]) {
        let mut alice = Driver::start_unadvised(library);
        let end = told_of(&mut alice, 4012).await;
        assert!(!matches!(end, End::Closed(Some(4012), _)), "{end:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn okhttp_without_a_close_tells_no_end() {
    for library in installed(["OkHttp"]) {
        let peer = Peer::start().await;
        let mut alice = Driver::start_unadvised(library);
        let has_answered = peer.admit(&mut alice).await.close(4012, "retry_after_ms=60000").await;
        assert!(!has_answered);
        assert!(alice.tells_nothing_for(Duration::from_secs(5)).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tomcat_takes_8192_characters_by_default() {
    for library in installed(["Tomcat"]) {
        let peer = Peer::start().await;
        let mut alice = Driver::start_unadvised(library);
        let mut socket = peer.admit(&mut alice).await;
        for (characters, is_taken) in [(8_192, true), (8_193, false)] {
            let text = format!("{{\"text\":\"{}\"}}", "x".repeat(characters - 11));
            assert!(socket.send(Message::text(text)).await);
            assert_eq!(alice.takes_a_text().await, is_taken, "{characters}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jetty_ends_after_30_s_of_silence_by_default() {
    for library in installed(["Jetty"]) {
        let peer = Peer::start().await;
        let mut alice = Driver::start_unadvised(library);
        let _socket = peer.admit(&mut alice).await;
        let begun = Instant::now();
        alice.ended().await;
        let lasted = begun.elapsed().as_secs();
        assert!((29..40).contains(&lasted), "{lasted} s");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn java_net_http_cuts_messages_into_parts() {
    for library in installed(["java.net.http"]) {
        let peer = Peer::start().await;
        let mut alice = Driver::start_unadvised(library);
        let mut socket = peer.admit(&mut alice).await;
        assert!(socket.send(Message::text(format!("\"{}\"", "x".repeat(32_000)))).await);
        // The driver tells each part that is not the last one.
        let end = alice.ended().await;
        assert!(matches!(&end, End::Failed(message) if message.contains("a part of")), "{end:?}");
    }
}

/// Without the pongs that they hand over, or without a `Ping` of the program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_that_sends_no_pongs_is_closed() {
    for library in installed(["fastwebsockets", "curl-cffi"]) {
        let node = impatient_node().await;
        let mut alice = Driver::start_unadvised(library);
        alice.enter(node.address).await;
        assert!(closes_it(&node).await, "{}", library.name);
        let end = alice.ended().await;
        assert!(matches!(end, End::Closed(Some(4004), _)), "{}: {end:?}", library.name);
        let mut alice = Driver::start(library);
        alice.enter(node.address).await;
        assert!(!closes_it(&node).await, "{}", library.name);
        alice.ok("GroupChat", json!({ "content": "still here" })).await;
    }
}
