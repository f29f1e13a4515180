//! Health, readiness, metrics, and logs without private data. Each test has its own process, because metrics and logs belong to
//! a process.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::api::{KEY, call, token};
use crate::support::client::Client;
use crate::support::cluster::{get, http, until};
use crate::support::program::Program;
use crate::support::redis_server::RedisServer;

/// The value of a metric, as it is written.
fn value<'a>(page: &'a str, name: &str) -> &'a str {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {page}"))
}

/// A node with its own Redis.
fn with_redis(environment: &[(&str, &str)]) -> (RedisServer, Program) {
    let redis = RedisServer::start();
    let url = redis.url();
    let process = Program::start(&[environment, &[("CHAT_REDIS__URL", url.as_str())]].concat());
    (redis, process)
}

async fn ready(process: &Program) {
    until("the node is ready", async || get(process.address, "/readyz").await.0 == 200).await;
}

#[tokio::test]
async fn health_and_readiness_are_answered() {
    let mut node = Program::start(&[]);
    ready(&node).await;
    assert_eq!(get(node.address, "/healthz").await, (200, "ok\n".into()));
    assert_eq!(get(node.address, "/readyz").await, (200, "ready\n".into()));
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(http(node.address, "POST", path, &[], "").await.0, 405, "{path}");
    }
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsafe_store_settings_are_logged_on_every_connection() {
    for is_late in [false, true] {
        let mut redis = RedisServer::start_with(&["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"]);
        let url = redis.url();
        if is_late {
            redis.kill();
        }
        let mut node = Program::start(&[("CHAT_REDIS__URL", url.as_str())]);
        if is_late {
            redis.restart();
        }
        let warnings = ["Redis has no append-only file", "`maxmemory-policy allkeys-lru`"];
        let lines = |log: &str, words: &str| {
            log.lines().filter(|line| line.contains("WARN") && line.contains(words)).count()
        };
        until("both warnings are logged", async || {
            let log = node.log();
            warnings.iter().all(|words| lines(&log, words) > 0)
        })
        .await;
        ready(&node).await;
        let log = node.stop();
        assert_eq!(warnings.map(|words| lines(&log, words)), [1, 1], "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_without_its_store_is_alive_but_not_ready() {
    let mut redis = RedisServer::start();
    let url = redis.url();
    redis.kill();
    let mut node = Program::start(&[("CHAT_REDIS__URL", url.as_str())]);
    assert_eq!(get(node.address, "/healthz").await.0, 200);
    assert_eq!(get(node.address, "/readyz").await.0, 503);
    let (status, page) = get(node.address, "/metrics").await;
    assert_eq!((status, value(&page, "chat_ready")), (200, "0"));
    redis.restart();
    ready(&node).await;
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_events_and_contain_no_names() {
    let (_redis, mut node) = with_redis(&[]);
    ready(&node).await;
    let (_, fresh) = get(node.address, "/metrics").await;
    // Each label value exists from the start, so that rates begin at zero.
    for (name, zero) in [
        ("chat_connections", "0"),
        ("chat_connections_closed_total{reason=\"slow\"}", "0"),
        ("chat_connections_closed_total{reason=\"token_revoked\"}", "0"),
        ("chat_publishes_total{result=\"duplicate\"}", "0"),
        ("chat_publishes_total{result=\"unknown\"}", "0"),
        ("chat_entries_stored_total{kind=\"edit\"}", "0"),
        ("chat_changes_refused_total{reason=\"older_nodes\"}", "0"),
        ("chat_history_pages_total{content=\"changed\"}", "0"),
        ("chat_deliveries_total{path=\"replay\"}", "0"),
        ("chat_resumes_total{result=\"rollback\"}", "0"),
        ("chat_gaps_detected_total{source=\"probe\"}", "0"),
        ("chat_redis_errors_total{role=\"pool\",kind=\"timeout\"}", "0"),
        ("chat_rejections_total{scope=\"overload\"}", "0"),
        ("chat_slow_consumer_disconnects_total", "0"),
        ("chat_draining", "0"),
        ("chat_ready", "1"),
    ] {
        assert_eq!(value(&fresh, name), zero, "{name}");
    }
    let mut alice = Client::enter(node.address, "alice-of-the-metrics", "room-of-the-metrics").await;
    let mut bob = Client::enter(node.address, "bob-of-the-metrics", "room-of-the-metrics").await;
    for _ in 0..3 {
        alice.say("room-of-the-metrics", "x").await;
        bob.hears().await;
    }
    let again = alice.envelope("GroupChat", json!({ "content": "once" }), Some("same"));
    for _ in 0..2 {
        alice.send_text(again.to_string()).await;
        alice.answer("same").await;
    }
    bob.hears().await;
    alice.ok("History", json!({})).await;
    let sent = alice.ok("GroupChat", json!({ "content": "to be changed" })).await;
    bob.hears().await;
    let about = |fields: serde_json::Value| {
        let mut body = json!({ "message_id": sent["message_id"] });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        body
    };
    bob.refused("Retract", about(json!({})), "forbidden").await;
    alice.ok("Edit", about(json!({ "content": "changed" }))).await;
    bob.next("Edit").await;
    alice.ok("History", json!({})).await;
    bob.send_text("not JSON").await;
    bob.next("Error").await;
    bob.send_frame(Message::binary(&b"x"[..])).await;
    assert_eq!(bob.closed().await.0, 1003);
    let counted = [
        ("chat_connections", "1"),
        ("chat_handshakes_total{result=\"ok\"}", "2"),
        ("chat_publishes_total{result=\"ok\"}", "6"),
        ("chat_publishes_total{result=\"not_allowed\"}", "1"),
        ("chat_entries_stored_total{kind=\"message\"}", "5"),
        ("chat_entries_stored_total{kind=\"edit\"}", "1"),
        ("chat_changes_refused_total{reason=\"forbidden\"}", "1"),
        ("chat_history_pages_total{content=\"as_sent\"}", "1"),
        ("chat_history_pages_total{content=\"changed\"}", "1"),
        ("chat_publishes_total{result=\"duplicate\"}", "1"),
        ("chat_deliveries_total{path=\"live\"}", "12"),
        ("chat_rejections_total{scope=\"auth\"}", "0"),
        ("chat_rejections_total{scope=\"forbidden\"}", "1"),
        ("chat_rejections_total{scope=\"invalid\"}", "1"),
        ("chat_connections_closed_total{reason=\"binary_frame\"}", "1"),
        ("chat_publish_ack_seconds_count", "8"),
        // One room, two users.
        ("chat_subscriptions", "3"),
        ("chat_presence_entries", "1"),
    ];
    until("the metrics have these values", async || {
        let (_, page) = get(node.address, "/metrics").await;
        counted.iter().all(|(name, expected)| value(&page, name) == *expected)
    })
    .await;
    let (_, page) = get(node.address, "/metrics").await;
    assert!(!page.contains("-of-the-metrics"), "the metrics contain a name: {page}");
    assert!(page.contains("process_resident_memory_bytes") && page.contains("chat_build_info{"), "{page}");
    check_with_promtool(&page);
    node.stop();
}

/// Checks the metrics page with the tool of Prometheus.
fn check_with_promtool(page: &str) {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = promtool.expect("promtool is in the path: Debian has it in `prometheus`");
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let problems =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && problems.is_empty(), "{problems}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_contain_no_tokens_keys_or_contents() {
    for is_clustered in [false, true] {
        let environment =
            [("CHAT_AUTH__ENABLED", "true"), ("CHAT_LOG__FILTER", "trace"), ("CHAT_LOG__FORMAT", "json")];
        let redis_and_node = is_clustered.then(|| with_redis(&environment));
        let (_redis, mut node) = match redis_and_node {
            Some((redis, node)) => (Some(redis), node),
            None => (None, Program::start(&environment)),
        };
        ready(&node).await;
        let address = node.address;
        let alices = token(address, "alice").await;
        let bobs = token(address, "bob").await;
        let unknown = uuid::Uuid::new_v4().to_string();
        let header = [("authorization", format!("Bearer {alices}"))];
        let mut alice = Client::connect_with(address, "alice", &header).await.unwrap();
        let mut bob = Client::connect(address, "bob").await;
        bob.token = Some(bobs.clone());
        for client in [&mut alice, &mut bob] {
            client.ok("Enter", json!({ "room": "ops" })).await;
        }
        alice.say("ops", "words-for-the-room").await;
        alice.whisper("bob", "words-for-bob").await;
        bob.hears().await;
        bob.hears_privately().await;
        // Requests that fail must not appear either.
        alice.token = Some(bobs.clone());
        alice.refused("GroupChat", json!({ "content": "words-for-nobody" }), "identity_mismatch").await;
        alice.token = Some(unknown.clone());
        alice.refused("GroupChat", json!({ "content": "words-for-nobody" }), "unauthorized").await;
        alice.send_text(format!(r#"{{"token":"{alices}","message_type":"words-for-nobody}}"#)).await;
        alice.next("Error").await;
        alice.send_text(format!(r#"{{"token":"{alices}","message_type":"Enter","message_body":5}}"#)).await;
        alice.next("Error").await;
        let header = [("authorization", format!("Bearer {unknown}"))];
        assert!(Client::connect_with(address, "alice", &header).await.is_err());
        assert_eq!(call(address, "POST", "/tokens/revoke", json!({ "token": alices })).await.0, 204);
        assert_eq!(alice.closed().await.0, 4001);
        bob.ok("Ping", json!({})).await;
        let (_, page) = get(address, "/metrics").await;
        let frames = format!("{:?} {:?}", alice.seen(), bob.seen());
        let log = node.stop();
        assert!(log.contains("\"level\":\"DEBUG\""), "the log is detailed enough for this test");
        for secret in [&alices, &bobs, &unknown, KEY] {
            for (place, text) in [("log", &log), ("page", &page), ("frames", &frames)] {
                let line = text
                    .lines()
                    .find(|line| line.contains(secret) || line.contains(&secret.replace('-', "")));
                assert_eq!(line, None, "in the {place}");
            }
        }
        let line = log.lines().find(|line| line.contains("words-for-"));
        assert_eq!(line, None, "the log contains a message");
    }
}
