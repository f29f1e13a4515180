//! A Redis user with the rights of the handbook and no others: enough for everything, and a missing one is named in the log.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::api;
use crate::support::client::{Client, PATIENCE, position};
use crate::support::cluster::{get, until};
use crate::support::program::Program;
use crate::support::redis_server::RedisServer;

/// The rights in docs/operations.md, without the name and the password.
fn rights() -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("ACL SETUSER chat on >PASSWORD ").expect("the ACL line");
    let (rights, _) = rest.split_once("```").unwrap();
    rights.split_whitespace().map(str::to_owned).collect()
}

/// Lets the user `chat` have the rights of the handbook, and then these.
fn set_user(redis: &RedisServer, more: &[&str]) {
    let rights = rights();
    let mut words = vec!["ACL", "SETUSER", "chat", "reset", "on", ">s3cret"];
    words.extend(rights.iter().map(String::as_str).chain(more.iter().copied()));
    redis.command(&words).unwrap();
}

fn start(redis: &RedisServer, more: &[(&str, &str)]) -> Program {
    let url = redis.url();
    let mut environment = vec![
        ("CHAT_REDIS__URL", url.as_str()),
        ("CHAT_REDIS__USERNAME", "chat"),
        ("CHAT_REDIS__PASSWORD", "s3cret"),
        ("CHAT_LIMITS__MESSAGES_PER_SECOND", "0"),
        ("CHAT_NODE__LEASE", "1500ms"),
        ("CHAT_NODE__HEARTBEAT", "300ms"),
        ("CHAT_NODE__IDLE_CHECK", "300ms"),
    ];
    environment.extend(more);
    Program::start(&environment)
}

async fn ready(node: &Program) {
    until("the node is ready", async || get(node.address, "/readyz").await.0 == 200).await;
}

async fn connect(node: &Program, name: &str, token: &str) -> Client {
    let header = [("authorization", format!("Bearer {token}"))];
    Client::connect_with(node.address, name, &header).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_of_the_handbook_are_enough_for_everything() {
    let redis = RedisServer::start_durable();
    set_user(&redis, &[]);
    let tokens = [("CHAT_AUTH__ENABLED", "true")];
    let (stays, mut dies) = (start(&redis, &tokens), start(&redis, &tokens));
    for node in [&stays, &dies] {
        ready(node).await;
    }
    let [alice_token, bob_token] =
        [api::token(stays.address, "alice").await, api::token(dies.address, "bob").await];
    let mut alice = connect(&stays, "alice", &alice_token).await;
    alice.ok("Enter", json!({ "room": "ops" })).await;
    let mut bob = connect(&dies, "bob", &bob_token).await;
    bob.ok("Enter", json!({ "room": "ops" })).await;
    assert_eq!(alice.next("Enter").await["sender_username"], "alice");
    assert_eq!(alice.next("Enter").await["sender_username"], "bob");
    let first = alice.say("ops", "hello").await;
    assert_eq!(bob.hears().await, "hello");
    bob.whisper("alice", "psst").await;
    assert_eq!(alice.hears_privately().await, "psst");
    bob.ok("Typing", json!({ "room": "ops" })).await;
    alice.next("Typing").await;
    bob.ok("Read", json!({ "room": "ops", "seq": first["seq"] })).await;
    let private = alice.whisper("bob", "yes?").await;
    bob.ok("Read", json!({ "target_username": "alice", "message_id": private["message_id"] })).await;
    let markers = bob.ok("Markers", json!({})).await["markers"].take();
    assert_eq!(markers.as_array().unwrap().len(), 1, "{markers}");
    assert_eq!(alice.ok("Members", json!({ "room": "ops" })).await["members"], json!(["alice", "bob"]));
    alice.say("ops", "second").await;
    let history = bob.ok("History", json!({ "room": "ops" })).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 2, "{history}");

    // The death of a node, and a resume at the other one.
    dies.kill();
    assert_eq!(alice.next("Leave").await["sender_username"], "bob");
    let mut bob = connect(&stays, "bob", &bob_token).await;
    let ack = bob.ok("Enter", json!({ "room": "ops", "since": position(&first) })).await;
    assert_eq!(ack["recovered"], true, "{ack}");
    assert_eq!(bob.hears().await, "second");

    let (status, _) = api::call(stays.address, "DELETE", "/users/bob/tokens", json!(null)).await;
    assert_eq!(status, 204);
    let (status, _) =
        api::call(stays.address, "POST", "/tokens/revoke", json!({ "token": alice_token })).await;
    assert_eq!(status, 204);
    assert_eq!(alice.closed().await.0, 4001);
    assert_eq!(bob.closed().await.0, 4001);
    assert_eq!(api::call(stays.address, "GET", "/rooms", json!(null)).await.0, 200);
    let (status, nodes) = api::call(stays.address, "GET", "/nodes", json!(null)).await;
    assert_eq!(status, 200, "{nodes}");
    assert_eq!(redis.command(&["ACL", "LOG"]).unwrap(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_right_is_named_in_the_log() {
    const HINT: &str = "docs/operations.md#the-redis-user";
    for (right, named) in [
        ("-role", "role"),
        ("-script|load", "script"),
        ("-subscribe", "subscribe"),
        ("-publish", "publish"),
        ("-config|get", "CONFIG GET"),
        ("-info", "INFO"),
        ("-evalsha", "evalsha"),
        ("-zadd", "@user_script"),
        ("resetchannels", "channel"),
    ] {
        let redis = RedisServer::start_durable();
        set_user(&redis, &[right]);
        let node = start(&redis, &[]);
        let deadline = Instant::now() + PATIENCE;
        let log = loop {
            let log = node.log();
            if log.lines().any(|line| line.contains(named) && line.contains(HINT)) {
                break log;
            }
            assert!(Instant::now() < deadline, "{right}: {log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(!log.contains("s3cret"), "{log}");
        // Without an end of the attempts, but with pauses: a second brings few lines and few connections.
        let connections = || {
            let stats = redis.command(&["INFO", "stats"]).unwrap();
            let line = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
            line.unwrap().trim().parse::<usize>().unwrap()
        };
        let (lines, before) = (log.lines().count(), connections());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(node.log().lines().count() < lines + 25, "{right}: {}", node.log());
        assert!(connections() < before + 50, "{right}: {} connections", connections() - before);
    }
}
