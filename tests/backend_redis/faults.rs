//! Faults: lost connections, a stalled, killed, emptied or full Redis, flushed scripts, a consumer that is too slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chatnode::backend::{BackendError, Lease, Range};
use chatnode::protocol::{Outcome, Topic};

use crate::support::backend::{ALL, Harness, bodies, message, room, room_name, seqs, user_name};
use crate::support::listener::{Delivery, Listener, PATIENCE, eventually};
use crate::support::proxy::Proxy;
use crate::support::redis_server::RedisServer;

async fn interrupted_and_restored(listener: &Listener, topics: &[Topic], times: usize) {
    listener
        .until("all topics are interrupted and restored", |deliveries| {
            topics.iter().all(|topic| {
                let count = |what: Delivery| deliveries.iter().filter(|delivery| **delivery == what).count();
                count(Delivery::Interrupted(topic.clone())) == times
                    && count(Delivery::Restored(topic.clone())) == times
            })
        })
        .await;
}

fn outcome(error: &BackendError) -> Outcome {
    error.outcome()
}

#[tokio::test(flavor = "multi_thread")]
async fn node_replaces_lost_subscriptions_and_restores_topics() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let topics: Vec<Topic> = (0..1_100).map(|i| room(&format!("room {i}"))).collect();
    futures_util::future::join_all(topics.iter().map(|topic| node.subscribe(topic))).await;
    let gone = room("gone");
    node.subscribe(&gone).await;
    node.backend.broker.unsubscribe(&gone);
    for times in 1..=3 {
        node.say(&topics[0], "before").await;
        node.listener.messages(&topics[0], 2 * times - 1).await;
        assert_eq!(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap(), "1");
        interrupted_and_restored(&node.listener, &topics, times).await;
        node.say(&topics[0], "after").await;
        node.listener.messages(&topics[0], 2 * times).await;
    }
    let deliveries = node.listener.deliveries();
    assert!(!deliveries.contains(&Delivery::Interrupted(gone)), "the topic was unsubscribed");
    // Deliveries of one topic, in order: none between interruption and restoration.
    let of_first: Vec<&Delivery> = deliveries
        .iter()
        .filter(|delivery| match delivery {
            Delivery::Published(topic, _) | Delivery::Interrupted(topic) | Delivery::Restored(topic) => {
                *topic == topics[0]
            }
            Delivery::Notice(_) => false,
        })
        .collect();
    for round in of_first.chunks(4) {
        assert!(
            matches!(
                round,
                [
                    Delivery::Published(..),
                    Delivery::Interrupted(_),
                    Delivery::Restored(_),
                    Delivery::Published(..)
                ]
            ),
            "{round:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_survives_a_stalled_redis_with_unknown_then_refused() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |config| config.redis.timeout = Duration::from_millis(500)).await;
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    node.say(&lobby, "before").await;
    server.stop();
    let error = node.publish(&[&lobby], "stalled", "stalled").await.unwrap_err();
    assert_eq!(outcome(&error), Outcome::Unknown, "{error}");
    let history = node.backend.broker.history(&lobby, Range::Newest, ALL).await;
    assert!(history.is_err());
    // After the watchdog has dropped the connection, commands are no longer sent.
    eventually("publishes are refused", || async {
        let error = node.publish(&[&lobby], "later", "later").await.unwrap_err();
        outcome(&error) == Outcome::Refused
    })
    .await;
    eventually("the node is not ready", || async { !node.backend.broker.ready() }).await;
    server.cont();
    node.ready().await;
    let stored = node.publish(&[&lobby], "stalled", "stalled").await.unwrap();
    let log = node.log(&lobby).await;
    assert_eq!(log.iter().filter(|entry| entry.body == "stalled").count(), 1, "{log:?}");
    assert!(log.iter().any(|entry| entry.message_id == stored.position.message_id));
    // All topics are subscribed again.
    let count = node.listener.entries(&lobby).len();
    node.say(&lobby, "after").await;
    node.listener.messages(&lobby, count + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_redis_loses_no_acknowledged_message() {
    let mut server = RedisServer::start_durable();
    let node = Harness::redis(&server, |_| {}).await;
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    for i in 0..20 {
        node.say(&lobby, &i.to_string()).await;
    }
    let before = node.log(&lobby).await;
    server.kill();
    eventually("publishes are refused", || async {
        let error = node.publish(&[&lobby], "down", "down").await.unwrap_err();
        outcome(&error) == Outcome::Refused
    })
    .await;
    let error = node.backend.broker.subscribe(&room("other")).await.unwrap_err();
    assert_eq!(outcome(&error), Outcome::Refused);
    server.restart();
    node.ready().await;
    interrupted_and_restored(&node.listener, std::slice::from_ref(&lobby), 1).await;
    assert_eq!(node.log(&lobby).await, before);
    let stored = node.publish(&[&lobby], "down", "back").await.unwrap();
    assert_eq!(
        (stored.position.seq, stored.position.epoch),
        (21, node.page(&lobby, Range::Top, ALL).await.top.epoch)
    );
    assert_eq!(bodies(&node.listener.messages(&lobby, 21).await).last(), Some(&"back"));
    // The failed subscription was cancelled, so the topic delivers no messages.
    node.say(&room("other"), "unheard").await;
    node.say(&lobby, "end").await;
    node.listener.messages(&lobby, 22).await;
    assert!(node.listener.entries(&room("other")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_under_load_neither_lose_nor_repeat_messages() {
    let mut server = RedisServer::start_durable();
    let node = Arc::new(Harness::redis(&server, |config| config.history.max_messages = 100_000).await);
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (0..8)
        .map(|publisher| {
            let (node, stop) = (node.clone(), stop.clone());
            tokio::spawn(async move {
                let lobby = room("lobby");
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    let text = format!("{publisher}:{sent}");
                    // Repeats the publish until it is acknowledged, as a client does after an unknown outcome.
                    while node.publish(&[&lobby], &text, &text).await.is_err() {
                        tokio::task::yield_now().await;
                    }
                    sent += 1;
                }
                (publisher, sent)
            })
        })
        .collect();
    for _ in 0..3 {
        let before = node.backend.broker.tops(&[room("lobby")]).await.unwrap()[0].unwrap().seq;
        eventually("some messages are stored", || async {
            node.backend
                .broker
                .tops(&[room("lobby")])
                .await
                .is_ok_and(|tops| tops[0].unwrap().seq > before + 200)
        })
        .await;
        server.kill();
        server.restart();
        node.ready().await;
        eventually("the pool answers", || async { node.backend.broker.tops(&[room("lobby")]).await.is_ok() })
            .await;
    }
    stop.store(true, Ordering::Relaxed);
    let log = node.log(&room("lobby")).await;
    let mut total = 0;
    for publisher in publishers {
        let (publisher, sent) = tokio::time::timeout(PATIENCE, publisher).await.unwrap().unwrap();
        let log = node.log(&room("lobby")).await;
        let prefix = format!("{publisher}:");
        let texts = bodies(&log);
        let stored: Vec<&&str> = texts.iter().filter(|text| text.starts_with(&prefix)).collect();
        let expected: Vec<String> = (0..sent).map(|n| format!("{prefix}{n}")).collect();
        assert_eq!(stored, expected.iter().collect::<Vec<_>>(), "each message once, in the order of sending");
        total += sent;
    }
    assert!(total >= log.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn script_flushes_do_not_reorder_messages() {
    let server = RedisServer::start();
    let node = Arc::new(Harness::redis(&server, |config| config.history.max_messages = 100_000).await);
    let publishers: Vec<_> = (0..10)
        .map(|publisher| {
            let node = node.clone();
            tokio::spawn(async move {
                for n in 0..200 {
                    node.say(&room("lobby"), &format!("{publisher}:{n:03}")).await;
                }
            })
        })
        .collect();
    let mut flushes = 0;
    while publishers.iter().any(|publisher| !publisher.is_finished()) {
        server.command(&["SCRIPT", "FLUSH"]).unwrap();
        flushes += 1;
        tokio::task::yield_now().await;
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    assert!(flushes > 5, "{flushes}");
    let log = node.log(&room("lobby")).await;
    assert_eq!(seqs(&log), (1..=2_000).collect::<Vec<u64>>());
    for publisher in 0..10 {
        let prefix = format!("{publisher}:");
        let texts: Vec<&str> = bodies(&log).into_iter().filter(|text| text.starts_with(&prefix)).collect();
        assert!(texts.is_sorted() && texts.len() == 200);
    }
    // The same for the pool.
    server.command(&["SCRIPT", "FLUSH"]).unwrap();
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn emptied_redis_starts_new_logs_and_loses_leases() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let (lobby, name, alice) = (room("lobby"), room_name("lobby"), user_name("alice"));
    let presence = &node.backend.presence;
    assert_eq!(presence.renew().await.unwrap(), Lease::Kept);
    presence.add(&name, &alice, "+".into()).await.unwrap();
    let before = node.publish(&[&lobby], "key", "before").await.unwrap();
    server.command(&["FLUSHALL"]).unwrap();

    let top = node.page(&lobby, Range::Top, ALL).await.top;
    assert_eq!(top.seq, 0);
    assert_ne!(top.epoch, before.position.epoch);
    let after = node.publish(&[&lobby], "key", "after").await.unwrap();
    assert_eq!((after.position.epoch, after.position.seq, after.duplicate), (top.epoch, 1, false));

    assert_eq!(presence.renew().await.unwrap(), Lease::Lost);
    presence.reincarnate().await.unwrap();
    presence.restore_members(&[(name.clone(), alice.clone(), None)]).await.unwrap();
    assert_eq!(presence.renew().await.unwrap(), Lease::Kept);
    let page = presence.members(&name, None, 10).await.unwrap();
    assert_eq!((page.members, page.count), (vec![alice], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn log_without_meta_starts_again_without_old_entries() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let lobby = room("lobby");
    let before = node.publish(&[&lobby], "key", "before").await.unwrap();
    server.command(&["DEL", "chat:{r:lobby}:meta"]).unwrap();
    let after = node.publish(&[&lobby], "key", "after").await.unwrap();
    assert_ne!(after.position.epoch, before.position.epoch);
    assert_eq!((after.position.seq, after.duplicate), (1, false));
    assert_eq!(bodies(&node.log(&lobby).await), ["after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_or_read_only_redis_refuses_and_stores_nothing() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let lobby = room("lobby");
    node.say(&lobby, "before").await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    for topics in [vec![&lobby], vec![&room("new"), &lobby]] {
        let error = node.backend.broker.publish(message(&topics, "full", "x")).await.unwrap_err();
        assert_eq!(outcome(&error), Outcome::Refused, "{error}");
    }
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert_eq!(bodies(&node.log(&lobby).await), ["before"]);
    // A master that became a replica refuses. The node then reconnects until the server is a master again.
    server.command(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    let error = node.publish(&[&lobby], "replica", "x").await.unwrap_err();
    assert_eq!(outcome(&error), Outcome::Refused, "{error}");
    server.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    eventually("the message is stored", || async { node.publish(&[&lobby], "replica", "x").await.is_ok() })
        .await;
    assert_eq!(bodies(&node.log(&lobby).await), ["before", "x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_needs_a_server_that_accepts_writes() {
    let server = RedisServer::start_written_each_second();
    let node = Harness::redis(&server, |_| {}).await;
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    server.fill_disk();
    let attempts = AtomicU64::new(0);
    eventually("publishes are refused", || async {
        let id = attempts.fetch_add(1, Ordering::Relaxed).to_string();
        node.publish(&[&lobby], &id, "x").await.is_err()
    })
    .await;
    // The server delivers what is only published, and answers reads.
    node.backend.broker.announce(&lobby, None, "event".into()).await.unwrap();
    eventually("the event arrives", || async { node.listener.events(&lobby) == ["event"] }).await;
    assert!(node.backend.broker.history(&lobby, Range::Top, ALL).await.is_ok());
    eventually("the node is not ready", || async { !node.backend.broker.ready() }).await;
    server.free_disk();
    node.ready().await;
    // Full memory is another thing: only publishes are refused.
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    assert!(node.publish(&[&lobby], "memory", "x").await.is_err());
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(node.backend.broker.ready(), "longer than a missing proof is accepted");
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_subscription_is_replaced_within_ten_seconds() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let node = Harness::redis_unready(&proxy.url(), |_| {}).await;
    node.ready().await;
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    proxy.freeze_subscriptions();
    let frozen_at = Instant::now();
    node.say(&lobby, "lost").await;
    interrupted_and_restored(&node.listener, std::slice::from_ref(&lobby), 1).await;
    assert!(frozen_at.elapsed() < Duration::from_secs(10), "{:?}", frozen_at.elapsed());
    node.say(&lobby, "received").await;
    assert_eq!(bodies(&node.listener.messages(&lobby, 1).await), ["received"]);
    assert_eq!(bodies(&node.log(&lobby).await), ["lost", "received"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stopped_consumer_costs_the_connection_but_no_memory() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    node.listener.stop();
    // 60 MB, more than the queue may hold.
    let body = "x".repeat(30_000);
    for _ in 0..20 {
        let say = (0..100).map(|_| node.say(&lobby, &body));
        futures_util::future::join_all(say).await;
    }
    node.listener.go_on();
    node.listener
        .until("interrupted and restored", |deliveries| {
            deliveries.contains(&Delivery::Interrupted(lobby.clone()))
                && deliveries.contains(&Delivery::Restored(lobby.clone()))
        })
        .await;
    // The messages before the interruption have no gap.
    let deliveries = node.listener.deliveries();
    let interruption =
        deliveries.iter().position(|delivery| matches!(delivery, Delivery::Interrupted(_))).unwrap();
    let received = node.listener.entries(&lobby);
    assert!(interruption < 2_000, "{interruption}");
    assert_eq!(seqs(&received[..interruption]), (1..=interruption as u64).collect::<Vec<u64>>());
    eventually("the node receives messages again", || async {
        let stored = node.say(&lobby, "after").await;
        node.listener.entries(&lobby).iter().any(|entry| entry.message_id == stored.position.message_id)
    })
    .await;
}
