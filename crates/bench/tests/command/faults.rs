//! Faults of a server that the checks must find, each by its own figure, and none where there is none.

use super::bench::{assert_right, bench, figure};
use super::fake_server::{Fault, start};

/// A short run with three members, of which the first one publishes.
async fn run(fault: Fault) -> (i32, serde_json::Value) {
    let address = start(fault).await;
    // One connection after the other, so that the order of the members is known. A schedule, so that a slow machine sends as much.
    let args = [
        "--rooms=1",
        "--members=3",
        "--at-once=1",
        "--threads=1",
        "--no-metrics",
        "--timeout=10",
        "--rate=100",
    ];
    let urls = format!("--url=ws://{address}/");
    let mut all = vec!["fan", "--json", "--duration=0.5", "--warmup=0.2", &urls];
    all.extend(args);
    let finished = bench(&all).await;
    let report = serde_json::from_str(&finished.output);
    (finished.code, report.unwrap_or_else(|error| panic!("{error}: {finished:?}")))
}

/// The run fails, with this figure and no other fault.
async fn assert_found(fault: Fault, name: &str) {
    let (code, report) = run(fault).await;
    assert_eq!(code, 1, "{fault:?}: {report:#}");
    assert_eq!(figure(&report, name), 1.0, "{fault:?}: {report:#}");
    let faults = report["faults"].as_array().unwrap();
    assert!(faults.len() == 1 && faults[0].as_str().unwrap().contains(name), "{fault:?}: {report:#}");
}

#[tokio::test]
async fn right_server_has_no_faults() {
    let (code, report) = run(Fault::Nothing).await;
    assert_right(code, &report);
    assert!(figure(&report, "messages") > 10.0, "{report:#}");
}

#[tokio::test]
async fn lost_message_is_found() {
    assert_found(Fault::Drops, "lost").await;
}

#[tokio::test]
async fn repeated_message_is_found() {
    assert_found(Fault::Repeats, "repeated").await;
}

#[tokio::test]
async fn swapped_messages_are_found() {
    assert_found(Fault::Swaps, "disordered").await;
}

#[tokio::test]
async fn altered_message_is_found() {
    assert_found(Fault::Alters, "altered").await;
}

#[tokio::test]
async fn misrouted_message_is_found() {
    assert_found(Fault::Misroutes, "misrouted").await;
}

#[tokio::test]
async fn second_ack_is_found() {
    assert_found(Fault::AcksTwice, "repeated_acks").await;
}

#[tokio::test]
async fn missing_ack_is_found() {
    assert_found(Fault::NeverAcks, "unanswered").await;
}

#[tokio::test]
async fn server_that_is_no_node_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        // Accepts, and ends the connection.
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let (url, fan) = (format!("--url=ws://{address}/"), ["fan", "--rooms=1", "--members=2", "--no-metrics"]);
    let finished = bench(&[&fan[..], &[&url]].concat()).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.errors.contains("could not join"), "{finished:?}");
}
