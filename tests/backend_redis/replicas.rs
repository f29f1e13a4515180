//! `redis.min_replicas_acked`: what is acknowledged, a replica has too, and what is not can be repeated.

use std::time::{Duration, Instant};

use chatnode::backend::{BackendError, Lease};

use crate::support::backend::{Harness, bodies, room};
use crate::support::listener::eventually;
use crate::support::redis_server::RedisServer;

async fn node_on(server: &RedisServer, replicas: usize) -> Harness {
    Harness::redis(server, |config| config.redis.min_replicas_acked = replicas).await
}

fn waits(server: &RedisServer) -> bool {
    server.command(&["INFO", "commandstats"]).unwrap().contains("cmdstat_wait:")
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_has_what_is_acknowledged() {
    let master = RedisServer::start();
    let replica = master.start_replica();
    let node = node_on(&master, 1).await;
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    for turn in 1..=50 {
        node.say(&lobby, &turn.to_string()).await;
        let length = replica.command(&["XLEN", "chat:{r:lobby}:log"]).unwrap();
        assert_eq!(length, turn.to_string());
    }
    assert_eq!(node.listener.messages(&lobby, 50).await.len(), 50);
    assert!(waits(&master));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_nothing_waits() {
    let master = RedisServer::start();
    let node = node_on(&master, 0).await;
    for turn in 0..10 {
        node.say(&room("lobby"), &turn.to_string()).await;
    }
    assert!(!waits(&master));
    // Of publishes, events, subscriptions and the clock: nothing has a connection that it did not have before.
    let clients = master.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).unwrap();
    assert_eq!(clients.lines().count(), 1, "{clients}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_replica_makes_the_outcome_unknown() {
    let master = RedisServer::start();
    let node = node_on(&master, 1).await;
    let lobby = room("lobby");
    for _ in 0..2 {
        let error = node.publish(&[&lobby], "key", "hi").await.unwrap_err();
        assert_eq!(error, BackendError::Unknown("0 of 1 replicas have the message".into()));
    }
    let _replica = master.start_replica();
    let stored = node.publish(&[&lobby], "key", "hi").await.unwrap();
    assert!(stored.duplicate);
    assert_eq!(bodies(&node.log(&lobby).await), ["hi"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_replica_delays_only_publishes() {
    let master = RedisServer::start();
    let (replica, second) = (master.start_replica(), master.start_replica());
    let node = node_on(&master, 2).await;
    let lobby = room("lobby");
    node.say(&lobby, "before").await;
    replica.stop();
    let topics = [&lobby];
    let late = node.publish(&topics, "key", "late");
    let other = async {
        let start = Instant::now();
        assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
        node.backend.presence.nodes().await.unwrap();
        start.elapsed()
    };
    let (late, other) = tokio::join!(late, other);
    assert_eq!(late.unwrap_err(), BackendError::Unknown("1 of 2 replicas have the message".into()));
    assert!(other < Duration::from_millis(400), "{other:?}");
    replica.cont();
    eventually("the replica has caught up", || async {
        node.publish(&[&lobby], "key", "late").await.is_ok_and(|stored| stored.duplicate)
    })
    .await;
    for server in [&master, &replica, &second] {
        assert_eq!(server.command(&["XLEN", "chat:{r:lobby}:log"]).unwrap(), "2");
    }
}
