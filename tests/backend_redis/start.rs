//! Start with a Redis that is absent, unsuitable or protected by a password.

use std::sync::Arc;

use chatnode::backend::Lease;
use chatnode::backend::redis::{ConnectError, connect};
use chatnode::config::Config;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::backend::{Harness, bodies, room};
use crate::support::listener::{Listener, eventually};
use crate::support::redis_server::RedisServer;

async fn warnings(url: &str) -> Result<Vec<String>, ConnectError> {
    let mut config = Config::default();
    config.redis.url = Some(url.into());
    let stop = CancellationToken::new();
    let listener: Arc<Listener> = Listener::new();
    let connected = connect(&config, listener, &TaskTracker::new(), stop.clone()).await;
    stop.cancel();
    connected.map(|(_, warnings)| warnings)
}

#[tokio::test(flavor = "multi_thread")]
async fn node_starts_without_redis_and_becomes_ready_with_it() {
    let mut server = RedisServer::start();
    server.kill();
    let node = Harness::redis_unready(&server.url(), |_| {}).await;
    assert!(!node.backend.broker.ready());
    let lobby = room("lobby");
    let refused = node.publish(&[&lobby], "key", "too early").await.unwrap_err();
    assert_eq!(refused.outcome(), chatnode::protocol::Outcome::Refused);
    assert!(warnings(&server.url()).await.unwrap()[0].contains("does not answer"));
    server.restart();
    node.ready().await;
    node.subscribe(&lobby).await;
    node.publish(&[&lobby], "key", "now").await.unwrap();
    assert_eq!(bodies(&node.listener.messages(&lobby, 1).await), ["now"]);
    node.shut_down().await;
}

#[tokio::test]
async fn error_of_an_invalid_url_hides_the_password() {
    for url in ["redis://:s3cret@host:port", "http://:s3cret@127.0.0.1", "rediss://:s3cret@h#insecure"] {
        let error = warnings(url).await.unwrap_err();
        assert!(matches!(error, ConnectError::Settings(_)));
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn node_refuses_a_sentinel_and_says_what_to_do() {
    let sentinel = RedisServer::start_sentinel();
    let error = warnings(&sentinel.url()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Sentinel { .. }));
    assert!(error.to_string().contains("set `redis.sentinel_master` to the name of its master"), "{error}");
    sentinel.command(&["SENTINEL", "MONITOR", "main", "127.0.0.1", "1", "2"]).unwrap();
    let error = warnings(&sentinel.url()).await.unwrap_err().to_string();
    assert!(error.contains("its master (it knows main), and"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_on_a_replica_says_so_and_waits_for_the_master() {
    let master = RedisServer::start_durable();
    let replica = master.start_replica();
    let warned = warnings(&replica.url()).await.unwrap();
    assert!(
        warned[0].starts_with("the server is a replica: let `redis.url` lead to the master"),
        "{warned:?}"
    );
    let node = Harness::redis_unready(&replica.url(), |_| {}).await;
    assert!(node.publish(&[&room("lobby")], "key", "x").await.is_err());
    master.fail_over_to(&replica);
    node.ready().await;
    node.say(&room("lobby"), "x").await;
}

/// The lease works without the run id of the server; the loss of the data shows all the same.
#[tokio::test(flavor = "multi_thread")]
async fn lease_works_for_a_user_without_info() {
    let server = RedisServer::start_durable();
    server.command(&["ACL", "SETUSER", "chat", "on", ">pw", "~*", "&*", "+@all", "-info"]).unwrap();
    let url = format!("redis://chat:pw@127.0.0.1:{}", server.port());
    let warned = warnings(&url).await.unwrap();
    assert!(warned.len() == 1 && warned[0].contains("does not allow INFO"), "{warned:?}");
    let node = Harness::redis_unready(&url, |_| {}).await;
    let other = Harness::redis_unready(&url, |_| {}).await;
    for node in [&node, &other] {
        node.ready().await;
        for _ in 0..2 {
            assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
        }
    }
    server.command(&["FLUSHALL"]).unwrap();
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Lost);
    assert_eq!(other.backend.presence.renew().await.unwrap(), Lease::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn node_stops_if_redis_later_is_in_cluster_mode() {
    let mut server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    server.kill();
    let mut config = Config::default();
    config.redis.url = Some(server.url().into());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (_backend, warnings) = connect(&config, Listener::new(), &tasks, stop.clone()).await.unwrap();
    assert!(warnings[0].contains("does not answer"), "{warnings:?}");
    server.restart();
    eventually("the node stops", || async { stop.is_cancelled() }).await;
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn node_warns_of_unsafe_redis_settings() {
    let good = RedisServer::start_durable();
    assert_eq!(warnings(&good.url()).await, Ok(vec![]));
    let bad = RedisServer::start_with(&["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"]);
    let warned = warnings(&bad.url()).await.unwrap();
    assert_eq!(warned.len(), 2, "{warned:?}");
    let without_config = RedisServer::start_with(&["--rename-command", "CONFIG", ""]);
    assert!(warnings(&without_config.url()).await.unwrap()[0].contains("CONFIG"));
}

#[tokio::test(flavor = "multi_thread")]
async fn node_uses_the_password_and_needs_the_right_one() {
    let server = RedisServer::start_with(&["--appendonly", "no"]);
    server.command(&["CONFIG", "SET", "requirepass", "s3cret"]).unwrap();
    let url = format!("redis://:s3cret@127.0.0.1:{}", server.port());
    let node = Harness::redis_unready(&url, |_| {}).await;
    node.ready().await;
    node.say(&room("lobby"), "hi").await;
    assert!(node.backend.presence.renew().await.is_ok(), "the pool uses the password too");

    let wrong = format!("redis://:wr0ng@127.0.0.1:{}", server.port());
    let warned = warnings(&wrong).await.unwrap();
    assert!(warned[0].contains("check redis.username and redis.password"), "{warned:?}");
    assert!(!warned.concat().contains("wr0ng"), "{warned:?}");
    let without = warnings(&server.url()).await.unwrap();
    assert!(without[0].contains("Redis asks for a password: set redis.password"), "{without:?}");
    let locked_out = Harness::redis_unready(&wrong, |_| {}).await;
    assert!(locked_out.publish(&[&room("lobby")], "key", "x").await.is_err());
    assert!(!locked_out.backend.broker.ready());
}

/// Name and password of the settings win over those in the URL, and a password that changes needs no restart.
#[tokio::test(flavor = "multi_thread")]
async fn password_file_wins_and_is_read_again() {
    let server = RedisServer::start_durable();
    let set = |password: &str| {
        let user = ["ACL", "SETUSER", "chat", "reset", "on", password, "~*", "&*", "+@all"];
        server.command(&user).unwrap();
    };
    set(">first#1");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "first#1\n").unwrap();
    let settings = |config: &mut Config| {
        config.redis.url = Some(format!("redis://other:wr0ng@127.0.0.1:{}", server.port()).into());
        config.redis.username = Some("chat".into());
        config.redis.password_file = Some(file.clone());
    };
    let node = Harness::redis_unready("", settings).await;
    node.ready().await;
    set(">second#2");
    server.command(&["CLIENT", "KILL", "USER", "chat"]).unwrap();
    eventually("the old password is refused", || async { node.backend.presence.renew().await.is_err() })
        .await;
    std::fs::write(&file, "second#2\n").unwrap();
    eventually("the new password is used", || async { node.backend.presence.renew().await.is_ok() }).await;
    node.ready().await;

    std::fs::remove_file(&file).unwrap();
    let mut config = Config::default();
    settings(&mut config);
    let connected = connect(&config, Listener::new(), &TaskTracker::new(), CancellationToken::new()).await;
    let error = connected.err().unwrap().to_string();
    assert!(error.contains("redis.password_file") && !error.contains("wr0ng"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_reaches_redis_through_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("r.sock").display().to_string();
    let server = RedisServer::start_with(&["--appendonly", "no", "--unixsocket", &socket]);
    let node = Harness::redis_unready(&format!("redis+unix://{socket}?db=1"), |_| {}).await;
    node.ready().await;
    node.subscribe(&room("lobby")).await;
    node.say(&room("lobby"), "hi").await;
    assert_eq!(bodies(&node.listener.messages(&room("lobby"), 1).await), ["hi"]);
    assert!(node.backend.presence.renew().await.is_ok());
    assert!(server.command(&["INFO", "keyspace"]).unwrap().contains("db1:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_closes_every_connection() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |config| {
        config.redis.command_connections = 3;
        config.redis.subscriber_connections = 3;
    })
    .await;
    for i in 0..20 {
        let topic = room(&i.to_string());
        node.subscribe(&topic).await;
        node.say(&topic, "hi").await;
        node.listener.messages(&topic, 1).await;
    }
    node.shut_down().await;
    eventually("no connection is left", || async {
        // The connection of this command.
        server.command(&["INFO", "clients"]).unwrap().contains("connected_clients:1\r")
    })
    .await;
}
