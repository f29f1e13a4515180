//! A planned failover behind an address that stays the same: connections of every kind leave the old master.

use std::time::{Duration, Instant};

use chatnode::backend::{Lease, Range};

use crate::support::backend::{ALL, Harness, bodies, room};
use crate::support::listener::{Delivery, eventually};
use crate::support::proxy::Proxy;
use crate::support::redis_server::RedisServer;

/// Fills the pool with idle connections: reads at the same time.
async fn use_pool(node: &Harness) {
    let lobby = room("lobby");
    let reads = (0..8).map(|_| node.backend.broker.history(&lobby, Range::Newest, ALL));
    for page in futures_util::future::join_all(reads).await {
        page.unwrap();
    }
}

/// A master with a replica, and a node that reaches the master through an address that stays the same.
async fn replicated() -> (RedisServer, RedisServer, Proxy, Harness) {
    let old = RedisServer::start();
    let new = old.start_replica();
    let proxy = Proxy::start(old.port()).await;
    let node = Harness::redis_unready(&proxy.url(), |_| {}).await;
    node.ready().await;
    (old, new, proxy, node)
}

/// Makes the replica the master behind the address. From then on, the old master has no news.
fn fail_over(old: &RedisServer, new: &RedisServer, proxy: &Proxy) {
    proxy.switch_to(new.port());
    old.fail_over_to(new);
    old.command(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_leaves_a_demoted_master() {
    let (old, new, proxy, node) = replicated().await;
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    node.say(&lobby, "before").await;
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
    use_pool(&node).await;

    fail_over(&old, &new, &proxy);
    eventually("nobody is connected to the old master", || async {
        // The connection of this command.
        old.command(&["INFO", "clients"]).unwrap().contains("connected_clients:1\r")
    })
    .await;
    let restored = Delivery::Restored(lobby.clone());
    node.listener.until("the topic is restored", |all| all.contains(&restored)).await;
    eventually("a message is stored", || async { node.publish(&[&lobby], "after", "after").await.is_ok() })
        .await;
    assert_eq!(bodies(&node.log(&lobby).await), ["before", "after"]);
    assert_eq!(bodies(&node.listener.messages(&lobby, 2).await), ["before", "after"]);
    eventually("the lease is renewed", || async { node.backend.presence.renew().await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pool_serves_no_stale_reads_of_a_replica() {
    let (old, new, proxy, node) = replicated().await;
    let lobby = room("lobby");
    node.say(&lobby, "before").await;
    use_pool(&node).await;
    fail_over(&old, &new, &proxy);
    // The node learns nothing of this write, which goes to the new master.
    let other = Harness::redis(&new, |_| {}).await;
    other.say(&lobby, "after").await;
    // A read may fail for a moment. The first that succeeds is the new master's.
    let deadline = Instant::now() + Duration::from_secs(10);
    let page = loop {
        match node.backend.broker.history(&lobby, Range::Newest, ALL).await {
            Ok(page) => break page,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert_eq!(bodies(&page.entries), ["before", "after"]);
}
