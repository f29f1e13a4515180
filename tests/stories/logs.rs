//! A log that can't be written, or that nobody reads, costs log lines and nothing else; and no client can fill it.

use std::fs::OpenOptions;
use std::io::{PipeReader, Read};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::{get, metric, until};
use crate::support::program::Program;
use crate::support::redis_server::RedisServer;

/// Everything is logged, so that a log that blocks would block every step.
const TALKATIVE: (&str, &str) = ("CHAT_LOG__FILTER", "trace");

fn dropped(reason: &str) -> String {
    format!("chat_log_lines_dropped_total{{reason=\"{reason}\"}}")
}

/// A pipe that the node logs to, and its other end.
fn log_pipe() -> (PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, writer.into())
}

/// Connects, each time with some log lines, until the node drops one more line because its queue is full.
async fn fill(node: &Program) {
    let lines = async || metric(node.address, &dropped("queue_full")).await;
    let before = lines().await;
    while lines().await == before {
        for _ in 0..100 {
            Client::connect(node.address, "bob").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unwritable_log_does_not_end_the_node() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap().into();
    let closed = || log_pipe().1;
    for (what, log) in [("a full disk", full as fn() -> Stdio), ("a closed pipe", closed)] {
        let mut node = Program::start_logging_to(&[TALKATIVE], log());
        let mut alice = Client::enter(node.address, "alice", "ops").await;
        alice.say("ops", "hello").await;
        until("lost lines are counted", async || metric(node.address, &dropped("write_failed")).await > 0.0)
            .await;
        alice.say("ops", "still here").await;
        assert_eq!(get(node.address, "/healthz").await.0, 200, "{what}");
        assert_eq!(node.terminate().code(), Some(0), "{what}");
        assert_eq!(alice.closed().await.0, 4012, "{what}: a drain");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_log_does_not_stall_the_node() {
    let (mut reader, log) = log_pipe();
    let mut node = Program::start_logging_to(&[TALKATIVE, ("CHAT_LIMITS__MESSAGES_PER_SECOND", "0")], log);
    let mut alice = Client::enter(node.address, "alice", "ops").await;
    // The pipe is full, and then the queue of the node too.
    fill(&node).await;
    assert_eq!(get(node.address, "/healthz").await.0, 200);
    assert_eq!(get(node.address, "/readyz").await.0, 200);

    // As soon as somebody reads, the log goes on, and says that something is missing.
    let read = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        while !String::from_utf8_lossy(&text).contains("log lines are missing") {
            let count = reader.read(&mut buffer).unwrap();
            assert!(count > 0, "the node ended");
            text.extend(&buffer[..count]);
        }
        reader
    });
    let reader = read.await.unwrap();

    // Full again, and never read again: the node drains and ends nevertheless.
    fill(&node).await;
    alice.say("ops", "still here").await;
    assert_eq!(node.terminate().code(), Some(0));
    assert_eq!(alice.closed().await.0, 4012);
    drop(reader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_warnings_are_limited_and_summed_up() {
    let redis = RedisServer::start();
    let url = redis.url();
    let mut node = Program::start(&[
        ("CHAT_REDIS__URL", url.as_str()),
        ("CHAT_LIMITS__MESSAGES_PER_SECOND", "0"),
        ("CHAT_LOG__FORMAT", "json"),
    ]);
    until("the node is ready", async || get(node.address, "/readyz").await.0 == 200).await;
    let mut alice = Client::enter(node.address, "alice", "ops").await;
    // Redis refuses every write.
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let refused = 300;
    for at in 0..refused {
        alice.refused("GroupChat", json!({ "room": "ops", "content": at.to_string() }), "unavailable").await;
    }
    assert!(metric(node.address, &dropped("repeated")).await > 0.0);
    let log = node.stop();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |what: &str| {
        let words = what.to_owned();
        lines.iter().filter(move |line| line["message"].as_str().unwrap().starts_with(&words))
    };
    let failed = "a publish was refused: the store is full";
    let left_out: u64 = of(&format!("similar lines were left out: {failed}"))
        .map(|line| line["left_out"].as_u64().unwrap())
        .sum();
    let written = of(failed).count() as u64;
    assert!(written + left_out >= refused, "every failure is written or counted: {written} {left_out}");
    // 20 in ten seconds; a slow machine may need several times ten seconds.
    assert!(written <= refused / 2, "{written} lines");
    assert!(left_out >= refused / 2, "{left_out} lines");
}
