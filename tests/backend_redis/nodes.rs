//! Several nodes on one Redis: one order for all, presence, leases and reaping.

use std::time::Duration;

use chatnode::backend::{Incarnation, Lease};
use chatnode::protocol::{RoomName, UserName};

use crate::support::backend::{Harness, room, room_name, seqs, user_name};
use crate::support::listener::eventually;
use crate::support::redis_server::RedisServer;

/// A node with a short lease.
async fn present(server: &RedisServer, name: &str) -> Harness {
    let node = Harness::redis(server, |config| {
        config.node.name = Some(name.into());
        config.node.lease = Duration::from_millis(1_500);
    })
    .await;
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
    node
}

async fn add(node: &Harness, room: &RoomName, user: &str) -> bool {
    node.backend.presence.add(room, &user_name(user), format!("+{user}").into()).await.unwrap()
}

async fn remove(node: &Harness, room: &RoomName, user: &str) -> bool {
    node.backend.presence.remove(room, &user_name(user), format!("-{user}").into()).await.unwrap()
}

/// The members as a node that keeps its lease sees them; the count must agree.
async fn members(node: &Harness, room: &RoomName) -> Vec<String> {
    node.backend.presence.renew().await.unwrap();
    let page = node.backend.presence.members(room, None, 5_000).await.unwrap();
    assert_eq!(page.count as usize, page.members.len());
    page.members.iter().map(ToString::to_string).collect()
}

/// Waits for a dead incarnation as the upkeep of a living node would.
async fn claim(node: &Harness) -> Incarnation {
    claim_beside(node, &[]).await
}

/// The same, while others renew their leases too.
async fn claim_beside(node: &Harness, others: &[&Harness]) -> Incarnation {
    loop {
        for alive in others.iter().chain([&node]) {
            assert_eq!(alive.backend.presence.renew().await.unwrap(), Lease::Kept);
        }
        if let Some(dead) = node.backend.presence.claim_expired().await.unwrap() {
            return dead;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn reap(node: &Harness, dead: &Incarnation) -> usize {
    let presence = &node.backend.presence;
    let mut reaped = 0;
    while let Some((room, users)) = presence.stale_members(dead).await.unwrap() {
        assert!(!users.is_empty() && users.len() <= 500);
        for user in users {
            presence.remove_stale_member(dead, &room, &user, format!("-{user}").into()).await.unwrap();
            reaped += 1;
        }
        presence.renew().await.unwrap();
    }
    presence.forget(dead).await.unwrap();
    reaped
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_hear_one_order() {
    let server = RedisServer::start();
    let tune = |config: &mut chatnode::config::Config| {
        config.redis.command_connections = 2;
        config.redis.subscriber_connections = 2;
    };
    let nodes = [Harness::redis(&server, tune).await, Harness::redis(&server, tune).await];
    let topics = [room("one"), room("two"), room("three")];
    for node in &nodes {
        for topic in &topics {
            node.subscribe(topic).await;
        }
    }
    let sent = nodes.iter().flat_map(|node| topics.iter().map(move |topic| (node, topic))).map(
        |(node, topic)| async move {
            for i in 0..100 {
                node.say(topic, &i.to_string()).await;
            }
        },
    );
    futures_util::future::join_all(sent).await;
    for topic in &topics {
        let log = nodes[0].log(topic).await;
        assert_eq!(seqs(&log), (1..=200).collect::<Vec<u64>>());
        for node in &nodes {
            assert_eq!(node.listener.messages(topic, 200).await, log);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_on_two_nodes_enters_with_the_first_and_leaves_with_the_last() {
    let server = RedisServer::start();
    let (one, two) = (present(&server, "one").await, present(&server, "two").await);
    let (name, topic) = (room_name("lobby"), room("lobby"));
    two.subscribe(&topic).await;
    assert!(add(&one, &name, "alice").await);
    assert!(!add(&two, &name, "alice").await);
    assert!(!remove(&one, &name, "alice").await);
    assert_eq!(members(&two, &name).await, ["alice"]);
    assert!(remove(&two, &name, "alice").await);
    assert!(members(&two, &name).await.is_empty());
    two.say(&topic, "end").await;
    two.listener.messages(&topic, 1).await;
    assert_eq!(two.listener.events(&topic), ["+alice", "-alice"]);
    let mut names: Vec<String> =
        one.backend.presence.nodes().await.unwrap().into_iter().map(|node| node.name).collect();
    names.sort();
    assert_eq!(names, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_a_dead_node_are_left_out_at_once_and_reaped_by_one_other() {
    let server = RedisServer::start();
    let (dead, one, two) =
        (present(&server, "dead").await, present(&server, "one").await, present(&server, "two").await);
    let (lobby, other) = (room_name("lobby"), room_name("other"));
    one.subscribe(&room("lobby")).await;
    for i in 0..1_100 {
        add(&dead, &lobby, &format!("ghost {i}")).await;
    }
    add(&dead, &other, "ghost").await;
    add(&dead, &lobby, "both").await;
    add(&one, &lobby, "both").await;
    add(&one, &lobby, "alive").await;
    eventually("the dead are left out", || async { members(&one, &lobby).await == ["alive", "both"] }).await;
    // Pages and counts agree while the ghosts are still in the store.
    let page = one.backend.presence.members(&lobby, None, 1).await.unwrap();
    assert_eq!((page.count, page.members, page.more), (2, vec![user_name("alive")], true));
    let page = one.backend.presence.members(&lobby, Some(&user_name("alive")), 1).await.unwrap();
    assert_eq!((page.count, page.members, page.more), (2, vec![user_name("both")], false));

    let incarnation = claim(&one).await;
    assert_eq!(two.backend.presence.claim_expired().await.unwrap(), None, "one reaper is enough");
    assert_eq!(dead.backend.presence.renew().await.unwrap(), Lease::Lost, "it is too late to come back");
    assert_eq!(reap(&one, &incarnation).await, 1_102);
    assert_eq!(members(&one, &lobby).await, ["alive", "both"]);
    assert!(members(&one, &other).await.is_empty());
    one.say(&room("lobby"), "end").await;
    one.listener.messages(&room("lobby"), 1).await;
    let events = one.listener.events(&room("lobby"));
    assert!(!events.contains(&"-both".to_owned()), "another node has that user");
    assert_eq!(events.iter().filter(|event| *event == "-ghost 7").count(), 1);
    two.backend.presence.renew().await.unwrap();
    assert_eq!(one.backend.presence.nodes().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_lease_comes_back_with_all_its_users_and_nobody_is_told() {
    let server = RedisServer::start();
    let (stalled, other) = (present(&server, "stalled").await, present(&server, "other").await);
    let (name, topic, alice) = (room_name("lobby"), room("lobby"), user_name("alice"));
    other.subscribe(&topic).await;
    add(&stalled, &name, "alice").await;
    let dead = claim(&other).await;
    assert_eq!(stalled.backend.presence.renew().await.unwrap(), Lease::Lost);
    // Under the old incarnation, before it knows: found by the reaper all the same.
    add(&stalled, &name, "late").await;
    stalled.backend.presence.reincarnate().await.unwrap();
    let all: [(RoomName, UserName); 2] = [(name.clone(), alice), (name.clone(), user_name("late"))];
    stalled.backend.presence.restore_members(&all).await.unwrap();
    assert_eq!(stalled.backend.presence.renew().await.unwrap(), Lease::Kept);
    assert_eq!(reap(&other, &dead).await, 2);
    stalled.backend.presence.renew().await.unwrap();
    assert_eq!(members(&other, &name).await, ["alice", "late"]);
    other.say(&topic, "end").await;
    other.listener.messages(&topic, 1).await;
    assert_eq!(other.listener.events(&topic), ["+alice", "+late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_exact_when_leases_vanished() {
    let server = RedisServer::start();
    let (one, two) = (present(&server, "one").await, present(&server, "two").await);
    let name = room_name("lobby");
    add(&one, &name, "alice").await;
    add(&two, &name, "bob").await;
    let two_is = two.backend.presence.nodes().await.unwrap();
    let two_is = two_is.into_iter().find(|node| node.name == "two").unwrap().incarnation;
    assert_eq!(server.command(&["ZREM", "chat:leases", &two_is]).unwrap(), "1");
    assert_eq!(members(&one, &name).await, ["alice"]);
    assert_eq!(two.backend.presence.renew().await.unwrap(), Lease::Lost);
    two.backend.presence.reincarnate().await.unwrap();
    two.backend.presence.restore_members(&[(name.clone(), user_name("bob"))]).await.unwrap();
    assert_eq!(members(&one, &name).await, ["alice", "bob"]);
    // What the vanished one held is found and ends without a word.
    let dead = claim_beside(&one, &[&two]).await;
    assert_eq!(dead.0, two_is);
    assert_eq!(reap(&one, &dead).await, 1);
    two.backend.presence.renew().await.unwrap();
    assert_eq!(members(&one, &name).await, ["alice", "bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_redis_makes_nodes_enter_all_again() {
    let mut server = RedisServer::start_durable();
    let node = Harness::redis(&server, |_| {}).await;
    let (name, alice) = (room_name("lobby"), user_name("alice"));
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
    add(&node, &name, "alice").await;
    server.restart();
    // It may have come back with less than it had: even with a lease that stands.
    eventually("it answers", || async { node.backend.presence.nodes().await.is_ok() }).await;
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Lost);
    node.backend.presence.reincarnate().await.unwrap();
    node.backend.presence.restore_members(&[(name.clone(), alice)]).await.unwrap();
    assert_eq!(members(&node, &name).await, ["alice"]);
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_is_forgotten_and_one_that_left_users_behind_is_reaped_at_once() {
    let server = RedisServer::start();
    let (clean, hasty, other) =
        (present(&server, "clean").await, present(&server, "hasty").await, present(&server, "other").await);
    let name = room_name("lobby");
    add(&clean, &name, "alice").await;
    remove(&clean, &name, "alice").await;
    add(&hasty, &name, "bob").await;
    clean.backend.presence.release().await.unwrap();
    hasty.backend.presence.release().await.unwrap();
    let nodes = other.backend.presence.nodes().await.unwrap();
    assert!(nodes.iter().all(|node| node.name != "clean"), "{nodes:?}");
    assert!(members(&other, &name).await.is_empty());
    let dead = other.backend.presence.claim_expired().await.unwrap().unwrap();
    assert_eq!(reap(&other, &dead).await, 1);
    assert_eq!(other.backend.presence.nodes().await.unwrap().len(), 1);
}
