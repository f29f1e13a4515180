//! Rate limits: requests over the rate are delayed and not refused, and the number of connections per address is limited.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, until};
use crate::support::raw::{self, RawSocket};

fn is_rate_limited(frame: &Value) -> bool {
    frame["message_type"] == "Error" && frame["message_body"]["code"] == "rate_limited"
}

/// Sends many requests at once, each with an id. Returns the time until all were answered, in order.
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

/// Sends a `Ping` whose first fragments are `parts`, with this rate and burst. Returns the time until its `Ack`, and whether
/// the node sent a notice of a delay.
async fn ping_in_fragments(kind: Kind, (rate, burst): (u32, u32), parts: &[&[u8]]) -> (Duration, bool) {
    let cluster = Cluster::start_with(kind, 1, |c| {
        c.limits.messages_per_second = rate;
        c.limits.burst = burst;
    })
    .await;
    let mut socket = RawSocket::connect(cluster.address(0)).await;
    socket.upgrade().await;
    let started = Instant::now();
    for (number, part) in parts.iter().enumerate() {
        let opcode = if number == 0 { raw::TEXT } else { raw::CONTINUATION };
        socket.send(&raw::fragment(opcode, part)).await;
    }
    let ping = json!({ "message_type": "Ping", "id": "1" }).to_string();
    socket.frame(raw::CONTINUATION, ping.as_bytes()).await;
    let mut is_delayed = false;
    loop {
        let (opcode, payload) = socket.read_frame().await.unwrap();
        assert_eq!(opcode, raw::TEXT);
        let frame: Value = serde_json::from_slice(&payload).unwrap();
        if frame["message_type"] == "Ack" {
            return (started.elapsed(), is_delayed);
        }
        assert!(is_rate_limited(&frame), "{frame}");
        is_delayed = true;
    }
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
        // The bucket holds 100 and an `Enter` costs five: the other 85 pass at a hundred per second.
        let took = burst(&mut alice, "GroupChat", 180).await;
        assert!(took >= Duration::from_millis(700), "{took:?}");
        for number in 0..180 {
            assert_eq!(bob.hears().await, number.to_string());
        }
        // The notice comes once, without an id, and with the time to wait.
        let told: Vec<&Value> = alice.seen().iter().filter(|frame| is_rate_limited(frame)).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].get("id").is_none(), "{told:?}");
        assert!(told[0]["message_body"]["retry_after_ms"].is_u64(), "{told:?}");
        bob.ok("Ping", json!({})).await;
        assert!(!bob.seen().iter().any(is_rate_limited), "a client below the rate gets no notice");
    }

    async fn rate_limited_is_sent_once_per_episode(kind) {
        // The bucket is full again after a second without requests. On a busy machine a client waits less than that for its turn.
        let cluster = Cluster::start_with(kind, 1, |c| {
            c.limits.messages_per_second = 20;
            c.limits.burst = 20;
        })
        .await;
        let mut alice = cluster.connect(0, "alice").await;
        for episode in 1..=3 {
            burst(&mut alice, "Ping", 30).await;
            assert_eq!(alice.seen().iter().filter(|frame| is_rate_limited(frame)).count(), episode);
            // An episode ends by time alone; there is no event to wait for.
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
    }

    async fn enter_and_requests_for_pages_cost_five(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| {
            c.limits.messages_per_second = 100;
            c.limits.burst = 50;
        })
        .await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        for kind in ["History", "Members", "Rooms", "Markers", "Enter"] {
            // 20 × 5, minus at most 50 in the bucket, at 100 per second.
            let took = burst(&mut alice, kind, 20).await;
            assert!(took >= Duration::from_millis(450), "{kind}: {took:?}");
        }
    }

    async fn small_fragments_cost_as_much_as_frames(kind) {
        // 50 at once and a hundred per second, for 85 fragments and the message.
        let (took, is_delayed) = ping_in_fragments(kind, (100, 50), &[b"".as_slice(); 85]).await;
        assert!(is_delayed && took >= Duration::from_millis(340), "{took:?}");
    }

    async fn large_fragments_cost_their_bytes(kind) {
        let part = [b' '; 2_000];
        // 120,000 bytes cost seven requests, and the message one.
        let (_, is_delayed) = ping_in_fragments(kind, (1, 8), &[part.as_slice(); 60]).await;
        assert!(!is_delayed);
        let (took, is_delayed) = ping_in_fragments(kind, (10, 5), &[part.as_slice(); 60]).await;
        assert!(is_delayed && took >= Duration::from_millis(290), "{took:?}");
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
        alice.wait_for("the rate_limited notice", is_rate_limited).await;
        let started = Instant::now();
        assert_eq!(cluster.call(0, "POST", "/users/alice/disconnect", Value::Null).await.0, 204);
        assert_eq!(alice.closed().await.0, 4003);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
}

// The following tests don't depend on the store.

/// Connects with an `X-Forwarded-For` header. Returns the socket, and whether the node admitted it or refused it with 429.
async fn connect_forwarded(cluster: &Cluster, forwarded: &str) -> (RawSocket, bool) {
    let mut socket = RawSocket::connect(cluster.address(0)).await;
    let header =
        if forwarded.is_empty() { String::new() } else { format!("X-Forwarded-For: {forwarded}\r\n") };
    let mut bytes = RawSocket::upgrade_request(&header).into_bytes();
    let ping = json!({ "message_type": "Ping", "id": "1" }).to_string();
    bytes.extend(raw::frame(raw::TEXT, ping.as_bytes()));
    socket.send(&bytes).await;
    let head = socket.head().await;
    if head.status == 429 {
        assert!(head.header("retry-after").parse::<u64>().unwrap() > 0);
        return (socket, false);
    }
    assert_eq!(head.status, 101);
    assert_eq!(socket.read_frame().await.unwrap().0, raw::TEXT);
    (socket, true)
}

/// The status of an upgrade with this token and header. A refused one has a time to come back if it is 429.
async fn upgrade_with_token(cluster: &Cluster, token: &str, header: &str) -> u16 {
    let mut socket = RawSocket::connect(cluster.address(0)).await;
    let headers = format!("Authorization: Bearer {token}\r\n{header}");
    socket.send(RawSocket::upgrade_request(&headers).as_bytes()).await;
    let head = socket.head().await;
    if head.status == 429 {
        assert!(head.header("retry-after").parse::<u64>().unwrap() > 0);
    }
    head.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_tokens_of_one_address_get_429() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| {
        crate::support::api::with_tokens(c);
        c.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let token = cluster.token(0, "alice").await;
    let wrong = uuid::Uuid::new_v4().to_string();
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    // Tokens that are right are never limited.
    for _ in 0..60 {
        assert_eq!(upgrade_with_token(&cluster, &token, &from("198.51.100.1")).await, 101);
    }
    for (address, same) in [("198.51.100.1", "198.51.100.1"), ("2001:db8::1", "2001:db8::ffff:1")] {
        // On a busy machine, some more are allowed meanwhile.
        let mut failed = 0;
        while upgrade_with_token(&cluster, &wrong, &from(address)).await != 429 {
            failed += 1;
            assert!(failed < 1_000, "{address} is not limited");
        }
        assert!(failed >= 30, "{address}: {failed}");
        until("the whole network is limited", async || {
            upgrade_with_token(&cluster, &wrong, &from(same)).await == 429
        })
        .await;
    }
    // Another address is not affected, nor is the proxy itself.
    assert_eq!(upgrade_with_token(&cluster, &token, &from("198.51.100.2")).await, 101);
    assert_eq!(upgrade_with_token(&cluster, &wrong, &from("198.51.100.2")).await, 401);
    for _ in 0..100 {
        assert_eq!(upgrade_with_token(&cluster, &wrong, "").await, 401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_tokens_in_requests_count_like_those_at_the_upgrade() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| {
        crate::support::api::with_tokens(c);
        c.limits.messages_per_second = 0;
    })
    .await;
    let sign_in = async |name: &str| {
        let mut client = cluster.connect(0, name).await;
        client.token = Some(cluster.token(0, name).await);
        client.ok("Auth", json!({})).await;
        client
    };
    let mut alice = sign_in("alice").await;
    let mut failed = 0;
    'limited: loop {
        // Connections do not help.
        let mut mallory = cluster.connect(0, "mallory").await;
        for _ in 0..10 {
            mallory.token = Some(uuid::Uuid::new_v4().to_string());
            let answer = mallory.ask("Ping", json!({})).await;
            let error = &answer["message_body"];
            if error["code"] == "rate_limited" && error["outcome"] == "refused" {
                assert!(
                    error["retry_after_ms"].as_u64().is_some_and(|ms| (1..=1_000).contains(&ms)),
                    "{answer}"
                );
                break 'limited;
            }
            assert_eq!(error["code"], "unauthorized", "{answer}");
            failed += 1;
            assert!(failed < 1_000, "the address is not limited");
        }
    }
    assert!(failed >= 30, "{failed}");
    // Whoever is signed in does not notice, and a token that is right is accepted soon.
    alice.ok("Enter", json!({ "room": "ops" })).await;
    alice.say("ops", "hello").await;
    let mut bob = cluster.connect(0, "bob").await;
    bob.token = Some(cluster.token(0, "bob").await);
    while let Some(wait) = bob.ask("Auth", json!({})).await["message_body"]["retry_after_ms"].as_u64() {
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    bob.ok("Enter", json!({ "room": "ops" })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_proxy_without_trust_is_not_one_client() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| {
        crate::support::api::with_tokens(c);
        c.limits.max_connections_per_address = 2;
    })
    .await;
    let wrong = uuid::Uuid::new_v4().to_string();
    for header in ["X-Forwarded-For: 198.51.100.1\r\n", "Forwarded: for=198.51.100.1\r\n"] {
        for _ in 0..50 {
            assert_eq!(upgrade_with_token(&cluster, &wrong, header).await, 401);
        }
    }
    let mut open = Vec::new();
    for _ in 0..5 {
        let (socket, is_in) = connect_forwarded(&cluster, "198.51.100.1").await;
        assert!(is_in);
        open.push(socket);
    }
    // Nobody forwards here, and the sockets of the balancer take none of the places.
    for expected in [true, true, false] {
        let (socket, is_in) = connect_forwarded(&cluster, "").await;
        assert_eq!(is_in, expected);
        open.push(socket);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn free_place_of_an_address_is_used_again() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| c.limits.max_connections_per_address = 2).await;
    let (_first, is_in) = connect_forwarded(&cluster, "").await;
    assert!(is_in);
    let (second, is_in) = connect_forwarded(&cluster, "").await;
    assert!(is_in);
    assert!(!connect_forwarded(&cluster, "").await.1);
    drop(second);
    until("a new client is admitted", async || connect_forwarded(&cluster, "").await.1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_of_one_address_have_a_rate() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| {
        crate::support::api::with_tokens(c);
        c.limits.handshakes_per_minute = 4;
        c.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let token = cluster.token(0, "alice").await;
    let wrong = uuid::Uuid::new_v4().to_string();
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    let in_advance = async |address: &str| {
        let mut socket = RawSocket::connect(cluster.address(0)).await;
        let request = format!("HEAD /ws HTTP/1.1\r\nHost: localhost\r\n{}\r\n", from(address));
        socket.send(request.as_bytes()).await;
        socket.head().await
    };
    // What asks in advance takes nothing, and what is refused counts. The address is a network of IPv6.
    for (address, token, status) in [
        ("2001:db8::1", &token, 101),
        ("2001:db8::2", &wrong, 401),
        ("2001:db8::3", &token, 101),
        ("2001:db8::3", &token, 101),
    ] {
        assert_eq!(in_advance(address).await.status, 426);
        assert_eq!(upgrade_with_token(&cluster, token, &from(address)).await, status, "{address}");
    }
    for token in [&token, &wrong] {
        assert_eq!(upgrade_with_token(&cluster, token, &from("2001:db8::4")).await, 429);
    }
    let head = in_advance("2001:db8::4").await;
    let wait: u64 = head.header("retry-after").parse().unwrap();
    assert!(head.status == 429 && (1..=15).contains(&wait), "{} {wait}", head.status);
    // Another network is not affected, nor is the proxy itself, which many clients share.
    assert_eq!(upgrade_with_token(&cluster, &token, &from("2001:db8:0:1::1")).await, 101);
    for _ in 0..20 {
        assert_eq!(upgrade_with_token(&cluster, &token, "").await, 101);
    }
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
        // The client's own value stands left of the address that the proxy saw.
        ("203.0.113.9, 198.51.100.2", false),
        ("198.51.100.2, 198.51.100.3", true),
        // Through two trusted proxies.
        ("198.51.100.4, 10.1.2.3", true),
        ("198.51.100.4", false),
        ("2001:db8::1", true),
        ("2001:db8::1", false),
        // The same network.
        ("2001:db8::2", false),
        ("2001:db8:0:1::1", true),
        // With the port of the client, and with brackets.
        ("198.51.100.5:50001", true),
        ("198.51.100.5:50002", false),
        ("198.51.100.6:50001", true),
        ("[2001:db8:0:2::1]:443", true),
        ("[2001:db8:0:2::2]", false),
        ("[2001:db8:0:3::1]", true),
        // A header without an address means the proxy itself, which may have any number of clients.
        ("unknown", true),
        ("unknown", true),
        ("", true),
        ("", true),
    ] {
        let (socket, is_in) = connect_forwarded(&cluster, forwarded).await;
        assert_eq!(is_in, expected, "{forwarded:?}");
        open.push(socket);
    }
}
