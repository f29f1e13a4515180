//! What an operator does to Redis, to HAProxy and to the whole cluster while clients talk. Owns the steps and what clients notice;
//! told by `stories` on one cluster after the other.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::group::Group;
use crate::http;
use crate::nodes::{all_are_ready, report};
use crate::project::{Project, STATISTICS};
use crate::until::{PATIENCE, until};

const PROMETHEUS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

pub async fn prometheus_has_all_nodes(project: &Project) {
    project.compose("--profile watch up -d --no-recreate prometheus").await;
    until("Prometheus has three nodes and HAProxy", PATIENCE, || async {
        assert_eq!(project.nodes().await.len(), 3);
        Some(up("chat").await? == "3" && up("haproxy").await? == "1").filter(|all| *all)
    })
    .await;
}

/// The number of targets of a job that Prometheus can scrape.
async fn up(job: &str) -> Option<String> {
    let query = http::encode(&format!("sum(up{{job=\"{job}\"}})"));
    let (_, body) = http::get(PROMETHEUS, &format!("/api/v1/query?query={query}")).await?;
    let answer: Value = serde_json::from_str(&body).ok()?;
    answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
}

pub async fn redis_is_restarted(project: &Project, group: &Group) {
    let start = Instant::now();
    project.compose("restart redis").await;
    all_are_ready(project, 3).await;
    group.has_lost_nothing().await;
    report("Redis", &group.is_back_since(start).await);
}

pub async fn haproxy_is_edited_and_reloaded(project: &Project, group: &Group) {
    let start = Instant::now();
    let file = project.file("deploy/haproxy/haproxy.cfg");
    let text = std::fs::read_to_string(&file).unwrap();
    // As most editors do it: the file is another one.
    let edited =
        text.replace("stats refresh 5s", "stats refresh 5s\n    stats show-node edited-by-the-operator");
    assert_ne!(edited, text);
    std::fs::write(file.with_extension("new"), edited).unwrap();
    std::fs::rename(file.with_extension("new"), &file).unwrap();
    project.shell(&project.handbook("docker compose exec -T haproxy")).await;
    until("HAProxy uses the edited file", PATIENCE, || async {
        let (_, page) = http::get(STATISTICS, "/").await?;
        page.contains("edited-by-the-operator").then_some(())
    })
    .await;
    group.has_lost_nothing().await;
    report("reload", &group.is_back_since(start).await);
}

pub async fn haproxy_is_restarted(project: &Project, group: &Group) {
    group.has_settled().await;
    let start = Instant::now();
    project.compose("restart haproxy").await;
    println!("`restart haproxy` took {:.1?}", start.elapsed());
    until("all clients notice", PATIENCE, || async {
        (group.losses_since(start) >= group.size()).then_some(())
    })
    .await;
    let times = group.is_back_since(start).await;
    report("HAProxy", &times);
    assert!(times.last().is_some_and(|longest| *longest <= Duration::from_secs(5)), "{times:?}");
    group.has_lost_nothing().await;
}

pub async fn cluster_goes_down_and_up(project: &Project, group: &Group) {
    let start = Instant::now();
    project.compose("down").await;
    let down = start.elapsed();
    println!("`down` took {down:.1?}");
    assert!(down <= Duration::from_secs(12), "{down:?}");
    let again = Instant::now();
    project.compose("up -d").await;
    until("the page answers", PATIENCE, || project.shows_the_page()).await;
    println!("the page answers {:.1?} after the start of `up`", again.elapsed());
    report("down and up", &group.is_back_since(start).await);
    // None of them is told that messages may be missing: the logs are as before.
    group.has_lost_nothing().await;
}
