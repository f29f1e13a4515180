//! Upgrades that nodes refuse, behind a balancer: what concerns one address disturbs nobody else, and every client learns when to
//! come back. Each test runs with every balancer and its own cluster.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::balancer::{Balancer, Kind, on_each_balancer};
use crate::clients::source;
use crate::cluster::Cluster;
use crate::http::{Answer, issue_token, upgrade};
use crate::stories::PATIENCE;

const KEY: &str = "Zq8-vnTt4-Lw2x-Rk7p";
const WRONG_TOKEN: &str = "1c9d6e3a-58b7-4f0e-9a44-7d1f0c2b6e85";

/// Longer than a balancer takes to notice that no node is ready.
const NOTICE: Duration = Duration::from_secs(4);

on_each_balancer! {
    address_over_its_bound_disturbs_nobody
    nodes_without_a_store_say_when_to_come_back
}

/// A cluster with authentication, and a token.
async fn cluster_with_tokens() -> (Cluster, String) {
    let cluster = Cluster::start(3, &[("CHAT_AUTH__ENABLED", "true"), ("CHAT_AUTH__ADMIN_KEY", KEY)]).await;
    let token = issue_token(cluster.operators(0), KEY, "alice").await;
    (cluster, token)
}

async fn address_over_its_bound_disturbs_nobody(kind: Kind) {
    let (cluster, token) = cluster_with_tokens().await;
    let balancer = Balancer::start(kind, &cluster).await;
    let too_many = || async { cluster.metric_of_all("chat_handshakes_total{result=\"too_many\"}").await };

    let attacker = source(0);
    let mut answers = BTreeMap::new();
    let start = Instant::now();
    while too_many().await.iter().any(|refused| *refused < 10.0) {
        assert!(start.elapsed() < PATIENCE, "not every node refuses: {answers:?}");
        for _ in 0..20 {
            *answers.entry(attack(attacker, balancer.address).await).or_insert(0_u32) += 1;
        }
        // Everybody else gets in at the first try, at whichever node.
        for number in 1..=3 {
            let answer = upgrade(source(number), balancer.address, &token).await;
            assert_eq!(answer.status, 101, "{answers:?}");
        }
    }
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [401, 429], "{answers:?}");
    let refused: f64 = too_many().await.iter().sum();
    assert_eq!(refused, f64::from(answers[&429]), "no balancer asks a second node");
    for node in 0..3 {
        assert!(cluster.is_ready(node).await);
    }
}

/// The status for a wrong token.
async fn attack(from: Ipv4Addr, address: SocketAddr) -> u16 {
    let answer = upgrade(from, address, WRONG_TOKEN).await;
    if answer.status == 429 {
        assert!(matches!(answer.retry_after, Some(1..=60)), "{answer:?}");
    }
    answer.status
}

async fn nodes_without_a_store_say_when_to_come_back(kind: Kind) {
    let (mut cluster, token) = cluster_with_tokens().await;
    let balancer = Balancer::start(kind, &cluster).await;
    assert_eq!(upgrade(source(1), balancer.address, &token).await.status, 101);
    cluster.kill_redis().await;

    // At first the nodes answer. When they are no longer ready, the balancer itself does.
    let start = Instant::now();
    let mut unready: Option<Instant> = None;
    let mut answers = Vec::new();
    while unready.is_none_or(|since| since.elapsed() < NOTICE) {
        assert!(start.elapsed() < PATIENCE, "the nodes are still ready");
        answers.push(upgrade(source(1), balancer.address, &token).await);
        let are_ready = [cluster.is_ready(0).await, cluster.is_ready(1).await, cluster.is_ready(2).await];
        if are_ready == [false; 3] {
            unready.get_or_insert_with(Instant::now);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let times: BTreeMap<_, u32> = answers.iter().fold(BTreeMap::new(), |mut times, answer| {
        *times.entry(answer.retry_after).or_default() += 1;
        times
    });
    println!("{kind:?}: {} answers, by Retry-After: {times:?}", answers.len());
    for Answer { status, retry_after } in answers {
        assert_eq!(status, 503);
        // Traefik sends no header of its own.
        assert!(
            matches!(retry_after, Some(1..=10)) || kind == Kind::Traefik && retry_after.is_none(),
            "{retry_after:?}"
        );
    }
    assert!(times.len() > 1, "clients come back at different times: {times:?}");
}
