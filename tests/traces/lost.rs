//! Spans that don't reach the receiver: it is away, or takes nothing; and the bounds of what is recorded.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::receiver::Receiver;
use crate::support::client::{Client, PATIENCE};
use crate::support::cluster::metric;
use crate::support::program::Program;

const DROPPED: &str = "chat_trace_spans_dropped_total";

/// Waits until a metric is no longer zero.
async fn grows(node: &Program, name: &str) -> f64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = metric(node.address, name).await;
        if value > 0.0 {
            return value;
        }
        assert!(Instant::now() < deadline, "{name} is still 0");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn receiver_that_takes_nothing_costs_only_spans() {
    // It accepts connections, and never answers. The other one is away: nobody listens at its port any more.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [silent.local_addr().unwrap(), away] {
        let mut node = Program::start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}")),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2"),
            ("OTEL_BSP_SCHEDULE_DELAY", "10"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "300"),
            ("CHAT_LOG__FILTER", "trace"),
        ]);
        let mut alice = Client::enter(node.address, "alice", "room").await;
        alice.say_many("room", "hi", 100).await;
        let full = grows(&node, &format!("{DROPPED}{{reason=\"queue_full\"}}")).await;
        assert!(full >= 20.0, "{full} of 101 requests found no room");
        grows(&node, &format!("{DROPPED}{{reason=\"not_sent\"}}")).await;
        assert_eq!(metric(node.address, "chat_trace_spans_exported_total").await, 0.0);
        alice.say("room", "still here").await;
        let log = node.stop();
        assert_eq!(log.matches("spans could not be sent").count(), 1, "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
}

#[tokio::test]
async fn node_ends_though_the_receiver_takes_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    // A try would last longer than a test waits.
    let mut node = Program::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "600000"),
    ]);
    Client::connect(node.address, "alice").await.ok("Auth", json!({})).await;
    let log = node.stop();
    assert!(log.contains("did not take the last spans in time"), "{log}");
}

#[tokio::test]
async fn second_has_at_most_a_hundred_requests() {
    let receiver = Receiver::start();
    let mut node = crate::node(
        &receiver,
        &[("CHAT_LIMITS__MESSAGES_PER_SECOND", "0"), ("OTEL_BSP_SCHEDULE_DELAY", "10")],
    );
    let mut alice = Client::connect(node.address, "alice").await;
    let begun = Instant::now();
    let mut requests = 0;
    while metric(node.address, &format!("{DROPPED}{{reason=\"rate\"}}")).await == 0.0 {
        assert!(begun.elapsed() < PATIENCE, "{requests} requests were all recorded");
        for _ in 0..500 {
            alice.tell("Ping", json!({})).await;
        }
        alice.ok("Ping", json!({})).await;
        requests += 501;
    }
    let seconds = begun.elapsed().as_secs() + 2;
    let dropped = metric(node.address, &format!("{DROPPED}{{reason=\"rate\"}}")).await as u64;
    node.terminate();
    let recorded = receiver.all().iter().filter(|span| span["name"] == "Ping").count() as u64;
    assert_eq!(recorded + dropped, requests as u64);
    assert!(recorded <= 100 * seconds, "{recorded} spans in {seconds} s");
}
