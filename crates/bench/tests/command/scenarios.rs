//! Each scenario for about a second against real nodes: it carries out what it says, and its figures are there.

use std::time::Duration;

use super::bench::{assert_right, bench, figure, report};
use super::node::{KEY, Node, has_messages, metrics_server};

#[tokio::test(flavor = "multi_thread")]
async fn connect_opens_connections_at_the_rate() {
    let node = Node::start(|_| {}).await;
    let (code, report) = report("connect", &[node.address], &["--rate=50"]).await;
    assert_right(code, &report);
    assert_eq!(figure(&report, "connections"), 50.0);
    assert!(figure(&report, "p99") > 0.0 && figure(&report, "join.count") == 50.0, "{report:#}");
    assert!(figure(&report, "seconds") > 0.9, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_weighs_connections() {
    let node = Node::start(|_| {}).await;
    let metrics = metrics_server(10_000).await;
    let args = ["--connections=200", &format!("--metrics-url=http://{metrics}/")];
    let (code, report) = report("idle", &[node.address], &args).await;
    assert_right(code, &report);
    assert_eq!((figure(&report, "connections"), figure(&report, "messages")), (200.0, 0.0));
    // A MiB more with each look.
    assert_eq!(figure(&report, "node_memory_per_connection"), 1_048_576.0 / 200.0, "{report:#}");
    assert!(figure(&report, "node_cores") > 0.0, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fan_and_busy_reach_all_members() {
    let nodes = Node::start_all(2, |_| {}).await;
    let addresses = [nodes[0].address, nodes[1].address];
    let url = format!("--metrics-url=http://{}/metrics", metrics_server(10_000).await);
    for scenario in ["fan", "busy"] {
        let (code, report) =
            report(scenario, &addresses, &["--rooms=3", "--members=20", "--threads=2", &url]).await;
        assert_right(code, &report);
        assert_eq!((figure(&report, "connections"), figure(&report, "logs_checked")), (60.0, 60.0));
        let (messages, deliveries) = (figure(&report, "messages"), figure(&report, "deliveries"));
        assert!(messages > 0.0 && deliveries == 20.0 * messages, "{report:#}");
        assert!(figure(&report, "ack.p99") > 0.0 && figure(&report, "bench_cpu_per_delivery") > 0.0);
        // A second of CPU more with each look, of which there are several.
        let cores = figure(&report, "node_cores");
        let cpu = figure(&report, "node_cpu_per_delivery") * figure(&report, "deliveries_per_s");
        assert!(cores > 0.5 && (cpu / 1_000.0 / cores - 1.0).abs() < 0.01, "{report:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dm_reaches_both_users() {
    let nodes = Node::start_all(2, |_| {}).await;
    let (code, report) = report("dm", &[nodes[0].address, nodes[1].address], &["--pairs=10"]).await;
    assert_right(code, &report);
    let (messages, deliveries) = (figure(&report, "messages"), figure(&report, "deliveries"));
    assert!(messages > 0.0 && deliveries == 2.0 * messages, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn steady_keeps_the_rate_and_meets_expectations() {
    let node = Node::start(|_| {}).await;
    let args = ["--rate=100", "--rooms=4", "--members=5", "--expect=lost=0", "--expect=p99<60s"];
    let (code, steady) = report("steady", &[node.address], &args).await;
    assert_right(code, &steady);
    // With the time before it is measured.
    assert!(figure(&steady, "messages") > 50.0, "{steady:#}");
    assert!(figure(&steady, "lag.count") > 0.0, "{steady:#}");
    let (code, missed) =
        report("steady", &[node.address], &["--rate=50", "--rooms=1", "--expect=p99<1ns"]).await;
    assert_eq!(code, 1, "{missed:#}");
    assert_eq!(missed["expectations"][0]["met"], false, "{missed:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn storm_joins_all_at_once() {
    let node = Node::start(|_| {}).await;
    let (code, report) = report("storm", &[node.address], &["--connections=300", "--at-once=50"]).await;
    assert_right(code, &report);
    assert_eq!((figure(&report, "connections"), figure(&report, "join.count")), (300.0, 300.0));
    assert!(figure(&report, "connections_per_s") > 0.0, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn resume_gets_each_missed_message() {
    let nodes = Node::start_all(2, |_| {}).await;
    let args = ["--connections=100", "--rooms=5", "--missed=30"];
    let (code, report) = report("resume", &[nodes[0].address, nodes[1].address], &args).await;
    assert_right(code, &report);
    // The authors hear themselves.
    assert_eq!(figure(&report, "deliveries"), 100.0 * 30.0 + 5.0 * 31.0, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_users_write_type_and_come_back() {
    let nodes = Node::start_all(2, |_| {}).await;
    let args = ["--users=40", "--rate=100", "--churn=4", "--duration=3"];
    let (code, report) = report("mixed", &[nodes[0].address, nodes[1].address], &args).await;
    assert_right(code, &report);
    assert!(figure(&report, "returned") > 0.0, "{report:#}");
    assert!(figure(&report, "messages") > 100.0 && figure(&report, "events_per_s") > 0.0, "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn search_finds_a_load_and_prints_each_step() {
    let node = Node::start(|_| {}).await;
    let url = format!("--url=ws://{}/", node.address);
    let args = [
        "storm",
        "--connections=40",
        "--search=connections<70",
        "--timeout=30",
        "--no-metrics",
        "--warmup=0",
        &url,
    ];
    let finished = bench(&args).await;
    assert!([0, 3].contains(&finished.code), "{finished:?}");
    let found = finished.output.lines().find(|line| line.contains("holds up to")).unwrap();
    let found: f64 = found.split_whitespace().rev().nth(1).unwrap().parse().unwrap();
    assert!((60.0..70.0).contains(&found), "{finished:?}");
    assert!(finished.output.contains("40 connections: connections<70 holds (40)"), "{finished:?}");
    assert!(finished.output.contains("80 connections: connections<70 fails (80)"), "{finished:?}");
    // Nothing is low enough for this.
    let finished =
        bench(&["storm", "--connections=4", "--search=p50<1ns", "--no-metrics", "--json", "--quiet", &url])
            .await;
    let result: serde_json::Value = serde_json::from_str(&finished.output).unwrap();
    assert_eq!((finished.code, &result["found"]), (1, &serde_json::Value::Null), "{result:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_node_loses_nothing() {
    let mut nodes = Node::start_all(2, |config| config.auth.admin_key = Some(KEY.to_owned().into())).await;
    let addresses = [nodes[0].address, nodes[1].address];
    let draining = async {
        // In the middle of it: once there are messages.
        while !has_messages(addresses[1]).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        nodes[0].drain();
    };
    let args = ["--rate=50", "--rooms=2", "--members=4", "--duration=4"];
    let ((code, report), ()) = tokio::join!(report("steady", &addresses, &args), draining);
    assert_eq!(report["faults"].as_array().unwrap().len(), 0, "{report:#}");
    assert!([0, 3].contains(&code), "{report:#}");
    assert!(figure(&report, "closed") > 0.0 && figure(&report, "returned") > 0.0, "{report:#}");
    assert_eq!(figure(&report, "lost"), 0.0, "{report:#}");
    let reasons = report["reasons"].as_object().unwrap();
    assert!(reasons.keys().any(|reason| reason.contains("4012")), "{reasons:?}");
}
