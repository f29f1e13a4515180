//! The stories, each told in front of every balancer with a cluster of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::balancer::{Balancer, Kind};
use crate::cluster::Cluster;
use crate::crowd::{Crowd, source};
use crate::person::connect;
use crate::process::until;

/// The longest time-out in any balancer's file, and then some.
const PAST_EVERY_TIME_OUT: Duration = Duration::from_secs(66);

/// Longer than anything takes that happens at all.
const WHILE: Duration = Duration::from_secs(30);

/// Each story in front of each balancer is a test of its own.
macro_rules! stories {
    ($($story:ident)*) => {
        mod haproxy { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::$story(super::Kind::Haproxy).await; })* }
        mod nginx { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::$story(super::Kind::Nginx).await; })* }
        #[cfg(feature = "all-balancers")]
        mod traefik { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::$story(super::Kind::Traefik).await; })* }
        #[cfg(feature = "all-balancers")]
        mod envoy { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { super::$story(super::Kind::Envoy).await; })* }
    };
}

stories! {
    clients_are_spread_and_stay_past_every_timeout
    rolling_restart_under_load_loses_nothing
    clients_of_a_killed_node_are_back_within_5_seconds
    nodes_are_added_and_removed_under_load
    forged_x_forwarded_for_is_not_trusted
}

async fn clients_are_spread_and_stay_past_every_timeout(kind: Kind) {
    let cluster = Cluster::start(3, &[]).await;
    let balancer = Balancer::start(kind, &cluster).await;
    let crowd = Crowd::comes(balancer.address, 300).await;

    let connections = settled(&cluster, 300.0).await;
    // Envoy counts a connection only once it is open, and these come all at once.
    let fair = if kind == Kind::Envoy { 50.0..=150.0 } else { 80.0..=120.0 };
    assert!(connections.iter().all(|count| fair.contains(count)), "{connections:?}");
    println!("{kind:?}: {connections:?}");

    let start = Instant::now();
    // Nobody says a word. The time itself is the story.
    tokio::time::sleep(PAST_EVERY_TIME_OUT).await;
    assert_eq!(crowd.ended_since(start), []);
    crowd.talks();
    until("a few words", WHILE, || async { crowd.said_at_least(60).then_some(()) }).await;
    crowd.ends_with_nothing_lost().await;
    assert_eq!(crowd.ended_since(start), []);
}

async fn rolling_restart_under_load_loses_nothing(kind: Kind) {
    let mut cluster = Cluster::start(3, &[]).await;
    let balancer = Balancer::start(kind, &cluster).await;
    let crowd = Crowd::comes(balancer.address, 300).await;
    crowd.talks();
    for node in 0..3 {
        let start = Instant::now();
        cluster.stop_node(node).await;
        let ended = crowd.ended_since(start);
        assert!(ended.iter().all(|(_, code)| *code == Some(1012)), "a drain says so: {ended:?}");
        cluster.start_node(node).await;
        balancer.leads_to_all(&cluster).await;
        let back = everybody_is_back(&crowd, start).await;
        let busiest = busiest_second(&back);
        println!("{kind:?}: {} came back, {busiest} of them in the busiest second", ended.len());
        assert!(
            busiest * 10 <= ended.len() * 4,
            "reconnects are spread: {busiest} of {} in a second",
            ended.len()
        );
    }
    crowd.ends_with_nothing_lost().await;
}

async fn clients_of_a_killed_node_are_back_within_5_seconds(kind: Kind) {
    let mut cluster = Cluster::start(3, &[]).await;
    let balancer = Balancer::start(kind, &cluster).await;
    let crowd = Crowd::comes(balancer.address, 300).await;
    crowd.talks();
    until("a lively talk", WHILE, || async { crowd.said_at_least(150).then_some(()) }).await;
    let start = Instant::now();
    cluster.kill_node(1).await;
    let mut took: Vec<Duration> =
        everybody_is_back(&crowd, start).await.into_iter().map(|when| when - start).collect();
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    println!("{kind:?}: {} were on the killed node; 99 % caught up elsewhere within {p99:?}", took.len());
    assert!(p99 <= Duration::from_secs(5), "{p99:?}");
    crowd.ends_with_nothing_lost().await;
}

async fn nodes_are_added_and_removed_under_load(kind: Kind) {
    // HAProxy finds new nodes by DNS, as with `--scale chat=5`; the other files name three, of which one is away at first.
    let (few, many) = if kind == Kind::Haproxy { (3, 5) } else { (2, 3) };
    let mut cluster = Cluster::start(few, &[]).await;
    let balancer = Balancer::start(kind, &cluster).await;
    let mut crowd = Crowd::comes(balancer.address, 150).await;
    crowd.talks();
    for node in few..many {
        cluster.start_node(node).await;
    }
    balancer.leads_to_all(&cluster).await;
    crowd.grows(150).await;
    crowd.talks();
    let connections = cluster.connections().await;
    assert!(
        connections[few..].iter().all(|count| *count >= 20.0),
        "new nodes take their share: {connections:?}"
    );
    let start = Instant::now();
    for node in few..many {
        cluster.stop_node(node).await;
    }
    everybody_is_back(&crowd, start).await;
    settled(&cluster, 300.0).await;
    crowd.ends_with_nothing_lost().await;
}

async fn forged_x_forwarded_for_is_not_trusted(kind: Kind) {
    let cluster = Cluster::start(3, &[("CHAT_LIMITS__MAX_CONNECTIONS_PER_ADDRESS", "2")]).await;
    let balancer = Balancer::start(kind, &cluster).await;

    // Two on each of three nodes; a claim of another address each time gets a stranger no further.
    let stranger = source(0);
    assert_eq!(admitted(stranger, balancer.address, 20).await, 6);
    // The balancer tells the nodes who really connects: others are not taken for the stranger, nor for each other.
    for number in 1..=30 {
        assert_eq!(admitted(source(number), balancer.address, 1).await, 1, "{}", source(number));
    }
    // Past the balancer, from an address that nobody trusts.
    let node = SocketAddr::from((Cluster::address(0), cluster.port));
    assert_eq!(admitted(source(99), node, 20).await, 2);
}

/// Connections by node, once all of them together are so many (a node hears of a lost one a moment later).
async fn settled(cluster: &Cluster, all: f64) -> Vec<f64> {
    until("every connection is counted", WHILE, || async {
        let connections = cluster.connections().await;
        (connections.iter().sum::<f64>() == all).then_some(connections)
    })
    .await
}

/// When those who lost a node since a moment had caught up, all of them.
async fn everybody_is_back(crowd: &Crowd, start: Instant) -> Vec<Instant> {
    until("everybody is back", WHILE, || async {
        let back = crowd.back_since(start);
        // A node has a share of the people, or the story is about nothing.
        if back.len() < 40 { None } else { back.into_iter().collect() }
    })
    .await
}

/// How many of so many connections, held open together, are let into a room; each claims to come from elsewhere.
async fn admitted(from: Ipv4Addr, address: SocketAddr, tries: u8) -> usize {
    let mut open = Vec::new();
    for number in 0..tries {
        let claim = format!("203.0.113.{number}");
        let Some(mut socket) = connect(from, address, Some(("x-forwarded-for", &claim))).await else {
            continue;
        };
        let enter =
            json!({ "message_type": "Enter", "id": "e", "message_body": { "sender_username": "somebody" } });
        let _refused_is_read_below = socket.send(Message::text(enter.to_string())).await;
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(Duration::from_secs(5), socket.next()).await {
            let Message::Text(text) = frame else { break };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["id"] == "e" {
                open.push(socket);
                break;
            }
        }
    }
    open.len()
}

/// The most moments within any one second.
fn busiest_second(moments: &[Instant]) -> usize {
    let within = |start: &Instant| {
        moments.iter().filter(|when| **when >= *start && **when - *start < Duration::from_secs(1)).count()
    };
    moments.iter().map(within).max().unwrap_or(0)
}
