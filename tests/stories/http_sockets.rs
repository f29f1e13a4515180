//! HTTP sockets that clients keep open without need: they never shut the port to other clients, to probes and to upgrades.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, get, until};
use crate::support::raw::{Head, RawSocket};

/// The HTTP sockets of a node: on the port for clients, and on the port for operators.
const PLACES: usize = 1_024;
const OPERATOR_PLACES: usize = 256;

/// The files of a test in which both ends of each socket are in one process.
fn raise_file_limit() {
    let limit = rlimit::increase_nofile_limit(8_192).unwrap();
    assert!(limit >= 8_192, "this test needs 8,192 files");
}

/// Sockets of so many addresses, taken in turn, that have sent these bytes.
async fn open(node: SocketAddr, count: usize, addresses: usize, bytes: &[u8]) -> Vec<RawSocket> {
    let mut sockets = Vec::new();
    for number in 0..count {
        let last = 90 + (number % addresses) as u8;
        let mut socket = RawSocket::connect_from([127, 0, 0, last], node).await;
        if !bytes.is_empty() {
            socket.send(bytes).await;
        }
        sockets.push(socket);
    }
    sockets
}

/// A probe and an upgrade, each within this time.
async fn serves_others(node: SocketAddr, within: Duration) {
    let begun = Instant::now();
    assert_eq!(get(node, "/healthz").await.0, 200);
    assert!(begun.elapsed() < within, "/healthz took {:?}", begun.elapsed());
    let begun = Instant::now();
    let mut alice = Client::connect(node, "alice").await;
    alice.ok("Enter", json!({ "room": "ops" })).await;
    assert!(begun.elapsed() < within, "an upgrade took {:?}", begun.elapsed());
}

async fn ask(socket: &mut RawSocket) -> Option<Head> {
    socket.send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let head = socket.head_or_end().await?;
    let length: usize = head.header("content-length").parse().unwrap();
    socket.read_bytes(length).await;
    Some(head)
}

/// Keep-alive connections of several addresses that ask from time to time, and come back when they are closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keep_alive_sockets_leave_the_port_open() {
    raise_file_limit();
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let node = cluster.address(0);
    let mut asking = JoinSet::new();
    let stop = CancellationToken::new();
    let answers = Arc::new(AtomicUsize::new(0));
    for number in 0..PLACES {
        let last = 90 + (number % 8) as u8;
        let answers = answers.clone();
        asking.spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let mut socket = RawSocket::connect_from([127, 0, 0, last], node).await;
                while let Some(head) = ask(&mut socket).await {
                    answers.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    if head.text.contains("connection: close") {
                        break;
                    }
                }
            }
        }));
    }
    until("each has its first answer", async || answers.load(Ordering::Relaxed) >= PLACES).await;
    for _ in 0..5 {
        serves_others(node, Duration::from_secs(1)).await;
    }
    stop.cancel();
    asking.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_ask_to_close_once_half_of_the_places_are_taken() {
    raise_file_limit();
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let node = cluster.address(0);
    let mut asking = RawSocket::connect(node).await;
    for _ in 0..3 {
        assert!(!ask(&mut asking).await.unwrap().text.contains("connection: close"));
    }
    let silent = open(node, PLACES / 2, 8, b"").await;
    // The node has accepted all of them once the last one has its answer.
    assert_eq!(get(node, "/healthz").await.0, 200);
    assert!(ask(&mut asking).await.unwrap().text.contains("connection: close"));
    assert_eq!(asking.rest().await, b"", "the node closes after its answer");
    drop(silent);
    until("answers keep the connection again", async || {
        let mut socket = RawSocket::connect(node).await;
        !ask(&mut socket).await.unwrap().text.contains("connection: close")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_sockets_leave_the_port_open() {
    raise_file_limit();
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let node = cluster.address(0);
    // One address gives way at once.
    let silent = open(node, 2 * PLACES, 1, b"").await;
    serves_others(node, Duration::from_secs(1)).await;
    drop(silent);
    // Several addresses with slow heads have a grace of one second.
    let slow = open(node, PLACES, 8, b"GET / HTTP/1.1\r\nHost: ").await;
    serves_others(node, Duration::from_secs(3)).await;
    drop(slow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_sockets_leave_the_port_for_operators_open() {
    raise_file_limit();
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| c.internal.port = Some(0)).await;
    let operators = cluster.nodes[0].operators;
    let _silent = open(operators, 2 * OPERATOR_PLACES, 1, b"").await;
    let begun = Instant::now();
    assert_eq!(get(operators, "/healthz").await.0, 200);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
