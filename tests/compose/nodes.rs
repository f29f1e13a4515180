//! What an operator does to nodes while clients talk: more and fewer of them, stop, kill, pause, restart, a broken network, another
//! version. Owns the steps and what clients notice; told by `stories` on one cluster after the other.

use std::time::{Duration, Instant};

use crate::group::Group;
use crate::images;
use crate::project::{Node, Project};
use crate::until::{PATIENCE, until};

/// How long a node is cut off or paused.
const AWAY: Duration = Duration::from_secs(20);

/// Longer than a drain may take.
const DRAIN: Duration = Duration::from_secs(45);

pub async fn clients_are_spread(project: &Project, group: &Group) {
    let nodes = all_are_ready(project, 3).await;
    let (connections, _) = until("every connection is counted", PATIENCE, || async {
        let connections = connections(&nodes).await;
        (connections.iter().sum::<usize>() == group.size()).then_some(connections)
    })
    .await;
    println!("connections: {connections:?}");
    let fair = group.size() / 3 / 2;
    assert!(connections.iter().all(|count| *count >= fair), "{connections:?}");
    group.has_lost_nothing().await;
}

pub async fn nodes_are_added_and_removed(project: &Project, group: &mut Group) {
    let start = Instant::now();
    let old = project.nodes().await;
    project.compose("up -d --no-recreate --scale chat=5").await;
    let nodes = all_are_ready(project, 5).await;
    group.add(24).await;
    let (connections, _) = until("new nodes get clients", PATIENCE, || async {
        let connections = connections(&nodes).await;
        let fresh = nodes.iter().zip(&connections).filter(|(node, _)| !old.contains(node));
        fresh.clone().all(|(_, count)| *count > 0).then(|| connections.clone())
    })
    .await;
    println!("connections on five nodes: {connections:?}");
    assert_eq!(group.is_back_since(start).await, [], "nobody is disturbed");
    project.compose("up -d --no-recreate --scale chat=2").await;
    all_are_ready(project, 2).await;
    report("five to two", &group.is_back_since(start).await);
    group.has_lost_nothing().await;
    project.compose("up -d --no-recreate --scale chat=3").await;
    all_are_ready(project, 3).await;
}

pub async fn node_is_stopped_and_started(project: &Project, group: &Group) {
    let (node, start) = (busiest(project).await, Instant::now());
    docker(project, &["stop", "-t", "45", &node.id]).await;
    assert!(start.elapsed() < DRAIN);
    report("stop", &group.is_back_since(start).await);
    docker(project, &["start", &node.id]).await;
    all_are_ready(project, 3).await;
    group.has_lost_nothing().await;
}

pub async fn node_is_killed_and_started(project: &Project, group: &Group) {
    let (node, start) = (busiest(project).await, Instant::now());
    docker(project, &["kill", &node.id]).await;
    let times = group.is_back_since(start).await;
    report("kill", &times);
    assert!(times.last().is_some_and(|longest| *longest <= Duration::from_secs(5)), "{times:?}");
    docker(project, &["start", &node.id]).await;
    all_are_ready(project, 3).await;
    group.has_lost_nothing().await;
}

pub async fn node_is_paused(project: &Project, group: &Group) {
    let (node, start) = (busiest(project).await, Instant::now());
    docker(project, &["pause", &node.id]).await;
    // The story is about the time itself.
    tokio::time::sleep(AWAY).await;
    docker(project, &["unpause", &node.id]).await;
    all_are_ready(project, 3).await;
    report("pause", &group.is_back_since(start).await);
    group.has_lost_nothing().await;
}

pub async fn node_is_restarted(project: &Project, group: &Group) {
    let (node, start) = (busiest(project).await, Instant::now());
    docker(project, &["restart", "-t", "45", &node.id]).await;
    all_are_ready(project, 3).await;
    report("restart", &group.is_back_since(start).await);
    group.has_lost_nothing().await;
}

/// Its network loses every packet, and then no more.
pub async fn node_is_cut_off(project: &Project, group: &Group) {
    let (node, start) = (busiest(project).await, Instant::now());
    let cables = project.cables(&node);
    assert_eq!(cables.len(), 3, "one for each network");
    for cable in &cables {
        link(&["set", "dev", cable, "down"]);
    }
    // The story is about the time itself.
    tokio::time::sleep(AWAY).await;
    for cable in &cables {
        link(&["set", "dev", cable, "up"]);
    }
    all_are_ready(project, 3).await;
    report("cut off", &group.is_back_since(start).await);
    group.has_lost_nothing().await;
}

pub async fn nodes_are_replaced_as_the_handbook_says(project: &Project, group: &Group) {
    let start = Instant::now();
    let old = project.nodes().await;
    // This machine can't have the image that builds the program.
    let lines = project.handbook("docker compose build chat\n");
    let (_, lines) = lines.split_once('\n').unwrap();
    images::build_node(&project.engine, &project.image_of_nodes(), "second");
    project.shell(lines).await;
    let new = all_are_ready(project, 3).await;
    assert!(new.iter().all(|node| !old.iter().any(|old| old.id == node.id)), "{old:?} and {new:?}");
    for node in &new {
        let revision = "{{index .Config.Labels \"org.opencontainers.image.revision\"}}";
        let revision = docker(project, &["inspect", "--format", revision, &node.id]).await;
        assert_eq!(revision.trim(), "second");
    }
    report("upgrade", &group.is_back_since(start).await);
    group.has_lost_nothing().await;
}

/// Waits until there are so many nodes, all are ready, and HAProxy sends clients to them.
pub async fn all_are_ready(project: &Project, count: usize) -> Vec<Node> {
    until(&format!("{count} nodes are ready"), PATIENCE, || async {
        let nodes = project.nodes().await;
        for node in &nodes {
            if !node.is_ready().await {
                return None;
            }
        }
        (nodes.len() == count && project.nodes_of_haproxy().await == Some(count)).then_some(nodes)
    })
    .await
    .0
}

/// How long clients were away.
pub fn report(what: &str, times: &[Duration]) {
    println!(
        "{what}: {} clients were away, for up to {:.1?}",
        times.len(),
        times.last().unwrap_or(&Duration::ZERO)
    );
}

async fn connections(nodes: &[Node]) -> Vec<usize> {
    let mut connections = Vec::new();
    for node in nodes {
        connections.push(node.connections().await.unwrap_or(0));
    }
    connections
}

/// The node with the most clients.
async fn busiest(project: &Project) -> Node {
    let nodes = all_are_ready(project, 3).await;
    let (connections, _) = until("every node has clients", PATIENCE, || async {
        let connections = connections(&nodes).await;
        (*connections.iter().max().unwrap() > 5).then_some(connections)
    })
    .await;
    let most = (0..nodes.len()).max_by_key(|node| connections[*node]).unwrap();
    nodes[most].clone()
}

/// `docker ARGUMENTS`, while clients go on.
async fn docker(project: &Project, arguments: &[&str]) -> String {
    tokio::task::block_in_place(|| project.engine.docker(arguments))
}

fn link(arguments: &[&str]) {
    assert!(std::process::Command::new("ip").arg("link").args(arguments).status().unwrap().success());
}
