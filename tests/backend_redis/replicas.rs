//! `redis.min_replicas_acked`: what is acknowledged, a replica has too, and what is not can be repeated.

use std::time::Instant;

use chatnode::backend::{BackendError, Lease};
use chatnode::protocol::{MessageId, Topic};

use crate::support::backend::{Harness, bodies, room};
use crate::support::listener::eventually;
use crate::support::redis_server::RedisServer;

async fn node_on(server: &RedisServer, replicas: usize) -> Harness {
    Harness::redis(server, |config| config.redis.min_replicas_acked = replicas).await
}

/// Publishes, and repeats it as a client would until enough replicas have it: on a busy machine an answer may come too late.
async fn say_until_acknowledged(node: &Harness, topic: &Topic, body: &str) {
    let key = MessageId::generate().to_string();
    eventually("enough replicas have the message", || async {
        match node.publish(&[topic], &key, body).await {
            Ok(_) => true,
            Err(BackendError::Unknown(_)) => false,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
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
        say_until_acknowledged(&node, &lobby, &turn.to_string()).await;
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
    eventually("the replica has the message", || async {
        node.publish(&[&lobby], "key", "hi").await.is_ok_and(|stored| stored.duplicate)
    })
    .await;
    assert_eq!(bodies(&node.log(&lobby).await), ["hi"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_replica_delays_only_publishes() {
    let master = RedisServer::start();
    let (replica, second) = (master.start_replica(), master.start_replica());
    let node = node_on(&master, 2).await;
    let lobby = room("lobby");
    say_until_acknowledged(&node, &lobby, "before").await;
    replica.stop();
    let topics = [&lobby];
    let late = async { (node.publish(&topics, "key", "late").await, Instant::now()) };
    let other = async {
        assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
        node.backend.presence.nodes().await.unwrap();
        Instant::now()
    };
    let ((late, late_end), other_end) = tokio::join!(late, other);
    assert!(
        matches!(late, Err(BackendError::Unknown(had)) if had.ends_with(" of 2 replicas have the message"))
    );
    assert!(other_end < late_end, "other requests wait for the replica too");
    replica.cont();
    eventually("the replica has caught up", || async {
        node.publish(&[&lobby], "key", "late").await.is_ok_and(|stored| stored.duplicate)
    })
    .await;
    for server in [&master, &replica, &second] {
        assert_eq!(server.command(&["XLEN", "chat:{r:lobby}:log"]).unwrap(), "2");
    }
}
