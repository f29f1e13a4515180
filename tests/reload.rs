//! SIGHUP: what a running node takes over, what it names, and settings that can't be used.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use support::api::KEY;
use support::authority::Authority;
use support::client::Client;
use support::cluster::{http, until};
use support::jwt::{now, signed_with};
use support::program::Program;

/// Writes `.env`, sends SIGHUP, and waits until the log has so many lines with these words.
async fn reload(node: &Program, settings: &str, words: &str, count: usize) {
    std::fs::write(node.folder().join(".env"), settings).unwrap();
    node.signal("-HUP");
    until("the settings are read", async || node.log().matches(words).count() >= count).await;
}

const READ: &str = "read the settings again";
const REFUSED: &str = "the node keeps those that it has";

async fn origin(node: &Program, origin: &str) -> u16 {
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Origin", origin),
    ];
    let closing = node.address;
    // Refused upgrades end; an accepted one is a WebSocket, which has no such end.
    let asked = http(closing, "GET", "/", &headers, "");
    tokio::time::timeout(std::time::Duration::from_secs(2), asked).await.map_or(101, |(status, _)| status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_takes_over_hosts_origins_limits_and_filter() {
    let mut node = Program::start(&[]);
    let host = async |name: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        support::cluster::raw(node.address, request.as_bytes()).await.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(host("chat.example.com").await, "421");
    assert_eq!(origin(&node, "https://other.example").await, 403);
    let mut alice = Client::enter(node.address, "alice", "one").await;
    let settings = "CHAT_SERVER__ALLOWED_HOSTS=chat.example.com\nCHAT_SERVER__ALLOWED_ORIGINS=https://other.example\n\
        CHAT_LIMITS__MAX_ROOMS_PER_CONNECTION=1\nCHAT_LIMITS__MAX_CONNECTIONS_PER_ADDRESS=1\n\
        CHAT_LOG__FILTER=info,chatnode=debug\n";
    reload(&node, settings, READ, 1).await;
    assert_eq!(host("chat.example.com").await, "200");
    assert_eq!(origin(&node, "https://other.example").await, 101);
    // The connection of before keeps its place and its user.
    alice.refused("Enter", json!({ "room": "two" }), "too_many_rooms").await;
    alice.say("one", "still here").await;
    let _second = Client::connect(node.address, "bob").await;
    assert!(Client::connect_with(node.address, "carol", &[]).await.is_err(), "the address has one already");
    // Nothing changes back by itself.
    reload(&node, "", READ, 2).await;
    assert_eq!(host("chat.example.com").await, "421");
    alice.ok("Enter", json!({ "room": "two" })).await;
    let log = node.stop();
    let changed = "changed=\"limits.max_rooms_per_connection, limits.max_connections_per_address, \
        server.allowed_origins, server.allowed_hosts, log.filter\"";
    assert_eq!(log.matches(changed).count(), 2, "{log}");
    let (before, after) = log.split_once(READ).unwrap();
    assert!(!before.contains("DEBUG") && after.contains("DEBUG"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_settings_change_nothing() {
    let mut node = Program::start(&[]);
    let mut alice = Client::enter(node.address, "alice", "one").await;
    for (count, settings) in [
        "CHAT_LIMITS__MAX_ROOMS_PER_CONNECTION=1\nCHAT_LIMITS__BURTS=1\n",
        "CHAT_LIMITS__MAX_ROOMS_PER_CONNECTION=1\nCHAT_LOG__FILTER=a=b=c\n",
        "CHAT_LIMITS__MAX_ROOMS_PER_CONNECTION=none\n",
    ]
    .into_iter()
    .enumerate()
    {
        reload(&node, settings, REFUSED, count + 1).await;
    }
    alice.ok("Enter", json!({ "room": "two" })).await;
    let log = node.stop();
    assert!(log.contains("did you mean CHAT_LIMITS__BURST?"), "{log}");
    assert!(!log.contains(READ), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_need_a_restart_are_named() {
    let mut node = Program::start(&[("CHAT_NODE__NAME", "lisbon")]);
    let settings = "CHAT_MAX_CONNECTIONS=5\nCHAT_LIMITS__MAX_CONTENT_BYTES=7\nCHAT_LIMITS__BURST=7\n\
        CHAT_REDIS__PREFIX=other\n";
    reload(&node, settings, READ, 1).await;
    let log = node.stop();
    assert!(log.contains("changed=\"limits.burst\""), "{log}");
    assert!(log.contains("settings=\"max_connections, redis.prefix, limits.max_content_bytes\""), "{log}");
}

/// The secret is replaced, the one before it still serves, and a broken file changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_jwts_are_taken_over() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("secret");
    let claims = json!({ "sub": "alice", "exp": now() + 3_600 });
    let (old, new) = ("the-old-secret-of-thirty-two-bytes", "the-new-secret-of-thirty-two-bytes");
    std::fs::write(&file, format!("{old}\n")).unwrap();
    let mut node = Program::start(&[
        ("CHAT_AUTH__ENABLED", "true"),
        ("CHAT_AUTH__JWT__ALGORITHMS", "HS256"),
        ("CHAT_AUTH__JWT__HMAC_SECRET_FILE", &file.display().to_string()),
    ]);
    let opens = async |secret: &str| {
        let header = [("authorization", format!("Bearer {}", signed_with(secret, &claims)))];
        Client::connect_with(node.address, "alice", &header).await.is_ok()
    };
    assert!(opens(old).await && !opens(new).await);
    std::fs::write(&file, new).unwrap();
    reload(&node, &format!("CHAT_AUTH__JWT__HMAC_PREVIOUS_SECRET={old}\n"), READ, 1).await;
    assert!(opens(old).await && opens(new).await);
    std::fs::write(&file, "short").unwrap();
    reload(&node, "", "can't use the changed keys of auth.jwt", 1).await;
    assert!(opens(new).await);
    std::fs::write(&file, new).unwrap();
    reload(&node, "", READ, 3).await;
    assert!(!opens(old).await && opens(new).await);
    let log = node.stop();
    assert!(!log.contains(old) && !log.contains(new), "{log}");
}

/// A key is replaced without a pause, and a broken file changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_the_server_api_are_taken_over() {
    let (old, new) = ("Xw7c-2mKq9-Rz4x-Lp8v", "Qe3n-8tVb1-Hj6y-Wd5s");
    let mut node = Program::start(&[]);
    let status = async |key: &str| {
        let key = format!("Bearer {key}");
        http(node.address, "GET", "/api/v1/rooms/ops/messages", &[("Authorization", &key)], "").await.0
    };
    assert_eq!((status(old).await, status(KEY).await), (401, 200));
    let file = node.folder().join("shop.key");
    std::fs::write(&file, new).unwrap();
    reload(&node, &format!("CHAT_AUTH__API_KEYS=shop:read:{old}\n"), READ, 1).await;
    assert_eq!((status(old).await, status(new).await), (200, 401));
    let both = format!("CHAT_AUTH__API_KEYS=shop:read:{old},shop-2:read:file=shop.key\n");
    reload(&node, &both, READ, 2).await;
    assert_eq!((status(old).await, status(new).await), (200, 200));
    // The keys of before stay as long as anything is wrong.
    std::fs::write(&file, "short").unwrap();
    reload(
        &node,
        "CHAT_AUTH__API_KEYS=shop-2:read:file=shop.key\n",
        "can't use the changed keys of auth.api_keys",
        1,
    )
    .await;
    assert_eq!((status(old).await, status(new).await), (200, 200));
    reload(&node, "CHAT_AUTH__API_KEYS=shop-2:reed:file=shop.key\n", REFUSED, 1).await;
    assert_eq!((status(old).await, status(new).await), (200, 200));
    std::fs::write(&file, new).unwrap();
    reload(&node, "CHAT_AUTH__API_KEYS=shop-2:read:file=shop.key\n", READ, 4).await;
    assert_eq!((status(old).await, status(new).await, status(KEY).await), (401, 200, 200));
    let log = node.stop();
    assert!(log.contains("changed=\"auth.api_keys\""), "{log}");
    assert!(!log.contains(old) && !log.contains(new), "{log}");
}

/// At once, not with the next look at the files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_is_read_before_the_settings() {
    let folder = tempfile::TempDir::new().unwrap();
    let authority = Authority::create(folder.path(), "authority");
    authority.sign(folder.path(), "node", "localhost", 2099);
    let path = |name: &str| folder.path().join(format!("{name}.pem"));
    let file = path("node").display().to_string();
    let mut node = Program::start(&[("CHAT_TLS__CERT_FILE", &file), ("CHAT_TLS__KEY_FILE", &file)]);
    authority.sign(folder.path(), "next", "localhost", 2099);
    let next = CertificateDer::from_pem_file(path("next")).unwrap();
    std::fs::rename(path("next"), path("node")).unwrap();
    reload(&node, "", READ, 1).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path("authority")).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(std::sync::Arc::new(crypto::ring::default_provider()));
    let client = client.with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let socket = TcpStream::connect(node.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = TlsConnector::from(std::sync::Arc::new(client)).connect(name, socket).await.unwrap();
    assert_eq!(tls.get_ref().1.peer_certificates().unwrap()[0], next);
    let log = node.stop();
    assert!(log.contains("read the changed TLS certificate"), "{log}");
}
