//! Several nodes on one Redis: one order of messages, presence, leases, and the removal of a dead node's members.

use std::time::Duration;

use chatnode::backend::{Incarnation, Lease};
use chatnode::protocol::RoomName;
use tokio::time::Instant;

use crate::support::backend::{Harness, room, room_name, seqs, user_name};
use crate::support::listener::eventually;
use crate::support::redis_server::RedisServer;

/// Starts a node with a short lease.
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

/// Returns the members as a node with a running lease sees them. The count must agree.
async fn members(node: &Harness, room: &RoomName) -> Vec<String> {
    node.backend.presence.renew().await.unwrap();
    node.backend.presence.observe_leases(Instant::now()).await.unwrap();
    let page = node.backend.presence.members(room, None, 5_000).await.unwrap();
    assert_eq!(page.count as usize, page.members.len());
    page.members.iter().map(ToString::to_string).collect()
}

/// Waits for an expired incarnation and claims it, as the background task of a node does.
async fn claim(node: &Harness) -> Incarnation {
    claim_while_renewing(node, &[]).await
}

/// The same, while other nodes renew their leases too.
async fn claim_while_renewing(node: &Harness, others: &[&Harness]) -> Incarnation {
    loop {
        for other in others.iter().chain([&node]) {
            assert_eq!(other.backend.presence.renew().await.unwrap(), Lease::Kept);
        }
        node.backend.presence.observe_leases(Instant::now()).await.unwrap();
        if let Some(expired) = node.backend.presence.claim_expired().await.unwrap() {
            return expired;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn remove_members(node: &Harness, expired: &Incarnation) -> usize {
    let presence = &node.backend.presence;
    let mut removed = 0;
    while let Some((room, users)) = presence.stale_members(expired).await.unwrap() {
        assert!(!users.is_empty() && users.len() <= 500);
        for user in users {
            presence.remove_stale_member(expired, &room, &user, format!("-{user}").into()).await.unwrap();
            removed += 1;
        }
        presence.renew().await.unwrap();
    }
    presence.forget(expired).await.unwrap();
    removed
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_receive_messages_in_one_order() {
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
async fn user_enters_with_the_first_node_and_leaves_with_the_last() {
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
async fn one_node_removes_the_members_of_a_dead_node() {
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
    eventually("members of the expired lease are left out", || async {
        members(&one, &lobby).await == ["alive", "both"]
    })
    .await;
    // Pages and counts agree while the store still holds these members.
    let page = one.backend.presence.members(&lobby, None, 1).await.unwrap();
    assert_eq!((page.count, page.members, page.more), (2, vec![user_name("alive")], true));
    let page = one.backend.presence.members(&lobby, Some(&user_name("alive")), 1).await.unwrap();
    assert_eq!((page.count, page.members, page.more), (2, vec![user_name("both")], false));

    let incarnation = claim_while_renewing(&one, &[&two]).await;
    assert_eq!(two.backend.presence.claim_expired().await.unwrap(), None, "another node has claimed it");
    assert_eq!(dead.backend.presence.renew().await.unwrap(), Lease::Claimed);
    assert_eq!(remove_members(&one, &incarnation).await, 1_102);
    assert_eq!(members(&one, &lobby).await, ["alive", "both"]);
    assert!(members(&one, &other).await.is_empty());
    one.say(&room("lobby"), "end").await;
    one.listener.messages(&room("lobby"), 1).await;
    let events = one.listener.events(&room("lobby"));
    assert!(!events.contains(&"-both".to_owned()), "another node holds this user");
    assert_eq!(events.iter().filter(|event| *event == "-ghost 7").count(), 1);
    two.backend.presence.renew().await.unwrap();
    assert_eq!(one.backend.presence.nodes().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_with_a_claimed_lease_announces_only_removed_members() {
    let server = RedisServer::start();
    let (stalled, other) = (present(&server, "stalled").await, present(&server, "other").await);
    let (name, topic, alice) = (room_name("lobby"), room("lobby"), user_name("alice"));
    other.subscribe(&topic).await;
    add(&stalled, &name, "alice").await;
    let expired = claim(&other).await;
    assert_eq!(stalled.backend.presence.renew().await.unwrap(), Lease::Claimed);
    // Added under the old incarnation, before the node knows of the loss. The other node finds this member too.
    add(&stalled, &name, "late").await;
    stalled.backend.presence.reincarnate().await.unwrap();
    let all = [
        (name.clone(), alice, Some("+alice".into())),
        (name.clone(), user_name("late"), Some("+late".into())),
    ];
    stalled.backend.presence.restore_members(&all).await.unwrap();
    assert_eq!(stalled.backend.presence.renew().await.unwrap(), Lease::Kept);
    assert_eq!(remove_members(&other, &expired).await, 2);
    stalled.backend.presence.renew().await.unwrap();
    assert_eq!(members(&other, &name).await, ["alice", "late"]);
    other.say(&topic, "end").await;
    other.listener.messages(&topic, 1).await;
    assert_eq!(other.listener.events(&topic), ["+alice", "+late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_exact_after_a_lease_was_deleted() {
    let server = RedisServer::start();
    let (one, two) = (present(&server, "one").await, present(&server, "two").await);
    let name = room_name("lobby");
    add(&one, &name, "alice").await;
    add(&two, &name, "bob").await;
    let incarnation = two.backend.presence.nodes().await.unwrap();
    let incarnation = incarnation.into_iter().find(|node| node.name == "two").unwrap().incarnation;
    assert_eq!(server.command(&["ZREM", "chat:leases", &incarnation]).unwrap(), "1");
    assert_eq!(members(&one, &name).await, ["alice"]);
    assert_eq!(two.backend.presence.renew().await.unwrap(), Lease::Lost);
    two.backend.presence.reincarnate().await.unwrap();
    two.backend.presence.restore_members(&[(name.clone(), user_name("bob"), None)]).await.unwrap();
    assert_eq!(members(&one, &name).await, ["alice", "bob"]);
    // The members of the deleted lease are found and removed, without events.
    let expired = claim_while_renewing(&one, &[&two]).await;
    assert_eq!(expired.0, incarnation);
    assert_eq!(remove_members(&one, &expired).await, 1);
    two.backend.presence.renew().await.unwrap();
    assert_eq!(members(&one, &name).await, ["alice", "bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_redis_makes_nodes_restore_all_members() {
    let mut server = RedisServer::start_durable();
    let node = Harness::redis(&server, |_| {}).await;
    let (name, alice) = (room_name("lobby"), user_name("alice"));
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
    add(&node, &name, "alice").await;
    server.restart();
    // The server may have lost data, even if the lease is still there.
    eventually("Redis answers", || async { node.backend.presence.nodes().await.is_ok() }).await;
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Lost);
    node.backend.presence.reincarnate().await.unwrap();
    node.backend.presence.restore_members(&[(name.clone(), alice, None)]).await.unwrap();
    assert_eq!(members(&node, &name).await, ["alice"]);
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn released_lease_is_deleted_or_expires_with_its_members() {
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
    let expired = other.backend.presence.claim_expired().await.unwrap().unwrap();
    assert_eq!(remove_members(&other, &expired).await, 1);
    assert_eq!(other.backend.presence.nodes().await.unwrap().len(), 1);
}

/// A node of the version before stores no duration, and judges by the beat: the end of the lease by the clock of Redis.
#[tokio::test(flavor = "multi_thread")]
async fn leases_of_the_version_before_are_understood() {
    let server = RedisServer::start();
    let (node, name) = (present(&server, "new").await, room_name("lobby"));
    let renew = || {
        let script = "local now = redis.call('TIME')
            redis.call('ZADD', 'chat:leases', now[1] * 1000 + math.floor(now[2] / 1000) + 1500, 'old')
            redis.call('HSET', 'chat:nodes', 'old', 'old')
            return redis.call('ZCOUNT', 'chat:leases', now[1] * 1000, now[1] * 1000 + 3000)";
        assert_eq!(
            server.command(&["EVAL", script, "0"]).unwrap(),
            "2",
            "both leases run by the clock of Redis"
        );
    };
    for (key, member, value) in [("chat:{r:lobby}:m", "0", "alice"), ("chat:held:old", "0", "lobby\nalice")] {
        server.command(&["ZADD", key, member, value]).unwrap();
    }
    server.command(&["HSET", "chat:{r:lobby}:w", "alice", "old"]).unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
        renew();
        assert_eq!(members(&node, &name).await, ["alice"]);
        assert_eq!(node.backend.presence.claim_expired().await.unwrap(), None);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let expired = claim(&node).await;
    assert_eq!((expired.0.as_str(), remove_members(&node, &expired).await), ("old", 1));
    assert!(members(&node, &name).await.is_empty());
    // Such a node deletes a lease without its duration.
    server.command(&["HSET", "chat:durations", "deleted", "1500"]).unwrap();
    assert!(members(&node, &name).await.is_empty());
    assert_eq!(server.command(&["HLEN", "chat:durations"]).unwrap(), "1");
}
