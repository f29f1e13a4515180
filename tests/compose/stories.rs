//! The life of a cluster that `docker compose` runs, told once from its first start to its last: everything that an operator does to
//! it while clients talk. Owns the order of the stories, which share one cluster, and their bars; `nodes` and `services` tell them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::with_engine;
use crate::group::Group;
use crate::project::{PAGE, Project};
use crate::until::{PATIENCE, until};
use crate::{nodes, services};

/// Docker Compose v2 and v1.
pub const V2: &[&str] = &["docker", "compose"];
const V1: &[&str] = &["docker-compose"];

/// Clients at the start.
const CLIENTS: usize = 60;

/// One cluster at a time: the stories have bars for times.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn clients_lose_nothing_whatever_the_operator_does() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    with_engine("", |engine| async move {
        let project = Project::new(engine, V2);
        page_answers_after_up(&project).await;
        let mut group = Group::join(&url(), CLIENTS).await;
        tell("spread", nodes::clients_are_spread(&project, &group)).await;
        tell("Prometheus", services::prometheus_has_all_nodes(&project)).await;
        tell("scale", nodes::nodes_are_added_and_removed(&project, &mut group)).await;
        tell("stop", nodes::node_is_stopped_and_started(&project, &group)).await;
        tell("kill", nodes::node_is_killed_and_started(&project, &group)).await;
        tell("restart", nodes::node_is_restarted(&project, &group)).await;
        tell("pause", nodes::node_is_paused(&project, &group)).await;
        tell("partition", nodes::node_is_cut_off(&project, &group)).await;
        tell("Redis", services::redis_is_restarted(&project, &group)).await;
        tell("HAProxy, reloaded", services::haproxy_is_edited_and_reloaded(&project, &group)).await;
        tell("HAProxy, restarted", services::haproxy_is_restarted(&project, &group)).await;
        tell("upgrade", nodes::nodes_are_replaced_as_the_handbook_says(&project, &group)).await;
        tell("down and up", services::cluster_goes_down_and_up(&project, &group)).await;
        println!("{} messages to {} clients, no loss, no duplicate", group.stored(), group.size());
    });
}

#[test]
fn compose_v1_runs_the_same_file() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    with_engine("", |engine| async move {
        let project = Project::new(engine, V1);
        page_answers_after_up(&project).await;
        let mut group = Group::join(&url(), CLIENTS).await;
        tell("spread", nodes::clients_are_spread(&project, &group)).await;
        tell("scale", nodes::nodes_are_added_and_removed(&project, &mut group)).await;
        tell("HAProxy, reloaded", services::haproxy_is_edited_and_reloaded(&project, &group)).await;
        tell("down and up", services::cluster_goes_down_and_up(&project, &group)).await;
    });
}

/// Where the clients connect.
pub fn url() -> String {
    format!("ws://{PAGE}/")
}

/// Starts the cluster, and waits until the page answers.
pub async fn page_answers_after_up(project: &Project) {
    let start = Instant::now();
    project.compose("up -d").await;
    let up = start.elapsed();
    let (_, answers) = until("the page answers", PATIENCE, || project.shows_the_page()).await;
    println!("`up -d` took {up:.1?}, and the page answered {answers:.1?} later");
    assert!(answers <= Duration::from_secs(10), "{answers:?}");
}

async fn tell(name: &str, story: impl Future<Output = ()>) {
    let start = Instant::now();
    story.await;
    println!("{name}: {:.1?}", start.elapsed());
}
