//! The program under test. Owns how it is started and ended, and how its report is read. Used by all tests.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// Much longer than any run, also on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the program left behind.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub output: String,
    pub errors: String,
}

/// Runs the program.
pub async fn bench(args: &[&str]) -> Finished {
    bench_with(args, &[]).await
}

/// Runs it with variables.
pub async fn bench_with(args: &[&str], variables: &[(&str, &str)]) -> Finished {
    let child = Command::new(env!("CARGO_BIN_EXE_chatnode-bench"))
        .args(args)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let output =
        timeout(PATIENCE, child.wait_with_output()).await.expect("the program does not end").unwrap();
    Finished {
        code: output.status.code().unwrap(),
        output: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The report of a short run of a scenario.
pub async fn report(scenario: &str, nodes: &[SocketAddr], args: &[&str]) -> (i32, Value) {
    let urls: Vec<String> = nodes.iter().map(|node| format!("--url=ws://{node}/")).collect();
    // All nodes in this process have the same metrics.
    let mut all = vec![scenario, "--json", "--warmup=0.1", "--timeout=30"];
    for (option, default) in [("--duration", "--duration=1"), ("--metrics-url", "--no-metrics")] {
        if !args.iter().any(|arg| arg.starts_with(option)) {
            all.push(default);
        }
    }
    all.extend(urls.iter().map(String::as_str));
    all.extend(args);
    let finished = bench(&all).await;
    let report = serde_json::from_str(&finished.output);
    (finished.code, report.unwrap_or_else(|error| panic!("{error}: {finished:?}")))
}

/// A figure of a report; 0 if it has none.
pub fn figure(report: &Value, name: &str) -> f64 {
    report["figures"][name]["value"].as_f64().unwrap_or(0.0)
}

/// All is well, or at least as well as it can be on a machine that is busy with other work.
pub fn assert_right(code: i32, report: &Value) {
    let expected = if report["generator_is_the_limit"] == true { 3 } else { 0 };
    assert_eq!(code, expected, "{report:#}");
    assert_eq!(report["faults"].as_array().unwrap().len(), 0, "{report:#}");
    assert_eq!(figure(report, "errors"), 0.0, "{report:#}");
}
