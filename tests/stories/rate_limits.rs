//! Who asks too much waits: requests over the rate are delayed and not refused, and one address gets so many connections.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, until};
use crate::support::raw::RawSocket;

fn is_told(frame: &Value) -> bool {
    frame["message_type"] == "Error" && frame["message_body"]["code"] == "rate_limited"
}

/// So many requests at once, each with an id; how long it took until all were answered, in order.
async fn burst(client: &mut Client, kind: &str, count: usize) -> Duration {
    let started = Instant::now();
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(client.send(kind, json!({ "content": number.to_string() })).await);
    }
    for id in ids {
        let answer = client.answer(&id).await;
        assert_eq!(answer["message_type"], "Ack", "{answer}");
    }
    started.elapsed()
}

on_each_store! {
    async fn requests_over_the_rate_are_delayed_and_not_lost(kind) {
        let cluster = Cluster::start_with(kind, 2, |c| {
            c.limits.messages_per_second = 100;
            c.limits.burst = 100;
        })
        .await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        // The bucket holds 100, an `Enter` takes five: the other 85 come at a hundred a second.
        let took = burst(&mut alice, "GroupChat", 180).await;
        assert!(took >= Duration::from_millis(700), "{took:?}");
        for number in 0..180 {
            assert_eq!(bob.hears().await, number.to_string());
        }
        // Said once, without an id, and with the time to wait.
        let told: Vec<&Value> = alice.seen().iter().filter(|frame| is_told(frame)).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].get("id").is_none(), "{told:?}");
        assert!(told[0]["message_body"]["retry_after_ms"].is_u64(), "{told:?}");
        bob.ok("Ping", json!({})).await;
        assert!(!bob.seen().iter().any(is_told), "who was not over the rate is told nothing");
    }

    async fn rate_limited_is_sent_once_per_episode(kind) {
        // Full again after a second without requests: longer than a busy machine lets a client wait for its turn.
        let cluster = Cluster::start_with(kind, 1, |c| {
            c.limits.messages_per_second = 20;
            c.limits.burst = 20;
        })
        .await;
        let mut alice = cluster.connect(0, "alice").await;
        for episode in 1..=3 {
            burst(&mut alice, "Ping", 30).await;
            assert_eq!(alice.seen().iter().filter(|frame| is_told(frame)).count(), episode);
            // The end of an episode is time that passes, nothing that could be waited for.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
    }

    async fn enter_history_and_members_cost_five_requests(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| {
            c.limits.messages_per_second = 100;
            c.limits.burst = 50;
        })
        .await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        for kind in ["History", "Members", "Enter"] {
            // 20 × 5 − 50 in the bucket at the most, at 100 a second.
            let took = burst(&mut alice, kind, 20).await;
            assert!(took >= Duration::from_millis(450), "{kind}: {took:?}");
        }
    }

    async fn delayed_client_is_still_closed_at_once(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| {
            c.limits.messages_per_second = 1;
            c.limits.burst = 5;
            c.auth.admin_key = Some(crate::support::api::KEY.into());
        })
        .await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        for _ in 0..30 {
            alice.tell("Ping", json!({})).await;
        }
        alice.wait_for("the word that it is over the rate", is_told).await;
        let started = Instant::now();
        assert_eq!(cluster.call(0, "POST", "/users/alice/disconnect", Value::Null).await.0, 204);
        assert_eq!(alice.closed().await.0, 4003);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

// What follows has nothing to do with the store.

/// What a node says to a comer who gives itself out for somebody else's proxy: 101 and no close, or 1013.
async fn comes_in(cluster: &Cluster, forwarded: &str) -> (RawSocket, bool) {
    let mut socket = RawSocket::connect(cluster.address(0)).await;
    let header =
        if forwarded.is_empty() { String::new() } else { format!("X-Forwarded-For: {forwarded}\r\n") };
    let mut bytes = RawSocket::upgrade_request(&header).into_bytes();
    let ping = json!({ "message_type": "Ping", "id": "1" }).to_string();
    bytes.extend(crate::support::raw::frame(crate::support::raw::TEXT, ping.as_bytes()));
    socket.send(&bytes).await;
    assert_eq!(socket.head().await.status, 101);
    let (opcode, payload) = socket.read_frame().await.unwrap();
    match opcode {
        crate::support::raw::TEXT => (socket, true),
        crate::support::raw::CLOSE => {
            assert_eq!(u16::from_be_bytes([payload[0], payload[1]]), 1013);
            (socket, false)
        }
        other => panic!("opcode {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_address_does_not_evade_the_connection_limit() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| c.limits.max_connections_per_address = 2).await;
    let (_first, is_in) = comes_in(&cluster, "").await;
    assert!(is_in);
    let (second, is_in) = comes_in(&cluster, "198.51.100.1").await;
    assert!(is_in);
    for forwarded in ["", "198.51.100.2", "127.0.0.1"] {
        assert!(!comes_in(&cluster, forwarded).await.1, "{forwarded}");
    }
    // A place that becomes free is given away again.
    drop(second);
    until("there is room", async || comes_in(&cluster, "").await.1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trusted_proxy_sets_the_client_address() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| {
        c.limits.max_connections_per_address = 1;
        c.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
    })
    .await;
    let mut open = Vec::new();
    for (forwarded, expected) in [
        ("198.51.100.1", true),
        ("198.51.100.2", true),
        ("198.51.100.1", false),
        // What the client wrote itself stands left of what the proxy saw.
        ("203.0.113.9, 198.51.100.2", false),
        ("198.51.100.2, 198.51.100.3", true),
        // Through two proxies of ours.
        ("198.51.100.4, 10.1.2.3", true),
        ("198.51.100.4", false),
        ("2001:db8::1", true),
        ("2001:db8::1", false),
        // A header that says nothing leaves the proxy itself.
        ("unknown", true),
        ("", false),
    ] {
        let (socket, is_in) = comes_in(&cluster, forwarded).await;
        assert_eq!(is_in, expected, "{forwarded:?}");
        open.push(socket);
    }
}
