//! A Redis Cluster that changes under a node: slots move, masters are replaced, paused and lost. Nothing that was acknowledged is
//! lost, nothing is stored twice, and every topic is heard again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chatnode::backend::{BackendError, Publish};
use chatnode::config::ClusterPubSub;
use chatnode::protocol::Topic;

use crate::support::backend::{ALL, Harness, bodies, message, room, user};
use crate::support::listener::{Delivery, eventually};
use crate::support::proxy::Proxy;
use crate::support::redis_cluster::{RedisCluster, TIMEOUT};

/// A node on a cluster that is ready.
async fn node_on(cluster: &RedisCluster, way: ClusterPubSub) -> Harness {
    let url = cluster.url();
    let node = Harness::redis_unready(&url, |config| {
        config.redis.cluster_pubsub = way;
        config.redis.timeout = TIMEOUT;
        config.history.max_messages = ALL.messages.into();
    });
    let node = node.await;
    node.ready().await;
    node
}

/// The slot of a topic's keys.
fn slot_of(cluster: &RedisCluster, topic: &Topic) -> usize {
    let key = match topic {
        Topic::Room(name) => format!("chat:{{r:{name}}}"),
        Topic::User(name) => format!("chat:{{u:{name}}}"),
    };
    cluster.slot(&key)
}

/// A topic on this master at first.
fn topic_on(cluster: &RedisCluster, master: usize, topic: impl Fn(&str) -> Topic) -> Topic {
    let mut topics = (0..).map(|number| topic(&format!("t{number}")));
    topics.find(|topic| cluster.first_owner(slot_of(cluster, topic)) == master).unwrap()
}

/// Publishes one message after the other to a topic, each again under its key until it is acknowledged.
struct Publisher {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(Vec<String>, Duration)>,
}

impl Publisher {
    fn start(node: &Harness, topics: Vec<Topic>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, broker) = (stop.clone(), node.backend.broker.clone());
        let task = tokio::spawn(async move {
            let topics: Vec<&Topic> = topics.iter().collect();
            let (mut acknowledged, mut longest) = (Vec::new(), Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                let body = acknowledged.len().to_string();
                let begun = Instant::now();
                let publish = message(&topics, &body, &body);
                while let Err(error) = broker.publish(publish.clone()).await {
                    assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                longest = longest.max(begun.elapsed());
                acknowledged.push(body);
                // A pace that leaves all messages in the log.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            (acknowledged, longest)
        });
        Self { stop, task }
    }

    /// The bodies of all messages, and the longest time that one took.
    async fn finish(self) -> (Vec<String>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// What is published now is heard.
async fn is_heard(node: &Harness, topic: &Topic) {
    let before = node.listener.entries(topic).len();
    eventually("a message is heard", || async {
        let body = "is this heard";
        node.publish(&[topic], &rand::random::<u64>().to_string(), body).await.is_ok()
            && node.listener.entries(topic).iter().skip(before).any(|entry| entry.body == body)
    })
    .await;
}

async fn messages_flow_while_slots_move(way: ClusterPubSub) {
    let cluster = RedisCluster::start(3);
    let (node, other) = tokio::join!(node_on(&cluster, way), node_on(&cluster, way));
    let lobby = topic_on(&cluster, 0, room);
    node.subscribe(&lobby).await;
    let publisher = Publisher::start(&other, vec![lobby.clone()]);
    eventually("messages are heard", || async { node.listener.entries(&lobby).len() > 20 }).await;
    let slot = slot_of(&cluster, &lobby);
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        cluster.move_slot(slot, from, to);
        is_heard(&node, &lobby).await;
    }
    let (acknowledged, longest) = publisher.finish().await;
    let log = node.log(&lobby).await;
    let stored: Vec<&str> = bodies(&log).into_iter().filter(|body| *body != "is this heard").collect();
    assert_eq!(stored, acknowledged);
    assert!(longest < Duration::from_secs(2), "a message took {longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_flow_while_slots_move_sharded() {
    messages_flow_while_slots_move(ClusterPubSub::Sharded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_flow_while_slots_move_broadcast() {
    messages_flow_while_slots_move(ClusterPubSub::Broadcast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_to_a_half_moved_slot_is_refused_and_stored_once() {
    let cluster = RedisCluster::start(3);
    let node = node_on(&cluster, ClusterPubSub::Sharded).await;
    let lobby = topic_on(&cluster, 0, room);
    node.publish(&[&lobby], "a", "a").await.unwrap();
    let slot = slot_of(&cluster, &lobby);
    // A key of the next message does not exist, so no server can tell where it is.
    cluster.begin_to_move(slot, 0, 1);
    assert!(matches!(node.publish(&[&lobby], "b", "b").await, Err(BackendError::Refused(_))));
    cluster.move_keys(slot, 0, 1);
    // A room that nobody knows is where the slot goes to, and one of several keys is on neither server.
    assert!(node.publish(&[&lobby], "b", "b").await.is_err());
    cluster.end_move(slot, 1);
    eventually("the message is stored", || async { node.publish(&[&lobby], "b", "b").await.is_ok() }).await;
    assert_eq!(bodies(&node.log(&lobby).await), ["a", "b"]);
}

/// Until a move ends, the subscribers stay at the server that the slot is leaving, and messages are published at the other one.
#[tokio::test(flavor = "multi_thread")]
async fn message_in_a_moved_log_is_heard_before_the_move_ends() {
    let cluster = RedisCluster::start(3);
    let way = ClusterPubSub::Sharded;
    let (node, other) = tokio::join!(node_on(&cluster, way), node_on(&cluster, way));
    let lobby = topic_on(&cluster, 0, room);
    node.subscribe(&lobby).await;
    // Without a dedupe key, all keys of the log are there from the first message on.
    let say = async |body| {
        let publish = Publish { dedupe_key: None, ..message(&[&lobby], "", body) };
        other.backend.broker.publish(publish).await.unwrap();
    };
    say("a").await;
    let slot = slot_of(&cluster, &lobby);
    cluster.begin_to_move(slot, 0, 1);
    cluster.move_keys(slot, 0, 1);
    for body in ["b", "c"] {
        say(body).await;
    }
    let heard = node.listener.messages(&lobby, 3).await;
    assert_eq!(heard, node.log(&lobby).await);
    cluster.end_move(slot, 1);
    is_heard(&node, &lobby).await;
}

/// redis-rs takes the push with which a server ends a subscription for the reply to what it was asked first, and loses the true reply.
#[tokio::test(flavor = "multi_thread")]
async fn topics_are_restored_though_a_refusal_is_lost() {
    let cluster = RedisCluster::start(3);
    for server in &cluster.servers {
        server.command(&["CONFIG", "SET", "cluster-node-timeout", "15000"]).unwrap();
    }
    let first = cluster.servers[0].port();
    let proxy = Proxy::start(first).await;
    let there = proxy.url().split_once("://").unwrap().1.to_owned();
    let node = Harness::redis_unready(&cluster.servers[1].url(), |config| {
        // What has no deadline of its own below ends after ten of these, which is too late.
        config.redis.timeout = Duration::from_secs(5);
        config.redis.address_map = vec![format!("127.0.0.1:{first}={there}")];
    })
    .await;
    node.ready().await;
    let mut on_first = (0..)
        .map(|number| room(&format!("t{number}")))
        .filter(|topic| cluster.first_owner(slot_of(&cluster, topic)) == 0);
    let [one, other, third] = [(); 3].map(|()| on_first.next().unwrap());
    node.subscribe(&one).await;
    node.subscribe(&other).await;
    let mut held = proxy.hold("SSUBSCRIBE");
    cluster.move_slot(slot_of(&cluster, &one), 0, 1);
    held.reached().await;
    cluster.move_slot(slot_of(&cluster, &other), 0, 1);
    let is_ended = Delivery::Interrupted(other.clone());
    node.listener.until("the other topic is interrupted", |all| all.contains(&is_ended)).await;
    drop(held);
    for topic in [&one, &other] {
        let restored = Delivery::Restored(topic.clone());
        node.listener.until("a topic is restored", |all| all.contains(&restored)).await;
        is_heard(&node, topic).await;
    }
    eventually("the connection takes further topics", || async {
        node.backend.broker.subscribe(&third).await.is_ok()
    })
    .await;
    is_heard(&node, &third).await;
}

/// What happens to a master, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    Paused,
    Planned,
}

async fn failover(fault: Fault, way: ClusterPubSub) {
    let mut cluster = RedisCluster::start_with_replicas(3);
    let node = node_on(&cluster, way).await;
    let topics = [0, 1].map(|master| topic_on(&cluster, master, room));
    for topic in &topics {
        node.subscribe(topic).await;
    }
    let publishers = topics.clone().map(|topic| Publisher::start(&node, vec![topic]));
    eventually("messages are heard", || async { node.listener.entries(&topics[0]).len() > 20 }).await;
    let slot = slot_of(&cluster, &topics[0]);
    match fault {
        Fault::Killed => cluster.servers[0].kill(),
        Fault::Paused => cluster.servers[0].stop(),
        Fault::Planned => cluster.fail_over(3),
    }
    cluster.until("a replica is promoted", || cluster.owner_by(1, slot) == Some(3));
    if fault == Fault::Paused {
        is_heard(&node, &topics[0]).await;
        cluster.servers[0].cont();
    }
    is_heard(&node, &topics[0]).await;
    let lost = node.backend.presence.take_lost_rooms().expect("slots have another master");
    let [Topic::Room(moved), Topic::Room(kept)] = &topics else { unreachable!("both are rooms") };
    assert_eq!((lost(moved), lost(kept)), (true, false));
    for (index, (topic, publisher)) in topics.iter().zip(publishers).enumerate() {
        let (acknowledged, longest) = publisher.finish().await;
        let log = node.log(topic).await;
        let stored: Vec<&str> = bodies(&log).into_iter().filter(|body| *body != "is this heard").collect();
        assert_eq!(stored, acknowledged, "{fault:?}");
        let bound = if index == 0 { Duration::from_secs(15) } else { Duration::from_secs(2) };
        assert!(longest < bound, "{fault:?}: a message to master {index} took {longest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_master_loses_nothing_and_disturbs_no_other() {
    failover(Fault::Killed, ClusterPubSub::Sharded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_master_loses_nothing_with_broadcast() {
    failover(Fault::Killed, ClusterPubSub::Broadcast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_failover_loses_nothing() {
    failover(Fault::Planned, ClusterPubSub::Sharded).await;
}

/// The paused master executes what waits in its sockets when it goes on, and says that it is done.
#[tokio::test(flavor = "multi_thread")]
async fn paused_master_that_goes_on_acknowledges_nothing_lost() {
    failover(Fault::Paused, ClusterPubSub::Sharded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn private_message_is_completed_after_a_shard_was_away() {
    let cluster = RedisCluster::start(3);
    let node = node_on(&cluster, ClusterPubSub::Sharded).await;
    let (bob, alice) = (topic_on(&cluster, 0, user), topic_on(&cluster, 1, user));
    node.publish(&[&bob, &alice], "before", "before").await.unwrap();
    cluster.servers[1].stop();
    let unknown = node.publish(&[&bob, &alice], "half", "half").await;
    assert!(matches!(unknown, Err(BackendError::Unknown(_))), "{unknown:?}");
    assert_eq!(bodies(&node.log(&bob).await), ["before", "half"]);
    cluster.servers[1].cont();
    eventually("the message is completed", || async {
        node.publish(&[&bob, &alice], "half", "half").await.is_ok()
    })
    .await;
    let (at_bob, at_alice) = (node.log(&bob).await, node.log(&alice).await);
    assert_eq!((bodies(&at_bob), bodies(&at_alice)), (vec!["before", "half"], vec!["before", "half"]));
    assert_eq!(at_bob[1].message_id, at_alice[1].message_id);

    cluster.servers[0].stop();
    // Nothing is in the log of the sender that the target does not get.
    assert!(node.publish(&[&bob, &alice], "none", "none").await.is_err());
    assert_eq!(bodies(&node.log(&alice).await), ["before", "half"]);
    cluster.servers[0].cont();
    eventually("the message is stored", || async {
        node.publish(&[&bob, &alice], "none", "none").await.is_ok()
    })
    .await;
    assert_eq!(bodies(&node.log(&bob).await), ["before", "half", "none"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_topics_are_restored_after_all_their_slots_moved() {
    let cluster = RedisCluster::start(2);
    let node = node_on(&cluster, ClusterPubSub::Sharded).await;
    let topics: Vec<Topic> = (0..300).map(|number| room(&format!("room {number}"))).collect();
    for topic in &topics {
        node.subscribe(topic).await;
    }
    let mut slots: Vec<usize> = topics.iter().map(|topic| slot_of(&cluster, topic)).collect();
    slots.sort_unstable();
    slots.dedup();
    for slot in slots {
        let from = cluster.first_owner(slot);
        cluster.move_slot(slot, from, 1 - from);
    }
    for topic in &topics {
        let restored = Delivery::Restored(topic.clone());
        node.listener.until("each topic is restored", |all| all.contains(&restored)).await;
        is_heard(&node, topic).await;
    }
}
