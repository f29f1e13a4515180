//! The handshake: which upgrades succeed, how the others are refused, and what a browser gets over plain HTTP.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use crate::support::api::with_tokens;
use crate::support::client::{Client, PATIENCE};
use crate::support::cluster::{Cluster, Kind, http, until};
use crate::support::raw::{self, Head, RawSocket};

/// Requests an upgrade with more headers, and returns the head of the answer.
async fn upgrade_head(cluster: &Cluster, headers: &str) -> Head {
    request_head(cluster, &RawSocket::upgrade_request(headers)).await
}

async fn request_head(cluster: &Cluster, request: &str) -> Head {
    let mut socket = RawSocket::connect(cluster.address(0)).await;
    socket.send(request.as_bytes()).await;
    socket.head().await
}

/// The HTTP status of a refused upgrade.
fn status(refused: Result<Client, Box<Error>>) -> u16 {
    match refused.map(|_| "the node accepted it").map_err(|error| *error) {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

on_each_store! {
    async fn token_at_the_handshake_authenticates_all_requests(kind) {
        let cluster = Cluster::start_with(kind, 2, with_tokens).await;
        let token = cluster.token(0, "alice").await;
        for scheme in ["Bearer", "bearer"] {
            let header = [("authorization", format!("{scheme} {token}"))];
            let mut alice = Client::connect_with(cluster.address(1), "alice", &header).await.unwrap();
            alice.ok("Enter", json!({ "room": "ops" })).await;
            alice.say("ops", "no token in sight").await;
            alice.refused("Enter", json!({ "sender_username": "bob" }), "identity_mismatch").await;
        }
    }

    async fn invalid_token_at_the_handshake_gets_401(kind) {
        let cluster = Cluster::start_with(kind, 1, with_tokens).await;
        let token = cluster.token(0, "alice").await;
        let revoked = cluster.token(0, "alice").await;
        cluster.revoke(0, &revoked).await;
        for header in [
            format!("Bearer {revoked}"),
            format!("Bearer {}", uuid::Uuid::new_v4()),
            "Bearer not-a-uuid".into(),
            "Bearer ".into(),
            "Bearer".into(),
            format!("Basic {token}"),
            token.clone(),
        ] {
            let refused = Client::connect_with(cluster.address(0), "alice", &[("authorization", header.clone())]).await;
            assert_eq!(status(refused), 401, "{header}");
        }
        let head = upgrade_head(&cluster, "Authorization: Bearer nonsense\r\n").await;
        assert_eq!((head.status, head.header("www-authenticate")), (401, "Bearer"));
        // A token in the URL is ignored, because proxies log URLs.
        let request = RawSocket::upgrade_request("").replacen("GET / ", &format!("GET /?token={token} "), 1);
        let mut socket = RawSocket::connect(cluster.address(0)).await;
        socket.send(request.as_bytes()).await;
        assert_eq!(socket.head().await.status, 101);
        let ping = json!({ "message_type": "Ping", "id": "1" });
        socket.frame(raw::TEXT, ping.to_string().as_bytes()).await;
        let (_, answer) = socket.read_frame().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["message_body"]["code"], "unauthorized", "{answer}");
    }

    async fn frame_sent_with_the_upgrade_request_is_processed(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        let mut socket = RawSocket::connect(cluster.address(0)).await;
        let mut bytes = RawSocket::upgrade_request("").into_bytes();
        let body = json!({ "sender_username": "alice", "room": "ops" });
        let enter = json!({ "message_type": "Enter", "message_body": body });
        bytes.extend(raw::frame(raw::TEXT, enter.to_string().as_bytes()));
        for count in 0..50 {
            let body = json!({ "sender_username": "alice", "content": format!("early {count}") });
            let chat = json!({ "message_type": "GroupChat", "message_body": body });
            bytes.extend(raw::frame(raw::TEXT, chat.to_string().as_bytes()));
        }
        // Split inside a frame; the rest comes later.
        let rest = bytes.split_off(bytes.len() - 40);
        socket.send(&bytes).await;
        assert_eq!(socket.head().await.status, 101);
        socket.send(&rest).await;
        for count in 0..50 {
            assert_eq!(bob.hears().await, format!("early {count}"));
        }
    }
}

// The following tests don't depend on the store.

#[tokio::test]
async fn upgrade_is_answered_as_the_standard_says() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let head = upgrade_head(&cluster, "").await;
    assert_eq!(head.status, 101);
    // The key and its answer are the standard's own example (RFC 6455, 1.3).
    assert_eq!(head.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(head.header("upgrade"), "websocket");
    assert!(head.header("connection").eq_ignore_ascii_case("upgrade"));
    // The node offers no extension that was not requested, and none that it does not support.
    assert!(!head.text.to_lowercase().contains("sec-websocket-extensions"), "{}", head.text);
    let head = upgrade_head(&cluster, "Sec-WebSocket-Extensions: permessage-deflate\r\n").await;
    assert!(!head.text.to_lowercase().contains("sec-websocket-extensions"), "{}", head.text);
    let elsewhere = RawSocket::upgrade_request("").replacen("GET / ", "GET /ws ", 1);
    assert_eq!(request_head(&cluster, &elsewhere).await.status, 101);
}

/// Some clients accept no other value than `upgrade` there.
#[tokio::test]
async fn accepted_upgrade_says_connection_upgrade_and_no_more() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let good = RawSocket::upgrade_request("");
    for asked in
        ["Upgrade", "close, Upgrade", "Upgrade, close", "Close\r\nConnection: Upgrade", "keep-alive, Upgrade"]
    {
        let request = good.replace("Connection: keep-alive, Upgrade", &format!("Connection: {asked}"));
        let mut socket = RawSocket::connect(cluster.address(0)).await;
        // The answers before it on the same connection are whole.
        if !asked.to_lowercase().contains("close") {
            socket.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            let length = socket.head().await.header("content-length").parse().unwrap();
            socket.read_bytes(length).await;
        }
        socket.send(request.as_bytes()).await;
        let head = socket.head().await;
        assert_eq!((head.status, head.header("connection")), (101, "upgrade"), "{asked}: {}", head.text);
        assert_eq!(head.text.to_lowercase().matches("connection").count(), 1, "{asked}: {}", head.text);
        assert_eq!(head.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let ping = json!({ "message_type": "Ping", "id": "1" });
        socket.frame(raw::TEXT, ping.to_string().as_bytes()).await;
        let (_, answer) = socket.read_frame().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["message_type"], "Ack", "{asked}: the connection is a WebSocket");
    }
}

#[tokio::test]
async fn unsupported_version_gets_426_and_the_supported_version() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let good = RawSocket::upgrade_request("");
    for request in [
        good.replace("Version: 13", "Version: 8"),
        good.replace("Sec-WebSocket-Version: 13\r\n", ""),
        good.replace("Upgrade: websocket", "Upgrade: h2c"),
        good.replace("Connection: keep-alive, Upgrade", "Connection: keep-alive"),
    ] {
        let head = request_head(&cluster, &request).await;
        assert_eq!(head.status, 426, "{request}");
        assert_eq!(head.header("sec-websocket-version"), "13");
    }
}

#[tokio::test]
async fn upgrade_with_another_method_gets_400() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    for path in ["/", "/ws"] {
        let request = RawSocket::upgrade_request("").replacen("GET / ", &format!("HEAD {path} "), 1);
        assert_eq!(request_head(&cluster, &request).await.status, 400, "{path}");
    }
    assert_eq!(request_head(&cluster, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn invalid_key_gets_400() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let good = RawSocket::upgrade_request("");
    for key in ["", "short", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSBpcyBsb25nZXI=", "%%%%"] {
        let request = good.replace("dGhlIHNhbXBsZSBub25jZQ==", key);
        assert_eq!(request_head(&cluster, &request).await.status, 400, "{key:?}");
    }
    let without = good.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "");
    assert_eq!(request_head(&cluster, &without).await.status, 400);
}

/// A web site can point a name of its own to any address, and its pages then have the same origin as the node.
#[tokio::test]
async fn foreign_host_names_are_refused_everywhere() {
    let cluster =
        Cluster::start_with(Kind::Embedded, 1, |c| c.server.allowed_hosts = vec!["chat.example.com".into()])
            .await;
    let paths = ["/", "/ws", "/assets/app.js", "/metrics", "/api/v1/nodes", "/nowhere"];
    for (host, is_served) in [
        ("127.0.0.1", true),
        ("127.0.0.1:8080", true),
        ("[::1]:8080", true),
        ("192.0.2.7", true),
        ("localhost:8080", true),
        ("chat.localhost", true),
        ("Chat.Example.com:443", true),
        ("evil.example", false),
        ("evil.example:8080", false),
        ("127.0.0.1.evil.example", false),
        ("chat.example.com.evil.example", false),
        ("chat.example.com@evil.example", false),
    ] {
        for path in paths {
            let head = request_head(&cluster, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
            assert_eq!(head.status != 421, is_served, "{host} {path}: {}", head.text);
        }
        let origin = format!("Origin: http://{host}\r\n");
        let upgrade =
            RawSocket::upgrade_request(&origin).replace("Host: chat.example.com", &format!("Host: {host}"));
        assert_eq!(
            request_head(&cluster, &upgrade).await.status,
            if is_served { 101 } else { 421 },
            "{host}"
        );
    }
    // Balancers probe nodes under any name.
    for probe in ["/healthz", "/readyz"] {
        let head = request_head(&cluster, &format!("GET {probe} HTTP/1.1\r\nHost: chat\r\n\r\n")).await;
        assert_eq!(head.status, 200, "{probe}");
    }
    // The name in the request line counts too, and programs of HTTP/1.0 send none.
    let absolute = "GET http://evil.example/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    assert_eq!(request_head(&cluster, absolute).await.status, 421);
    assert_eq!(request_head(&cluster, "GET /healthz HTTP/1.0\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn default_node_on_loopback_serves_only_loopback_names() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| c.server.allowed_hosts.clear()).await;
    for (host, status) in [("localhost", 200), ("127.0.0.1", 200), ("chat.example.com", 421)] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(request_head(&cluster, &request).await.status, status, "{host}");
    }
    // A node that others can reach may have any name, unless the settings list its names.
    let open = |c: &mut chatnode::config::Config| {
        c.host = "0.0.0.0".into();
        c.server.allowed_hosts.clear();
    };
    let cluster = Cluster::start_with(Kind::Embedded, 1, open).await;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], cluster.address(0).port()));
    for host in ["localhost", "chat.example.com"] {
        let mut socket = RawSocket::connect(address).await;
        socket.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await;
        assert_eq!(socket.head().await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn browser_gets_the_page_with_security_headers() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let head = request_head(&cluster, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(
        head.header("content-security-policy"),
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    );
    assert_eq!(head.header("x-content-type-options"), "nosniff");
    assert_eq!(head.header("referrer-policy"), "no-referrer");
    // All files of the page exist, each with its type.
    let (_, page) = http(cluster.address(0), "GET", "/", &[], "").await;
    let assets: Vec<&str> = page.split('"').filter(|text| text.starts_with("/assets/")).collect();
    assert!(assets.len() >= 3, "{page}");
    for asset in assets {
        let head = request_head(&cluster, &format!("GET {asset} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(head.status, 200, "{asset}");
        assert_eq!(head.header("x-content-type-options"), "nosniff");
        let kind = head.header("content-type");
        let wanted = match asset.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(kind, wanted, "{asset}");
    }
}

#[tokio::test]
async fn request_without_an_upgrade_gets_plain_http() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let address = cluster.address(0);
    for (method, path, status) in [
        ("GET", "/ws", 426),
        ("GET", "/nowhere", 404),
        ("GET", "/assets/nothing.js", 404),
        ("GET", "/assets/..%2f..%2fCargo.toml", 404),
        ("POST", "/", 405),
        ("DELETE", "/ws", 405),
        ("HEAD", "/", 200),
    ] {
        assert_eq!(http(address, method, path, &[], "").await.0, status, "{method} {path}");
    }
    // An upgrade has to be a GET.
    let posted = RawSocket::upgrade_request("").replacen("GET", "POST", 1);
    assert_eq!(request_head(&cluster, &posted).await.status, 405);
}

#[tokio::test]
async fn slow_request_is_cut() {
    let cluster =
        Cluster::start_with(Kind::Embedded, 1, |c| c.server.handshake_timeout = Duration::from_millis(200))
            .await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let good = RawSocket::upgrade_request("");
    for part in ["", "G", "GET / HTTP/1.1\r\n", good.trim_end()] {
        let mut socket = RawSocket::connect(cluster.address(0)).await;
        socket.send(part.as_bytes()).await;
        // Closed with or without an answer, but never upgraded.
        let rest = String::from_utf8(socket.rest().await).unwrap();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408"), "{part:?}: {rest}");
    }
    // A client that keeps the connection open after its request is cut as well.
    let mut socket = RawSocket::connect(cluster.address(0)).await;
    socket.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(socket.head().await.status, 200);
    socket.rest().await;
    // A client that upgraded in time stays connected.
    alice.say("ops", "still here").await;
}

#[tokio::test]
async fn client_that_reads_no_answer_is_cut() {
    let cluster =
        Cluster::start_with(Kind::Embedded, 1, |c| c.server.handshake_timeout = Duration::from_millis(200))
            .await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut socket = RawSocket::connect_narrow(cluster.address(0)).await;
    // Much more than the kernel buffers for both ends, with the next request always present.
    let request = "GET /assets/timeline.js HTTP/1.1\r\nHost: localhost\r\n\r\n";
    socket.send(request.repeat(1_500).as_bytes()).await;
    until("the node closes the connection", async || !socket.try_send(b"\n")).await;
    alice.say("ops", "still here").await;
}

#[tokio::test]
async fn http_connection_serves_a_limited_number_of_requests() {
    let cluster =
        Cluster::start_with(Kind::Embedded, 1, |c| c.server.handshake_timeout = Duration::from_millis(200))
            .await;
    let mut socket = RawSocket::connect(cluster.address(0)).await;
    let opened = Instant::now();
    // The node closes between two requests, or with the last answer.
    while socket.try_send(b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        && let Some(head) = socket.head_or_end().await
    {
        assert_eq!(head.status, 200);
        assert!(opened.elapsed() < PATIENCE, "the node does not close the connection");
    }
    assert!(opened.elapsed() >= Duration::from_secs(2), "{:?}", opened.elapsed());
}

#[tokio::test]
async fn request_with_endless_headers_is_cut() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut socket = RawSocket::connect(cluster.address(0)).await;
    let padding = format!("X-Padding: {}\r\n", "x".repeat(1_000)).repeat(40);
    socket.send(RawSocket::upgrade_request(&padding).as_bytes()).await;
    let rest = String::from_utf8(socket.rest().await).unwrap();
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 431"), "{rest}");
}
