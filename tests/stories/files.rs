//! The limit of open files: clients never take the files that the store and the operators need.

use std::io::Write;
use std::net::TcpStream;

use serde_json::json;

use crate::support::client::Client;
use crate::support::cluster::{get, metric, until};
use crate::support::program::Program;
use crate::support::redis_server::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_node_keeps_files_for_its_store_and_operators() {
    let redis = RedisServer::start();
    let url = redis.url();
    let limit = 400;
    let mut node = Program::start_with_files(
        limit,
        &[("CHAT_REDIS__URL", url.as_str()), ("CHAT_MAX_CONNECTIONS", "100"), ("CHAT_INTERNAL__PORT", "0")],
    );
    let operators = node.operators.unwrap();
    until("the node is ready", async || get(operators, "/readyz").await.0 == 200).await;
    let mut alice = Client::enter(node.address, "alice", "ops").await;
    let mut others = Vec::new();
    for at in 1..100 {
        let mut client = Client::connect(node.address, &format!("user-{at}")).await;
        client.ok("Auth", json!({})).await;
        others.push(client);
    }
    assert_eq!(metric(operators, "chat_connections").await, 100.0);

    // More half-open requests than the limit has files left. The node accepts its share and no more.
    let half_open: Vec<TcpStream> = (0..250)
        .map(|_| {
            let mut socket = TcpStream::connect(node.address).unwrap();
            socket.write_all(b"GET / HTTP/1.1\r\n").unwrap();
            socket
        })
        .collect();
    until("the node took its share", async || metric(operators, "process_open_fds").await > 190.0).await;
    assert_eq!(get(operators, "/readyz").await.0, 200);

    // Every connection to Redis is lost, and needs a new file.
    for kind in ["normal", "pubsub"] {
        redis.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).unwrap();
    }
    until("the node is connected again", async || get(operators, "/readyz").await.0 == 200).await;
    let body = json!({ "room": "ops", "content": "hello" });
    let mut answer = alice.ask("GroupChat", body.clone()).await;
    while answer["message_type"] != "Ack" {
        assert_eq!(answer["message_body"]["code"], "unavailable", "{answer}");
        answer = alice.ask("GroupChat", body.clone()).await;
    }
    assert!(metric(operators, "process_open_fds").await <= f64::from(limit));
    drop((half_open, others));
    let log = node.stop();
    assert!(log.contains("the limit of open files is too low for max_connections = 100"), "{log}");
    assert!(!log.contains("can't accept a connection"), "{log}");
}

/// Rather fewer connections than connections that take the last file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn low_limit_of_files_lowers_max_connections() {
    let mut node = Program::start_with_files(256, &[("CHAT_MAX_CONNECTIONS", "10000")]);
    assert_eq!(metric(node.address, "chat_connections_limit").await, f64::from(256 - 64 - 64 - 96));
    assert_eq!(metric(node.address, "process_max_fds").await, 256.0);
    let log = node.stop();
    assert!(log.contains("limit=256 needed=12963 connections=32"), "{log}");
}
