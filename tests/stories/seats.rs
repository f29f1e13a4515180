//! Seats and the waiting room: connections that are bound to a user never lose their places to others, and a node that is full
//! says so before it lets a client in.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chatnode::config::Config;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::api::with_tokens;
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, get, metric, until};
use crate::support::process::NodeProcess;
use crate::support::raw::{self, Head, RawSocket};

/// The size of the waiting room of a node with few seats, and the share of one address.
const ROOM: usize = 64;
const SHARE: usize = 16;

/// The milliseconds that 4013 tells a client to wait.
#[track_caller]
fn told_to_wait((code, reason): (u16, String)) -> u64 {
    assert_eq!(code, 4013, "{reason}");
    let (wait, why) = reason.split_once("; ").unwrap_or_else(|| panic!("{reason}"));
    assert_eq!(why, "node full");
    wait.strip_prefix("retry_after_ms=").unwrap().parse().unwrap()
}

/// The answer to an upgrade, and its socket.
async fn upgrade(mut socket: RawSocket, headers: &str) -> (Head, RawSocket) {
    socket.send(RawSocket::upgrade_request(headers).as_bytes()).await;
    (socket.head().await, socket)
}

/// A connection of the client with this number, each of another address, that names no user.
async fn wait_as(address: SocketAddr, number: usize) -> (Head, RawSocket) {
    let forwarded = format!("X-Forwarded-For: 198.51.{}.{}\r\n", number / 250, number % 250 + 1);
    upgrade(RawSocket::connect(address).await, &forwarded).await
}

/// What a page is told that asks, without an upgrade, what an upgrade would get.
async fn asks_in_advance(from: [u8; 4], node: SocketAddr, method: &str) -> Head {
    let mut socket = RawSocket::connect_from(from, node).await;
    socket.send(format!("{method} /ws HTTP/1.1\r\nHost: chat.example.com\r\n\r\n").as_bytes()).await;
    socket.head().await
}

fn trust_loopback(config: &mut Config) {
    config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
}

async fn sends(socket: &mut RawSocket, request: Value) -> Value {
    socket.frame(raw::TEXT, request.to_string().as_bytes()).await;
    let (opcode, answer) = socket.read_frame().await.unwrap();
    assert_eq!(opcode, raw::TEXT);
    serde_json::from_slice(&answer).unwrap()
}

on_each_store! {
    async fn node_without_a_free_seat_answers_503(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| {
            with_tokens(c);
            c.max_connections = 1;
        })
        .await;
        let token = cluster.token(0, "alice").await;
        let header = format!("Authorization: Bearer {token}\r\n");
        // A token at the upgrade takes the seat at once, without any request.
        let (head, mut alice) = upgrade(RawSocket::connect(cluster.address(0)).await, &header).await;
        assert_eq!(head.status, 101);
        let mut pauses = Vec::new();
        for number in 0..20 {
            let headers = if number % 2 == 0 { header.as_str() } else { "" };
            let (head, _socket) = upgrade(RawSocket::connect(cluster.address(0)).await, headers).await;
            assert_eq!(head.status, 503);
            pauses.push(head.header("retry-after").parse::<u64>().unwrap());
        }
        assert!(pauses.iter().all(|pause| (2..=8).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "all would come back at once: {pauses:?}");
        assert_eq!(get(cluster.address(0), "/readyz").await.0, 200);
        assert_eq!(sends(&mut alice, json!({ "message_type": "Ping", "id": "1" })).await["message_type"], "Ack");
        // A page can ask in advance.
        for method in ["GET", "HEAD"] {
            let head = asks_in_advance([127, 0, 0, 1], cluster.address(0), method).await;
            assert_eq!((head.status, head.header("x-chat-refused")), (503, "full"), "{method}");
            assert!((2..=8).contains(&head.header("retry-after").parse::<u64>().unwrap()));
        }
        // A free seat is used again.
        drop(alice);
        until("a new client gets the seat", async || {
            upgrade(RawSocket::connect(cluster.address(0)).await, &header).await.0.status == 101
        })
        .await;
    }

    async fn client_that_finds_no_seat_is_closed_with_4013(kind) {
        for auth in [false, true] {
            let cluster = Cluster::start_with(kind, 1, |c| {
                with_tokens(c);
                c.auth.enabled = auth;
                c.max_connections = 1;
            })
            .await;
            let mut clients = Vec::new();
            for name in ["alice", "bob"] {
                let mut client = cluster.connect(0, name).await;
                if auth {
                    client.token = Some(cluster.token(0, name).await);
                }
                clients.push(client);
            }
            let [alice, bob] = &mut clients[..] else { unreachable!() };
            alice.ok("Enter", json!({ "room": "ops" })).await;
            let error = bob.refused("Enter", json!({ "room": "ops" }), "unavailable").await;
            assert_eq!(error["outcome"], "refused", "{error}");
            assert!(error["retry_after_ms"].as_u64().unwrap() >= 2_000, "{error}");
            assert!((2_000..=8_000).contains(&told_to_wait(bob.closed().await)));
            alice.say("ops", "still here").await;
        }
    }
}

// The following tests don't depend on the store.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn question_before_an_upgrade_is_not_counted() {
    let node =
        NodeProcess::start(&[("CHAT_MAX_CONNECTIONS", "1"), ("CHAT_SERVER__ALLOWED_HOSTS", "*")]).await;
    let full = async || metric(node.address, "chat_handshakes_total{result=\"full\"}").await;
    let _alice = Client::enter(node.address, "alice", "ops").await;
    assert_eq!(upgrade(RawSocket::connect(node.address).await, "").await.0.status, 503);
    assert_eq!(asks_in_advance([127, 0, 0, 1], node.address, "HEAD").await.status, 503);
    assert_eq!(full().await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn longest_waiting_connection_leaves_a_full_room_first() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| {
        trust_loopback(c);
        c.max_connections = 10;
    })
    .await;
    let node = cluster.address(0);
    let mut waiting = Vec::new();
    let mut begun = Vec::new();
    for number in 0..=ROOM {
        begun.push(Instant::now());
        let (head, mut socket) = wait_as(node, number).await;
        assert_eq!(head.status, 101, "{number}");
        if number == 0 {
            // It names its user, so it needs no place in the room any more.
            let body = json!({ "sender_username": "alice" });
            let auth = json!({ "message_type": "Auth", "message_body": body, "id": "1" });
            assert_eq!(sends(&mut socket, auth).await["message_type"], "Ack");
        }
        waiting.push(socket);
    }
    let mut refused = 0;
    let newcomer = loop {
        let (head, socket) = wait_as(node, 100 + refused).await;
        if head.status == 101 {
            break socket;
        }
        assert_eq!(head.status, 503);
        assert!((2..=8).contains(&head.header("retry-after").parse::<u64>().unwrap()));
        refused += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(begun[1].elapsed() >= Duration::from_secs(2), "it has at least its grace");
    assert!((2_000..=8_000).contains(&told_to_wait(waiting.remove(1).closed().await.unwrap())));
    for (number, mut socket) in waiting.into_iter().chain([newcomer]).enumerate() {
        let pong = sends(&mut socket, json!({ "message_type": "Ping", "id": "2" })).await;
        assert_eq!(pong["message_type"], "Ack", "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_with_its_share_of_the_room_gets_429() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| c.max_connections = 10).await;
    let node = cluster.address(0);
    let mut waiting = Vec::new();
    for _ in 0..SHARE {
        let (head, socket) = upgrade(RawSocket::connect_from([127, 0, 0, 90], node).await, "").await;
        assert_eq!(head.status, 101);
        waiting.push(socket);
    }
    let head = asks_in_advance([127, 0, 0, 90], node, "HEAD").await;
    assert_eq!((head.status, head.header("x-chat-refused")), (429, "too_many"));
    let mut statuses = Vec::new();
    for _ in 0..10 {
        let (head, socket) = upgrade(RawSocket::connect_from([127, 0, 0, 90], node).await, "").await;
        statuses.push(head.status);
        if head.status == 429 {
            assert!(head.header("retry-after").parse::<u64>().unwrap() > 0);
        } else {
            waiting.push(socket);
        }
    }
    assert_eq!(statuses[0], 429, "{statuses:?}");
    assert_eq!(upgrade(RawSocket::connect_from([127, 0, 0, 91], node).await, "").await.0.status, 101);
    // A balancer that is not trusted is not one client.
    for _ in 0..=SHARE {
        let forwarded = "X-Forwarded-For: 198.51.100.1\r\n";
        let (head, socket) = upgrade(RawSocket::connect_from([127, 0, 0, 92], node).await, forwarded).await;
        assert_eq!(head.status, 101);
        waiting.push(socket);
    }
}

/// Thousands of sockets of one address upgrade, say nothing, and come back whenever they are refused or closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_get_in_while_one_address_floods_the_node() {
    for auth in [false, true] {
        let cluster = Cluster::start_with(Kind::Embedded, 1, |c| {
            with_tokens(c);
            c.auth.enabled = auth;
            c.max_connections = 400;
        })
        .await;
        let node = cluster.address(0);
        let token = cluster.token(0, "alice").await;
        let mut flood = JoinSet::new();
        let stop = CancellationToken::new();
        for _ in 0..500 {
            let stop = stop.clone();
            flood.spawn(stop.run_until_cancelled_owned(async move {
                loop {
                    let (_, mut socket) =
                        upgrade(RawSocket::connect_from([127, 0, 0, 90], node).await, "").await;
                    socket.rest().await;
                }
            }));
        }
        until("the flood has its share", async || {
            upgrade(RawSocket::connect_from([127, 0, 0, 90], node).await, "").await.0.status == 429
        })
        .await;
        for number in 0..20 {
            let begun = Instant::now();
            let mut alice = Client::connect(node, "alice").await;
            alice.token = auth.then(|| token.clone());
            alice.ok("Enter", json!({ "room": "ops" })).await;
            assert!(begun.elapsed() < Duration::from_secs(2), "{number}: {:?}", begun.elapsed());
        }
        stop.cancel();
        flood.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn address_that_is_closed_at_once_three_times_gets_429() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let node = cluster.address(0);
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let (head, mut socket) = upgrade(RawSocket::connect_from([127, 0, 0, 90], node).await, "").await;
        statuses.push(head.status);
        if head.status == 429 {
            assert!((1..=10).contains(&head.header("retry-after").parse::<u64>().unwrap()));
        } else {
            // Without a mask.
            socket.send(&[0x81, 0x00]).await;
            assert_eq!(socket.closed().await.map(|(code, _)| code), Some(1002));
        }
    }
    assert_eq!(statuses, [101, 101, 101, 429, 429]);
    assert_eq!(upgrade(RawSocket::connect_from([127, 0, 0, 91], node).await, "").await.0.status, 101);
    let head = asks_in_advance([127, 0, 0, 90], node, "HEAD").await;
    assert_eq!((head.status, head.header("x-chat-refused")), (429, "too_many"));
    assert!((1..=10).contains(&head.header("retry-after").parse::<u64>().unwrap()));
    let head = asks_in_advance([127, 0, 0, 91], node, "HEAD").await;
    assert_eq!((head.status, head.header("upgrade")), (426, "websocket"));
    // What clients end themselves does not count.
    for _ in 0..5 {
        Client::connect(node, "alice").await.leave().await;
    }
    Client::connect(node, "alice").await.ok("Ping", json!({})).await;
}
