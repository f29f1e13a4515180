//! Behaviour behind a balancer: load, restarts, failures, scaling and addresses. Each test runs with every balancer and its own
//! cluster.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::balancer::{Balancer, Kind};
use crate::client::{Socket, enter};
use crate::clients::{Clients, source};
use crate::cluster::Cluster;
use crate::process::until;

/// Longer than the longest timeout in the file of any balancer.
const PAST_EVERY_TIME_OUT: Duration = Duration::from_secs(66);

/// The longest time that a test waits for a condition.
pub const PATIENCE: Duration = Duration::from_secs(30);

crate::balancer::on_each_balancer! {
    clients_are_spread_and_stay_past_every_timeout
    rolling_restart_under_load_loses_nothing
    clients_of_a_killed_node_are_back_within_5_seconds
    nodes_are_added_and_removed_under_load
    forged_x_forwarded_for_is_not_trusted
}

async fn clients_are_spread_and_stay_past_every_timeout(kind: Kind) {
    let cluster = Cluster::start(3, &[]).await;
    let balancer = Balancer::start(kind, &cluster).await;
    let clients = Clients::connect(balancer.address, 300).await;

    let connections = settled(&cluster, 300.0).await;
    // Envoy counts a connection only once it is open, and all clients connect at once.
    let fair = if kind == Kind::Envoy { 50.0..=150.0 } else { 80.0..=120.0 };
    assert!(connections.iter().all(|count| fair.contains(count)), "{connections:?}");
    println!("{kind:?}: {connections:?}");

    let start = Instant::now();
    // No client sends anything. The test is about the time itself.
    tokio::time::sleep(PAST_EVERY_TIME_OUT).await;
    assert_eq!(clients.ended_since(start), []);
    clients.start_talking();
    until("some messages are stored", PATIENCE, || async { clients.has_stored(60).then_some(()) }).await;
    clients.finish_without_loss().await;
    assert_eq!(clients.ended_since(start), []);
}

async fn rolling_restart_under_load_loses_nothing(kind: Kind) {
    let mut cluster = Cluster::start(3, &[]).await;
    let balancer = Balancer::start(kind, &cluster).await;
    let clients = Clients::connect(balancer.address, 300).await;
    clients.start_talking();
    for node in 0..3 {
        let start = Instant::now();
        cluster.stop_node(node).await;
        let ended = clients.ended_since(start);
        assert!(ended.iter().all(|(_, code)| *code == Some(4012)), "a drain closes with 4012: {ended:?}");
        cluster.start_node(node).await;
        balancer.reaches_all(&cluster).await;
        let back = all_returned(&clients, start).await;
        let busiest = busiest_second(&back);
        println!("{kind:?}: {} clients returned, {busiest} of them in the busiest second", ended.len());
        assert!(
            busiest * 10 <= ended.len() * 4,
            "reconnects are spread: {busiest} of {} in a second",
            ended.len()
        );
    }
    clients.finish_without_loss().await;
}

async fn clients_of_a_killed_node_are_back_within_5_seconds(kind: Kind) {
    let mut cluster = Cluster::start(3, &[]).await;
    let balancer = Balancer::start(kind, &cluster).await;
    let clients = Clients::connect(balancer.address, 300).await;
    clients.start_talking();
    until("many messages are stored", PATIENCE, || async { clients.has_stored(150).then_some(()) }).await;
    let start = Instant::now();
    cluster.kill_node(1).await;
    let mut took: Vec<Duration> =
        all_returned(&clients, start).await.into_iter().map(|when| when - start).collect();
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    println!("{kind:?}: {} clients of the killed node, 99 % caught up within {p99:?}", took.len());
    assert!(p99 <= Duration::from_secs(5), "{p99:?}");
    clients.finish_without_loss().await;
}

async fn nodes_are_added_and_removed_under_load(kind: Kind) {
    // HAProxy finds new nodes by DNS, as with `--scale chat=5`. The other files name three nodes, of which one starts later.
    let (few, many) = if kind == Kind::Haproxy { (3, 5) } else { (2, 3) };
    let mut cluster = Cluster::start(few, &[]).await;
    let balancer = Balancer::start(kind, &cluster).await;
    let mut clients = Clients::connect(balancer.address, 150).await;
    clients.start_talking();
    for node in few..many {
        cluster.start_node(node).await;
    }
    balancer.reaches_all(&cluster).await;
    clients.add(150).await;
    clients.start_talking();
    let connections = cluster.connections().await;
    assert!(
        connections[few..].iter().all(|count| *count >= 20.0),
        "new nodes get their share: {connections:?}"
    );
    let start = Instant::now();
    for node in few..many {
        cluster.stop_node(node).await;
    }
    all_returned(&clients, start).await;
    settled(&cluster, 300.0).await;
    clients.finish_without_loss().await;
}

async fn forged_x_forwarded_for_is_not_trusted(kind: Kind) {
    let cluster = Cluster::start(3, &[("CHAT_LIMITS__MAX_CONNECTIONS_PER_ADDRESS", "2")]).await;
    let balancer = Balancer::start(kind, &cluster).await;

    // Two connections on each of three nodes. Forging another address each time does not help.
    let attacker = source(0);
    let mut open = Vec::new();
    let start = Instant::now();
    // HAProxy gives a new node few connections at first, and a refused client leaves none: so this takes more tries.
    while open.len() < 6 && start.elapsed() < PATIENCE {
        open.extend(admitted(attacker, balancer.address, 1).await);
    }
    open.extend(admitted(attacker, balancer.address, 20).await);
    assert_eq!(open.len(), 6);
    // The balancer passes the real addresses on, so that the nodes do not confuse other clients with the attacker.
    for number in 1..=30 {
        assert_eq!(admitted(source(number), balancer.address, 1).await.len(), 1, "{}", source(number));
    }
}

/// Connections by node, once their sum is as expected. (A node notices a lost connection a moment later.)
async fn settled(cluster: &Cluster, all: f64) -> Vec<f64> {
    until("every connection is counted", PATIENCE, || async {
        let connections = cluster.connections().await;
        (connections.iter().sum::<f64>() == all).then_some(connections)
    })
    .await
}

/// When each client that lost its connection after `start` had caught up again, once all have.
async fn all_returned(clients: &Clients, start: Instant) -> Vec<Instant> {
    until("all clients have returned", PATIENCE, || async {
        let back = clients.returned_since(start);
        // A node must have had its share of the clients, or this test proves nothing.
        if back.len() < 40 { None } else { back.into_iter().collect() }
    })
    .await
}

/// The connections, of so many at the same time, that can enter a room. Each one forges another address.
async fn admitted(from: Ipv4Addr, address: SocketAddr, tries: u8) -> Vec<Socket> {
    let mut open = Vec::new();
    for number in 0..tries {
        let claim = format!("203.0.113.{number}");
        open.extend(enter(from, address, Some(("x-forwarded-for", &claim))).await);
    }
    open
}

/// The largest number of these moments within one second.
fn busiest_second(moments: &[Instant]) -> usize {
    let within = |start: &Instant| {
        moments.iter().filter(|when| **when >= *start && **when - *start < Duration::from_secs(1)).count()
    };
    moments.iter().map(within).max().unwrap_or(0)
}
