//! The consistency of the files in `deploy/`: every alert has a test and a section in the handbook, every query uses metrics
//! that a node exports, and copies are equal.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::process::project;

fn read(path: &str) -> String {
    std::fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names after `- alert:` in the rules.
fn alerts() -> Vec<String> {
    let rules = read("deploy/prometheus/rules/chatnode.yml");
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

/// Every query of the dashboard.
pub fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/dashboards/chatnode.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert!(queries.len() > 30, "{} queries", queries.len());
    queries
}

#[test]
fn every_alert_has_a_test_and_a_handbook_section() {
    let tests = read("deploy/prometheus/rules_test.yml");
    let handbook = read("docs/operations.md");
    let alerts = alerts();
    assert!(alerts.len() > 20, "{alerts:?}");
    for alert in alerts {
        let fires = format!("alertname: {alert}\n        exp_alerts:\n          - exp_labels:");
        assert!(tests.contains(&fires), "{alert} does not fire in rules_test.yml");
        let silent = format!("alertname: {alert}, exp_alerts: []");
        assert!(tests.contains(&silent), "{alert} is never silent in rules_test.yml");
        assert!(
            handbook.contains(&format!("\n### {alert}\n")),
            "docs/operations.md has no section on {alert}"
        );
    }
}

#[test]
fn alerts_pass_their_tests() {
    let folder = project("deploy/prometheus");
    for arguments in [&["check", "config", "prometheus.yml"], &["test", "rules", "rules_test.yml"]] {
        let output = Command::new("promtool").args(arguments).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{}{}", str(&output.stdout), str(&output.stderr));
    }
}

#[test]
fn kubernetes_gives_redis_the_same_file() {
    assert_eq!(read("deploy/kubernetes/with-redis/redis.conf"), read("deploy/redis/redis.conf"));
}

#[tokio::test]
async fn alerts_and_dashboard_use_only_exported_metrics() {
    let cluster = Cluster::start(1, &[]).await;
    let exported = cluster.metrics(0).await;
    let metrics: BTreeSet<&str> = exported.lines().filter_map(|line| line.split([' ', '{']).next()).collect();
    let rules = read("deploy/prometheus/rules/chatnode.yml");
    let asked = rules
        .lines()
        .filter(|line| line.contains("job=\"chat\""))
        .map(str::to_owned)
        .chain(dashboard_queries());
    for query in asked {
        for word in query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with("chat_") || word.starts_with("process_") {
                assert!(metrics.contains(word), "no node exports {word}: {query}");
            }
        }
    }
    // And every metric of a node is on the dashboard.
    let dashboard = read("deploy/grafana/dashboards/chatnode.json");
    for name in metrics.iter().filter(|name| name.starts_with("chat_")) {
        assert!(
            dashboard.contains(name.trim_end_matches("_sum").trim_end_matches("_count")),
            "the dashboard does not show {name}"
        );
    }
}

fn str(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
