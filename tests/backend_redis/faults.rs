//! Connections cut, Redis stalled, killed, emptied, full; scripts forgotten; a consumer too slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chatnode::backend::{BackendError, Lease, Range};
use chatnode::protocol::{Outcome, Topic};

use crate::support::backend::{ALL, Harness, bodies, message, room, room_name, seqs, user_name};
use crate::support::listener::{Listener, PATIENCE, Told, eventually};
use crate::support::proxy::Proxy;
use crate::support::redis_server::RedisServer;

async fn interrupted_and_restored(listener: &Listener, topics: &[Topic], times: usize) {
    listener
        .until("all topics are interrupted and restored", |told| {
            topics.iter().all(|topic| {
                let count = |what: Told| told.iter().filter(|told| **told == what).count();
                count(Told::Interrupted(topic.clone())) == times
                    && count(Told::Restored(topic.clone())) == times
            })
        })
        .await;
}

fn outcome(error: &BackendError) -> Outcome {
    error.outcome()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_subscription_connection_is_made_anew_and_its_topics_are_restored() {
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
    let told = node.listener.told();
    assert!(!told.contains(&Told::Interrupted(gone)), "nobody wants that one");
    // What was told of one topic, in order: nothing between interruption and restoration.
    let of_first: Vec<&Told> = told
        .iter()
        .filter(|told| match told {
            Told::Published(topic, _) | Told::Interrupted(topic) | Told::Restored(topic) => {
                *topic == topics[0]
            }
            Told::Notice(_) => false,
        })
        .collect();
    for round in of_first.chunks(4) {
        assert!(
            matches!(
                round,
                [Told::Published(..), Told::Interrupted(_), Told::Restored(_), Told::Published(..)]
            ),
            "{round:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_redis_gives_unknown_and_then_refused_and_works_again_by_itself() {
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
    // Once the watchdog has given the connection up, nothing is sent any more.
    eventually("publishes are refused", || async {
        let error = node.publish(&[&lobby], "later", "later").await.unwrap_err();
        outcome(&error) == Outcome::Refused
    })
    .await;
    eventually("it is not ready", || async { !node.backend.broker.ready() }).await;
    server.cont();
    node.ready().await;
    let stored = node.publish(&[&lobby], "stalled", "stalled").await.unwrap();
    let log = node.log(&lobby).await;
    assert_eq!(log.iter().filter(|entry| entry.body == "stalled").count(), 1, "{log:?}");
    assert!(log.iter().any(|entry| entry.message_id == stored.position.message_id));
    // Everybody is subscribed again.
    let count = node.listener.entries(&lobby).len();
    node.say(&lobby, "after").await;
    node.listener.messages(&lobby, count + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_redis_refuses_and_loses_nothing_that_was_acknowledged() {
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
    // The wish that failed was withdrawn, so nobody hears of that topic.
    node.say(&room("other"), "unheard").await;
    node.say(&lobby, "end").await;
    node.listener.messages(&lobby, 22).await;
    assert!(node.listener.entries(&room("other")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_publishes_survive_kills_under_load_and_repeats_store_nothing_twice() {
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
                    // The same publish until it is acknowledged: as a client does with what is unknown.
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
        let before = node.backend.broker.tops(&[room("lobby")]).await.unwrap()[0].seq;
        eventually("some are stored", || async {
            node.backend.broker.tops(&[room("lobby")]).await.is_ok_and(|tops| tops[0].seq > before + 200)
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
        assert_eq!(stored, expected.iter().collect::<Vec<_>>(), "each once, in the order sent");
        total += sent;
    }
    assert!(total >= log.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_are_forgotten_in_mid_flight_reorder_nobodys_messages() {
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
    // The slow lane as well.
    server.command(&["SCRIPT", "FLUSH"]).unwrap();
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_emptied_starts_new_logs_and_loses_leases() {
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
    presence.restore_members(&[(name.clone(), alice.clone())]).await.unwrap();
    assert_eq!(presence.renew().await.unwrap(), Lease::Kept);
    let page = presence.members(&name, None, 10).await.unwrap();
    assert_eq!((page.members, page.count), (vec![alice], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_meta_is_gone_starts_afresh_with_nothing_of_the_old_one() {
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
async fn a_full_or_read_only_redis_refuses_and_stores_nothing() {
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
    // A master that became a replica: refused, and the connection is made anew until it is a master again.
    server.command(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    let error = node.publish(&[&lobby], "replica", "x").await.unwrap_err();
    assert_eq!(outcome(&error), Outcome::Refused, "{error}");
    server.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    eventually("it is stored", || async { node.publish(&[&lobby], "replica", "x").await.is_ok() }).await;
    assert_eq!(bodies(&node.log(&lobby).await), ["before", "x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_connection_that_goes_deaf_is_replaced_within_ten_seconds() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let node = Harness::redis_unready(&proxy.url(), |_| {}).await;
    node.ready().await;
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    proxy.freeze_subscriptions();
    let deaf = Instant::now();
    node.say(&lobby, "lost").await;
    interrupted_and_restored(&node.listener, std::slice::from_ref(&lobby), 1).await;
    assert!(deaf.elapsed() < Duration::from_secs(10), "{:?}", deaf.elapsed());
    node.say(&lobby, "heard").await;
    assert_eq!(bodies(&node.listener.messages(&lobby, 1).await), ["heard"]);
    assert_eq!(bodies(&node.log(&lobby).await), ["lost", "heard"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_consumer_that_stops_costs_the_connection_and_no_memory() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    node.listener.stop();
    // 60 MB, more than the queue takes.
    let body = "x".repeat(30_000);
    for _ in 0..20 {
        let say = (0..100).map(|_| node.say(&lobby, &body));
        futures_util::future::join_all(say).await;
    }
    node.listener.go_on();
    node.listener
        .until("interrupted and restored", |told| {
            told.contains(&Told::Interrupted(lobby.clone())) && told.contains(&Told::Restored(lobby.clone()))
        })
        .await;
    // What came before the interruption came without a hole.
    let told = node.listener.told();
    let interruption = told.iter().position(|told| matches!(told, Told::Interrupted(_))).unwrap();
    let heard = node.listener.entries(&lobby);
    assert!(interruption < 2_000, "{interruption}");
    assert_eq!(seqs(&heard[..interruption]), (1..=interruption as u64).collect::<Vec<u64>>());
    eventually("it hears again", || async {
        let stored = node.say(&lobby, "after").await;
        node.listener.entries(&lobby).iter().any(|entry| entry.message_id == stored.position.message_id)
    })
    .await;
}
