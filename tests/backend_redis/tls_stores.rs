//! TLS with a Redis Cluster and with Sentinels: every server that is found from `redis.url` is reached with TLS, and its certificate is
//! checked.

use std::sync::Arc;

use chatnode::backend::redis::connect;
use chatnode::config::Config;
use chatnode::protocol::Topic;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::authority::Authority;
use crate::support::backend::{Harness, room, user};
use crate::support::listener::{Listener, eventually};
use crate::support::redis_cluster::{RedisCluster, TIMEOUT};
use crate::support::redis_server::RedisServer;
use crate::support::sentinel_set::{MASTER, SentinelSet};

/// Certificates of an authority: `address` for 127.0.0.1, and `name` for redis.internal.
struct Certificates(TempDir);

impl Certificates {
    fn create() -> Self {
        let folder = TempDir::new().unwrap();
        let authority = Authority::create(folder.path(), "authority");
        authority.sign(folder.path(), "address", "127.0.0.1", 2099);
        authority.sign(folder.path(), "name", "redis.internal", 2099);
        Authority::create(folder.path(), "stranger");
        Self(folder)
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(format!("{name}.pem"))
    }

    /// Options of a server that shows this certificate.
    fn options(&self, shown: &str, asks_for_certificates: &str) -> Vec<String> {
        let file = |name| self.file(name).display().to_string();
        let options = [
            ("--tls-cert-file", file(shown)),
            ("--tls-key-file", file(shown)),
            ("--tls-ca-cert-file", file("authority")),
            ("--tls-auth-clients", asks_for_certificates.to_owned()),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// Lets a node trust the authority.
    fn trust(&self, config: &mut Config) {
        config.redis.timeout = TIMEOUT;
        config.redis.tls.ca_file = Some(self.file("authority"));
    }
}

fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

/// The warnings of a start.
async fn warnings(url: &str, tune: impl FnOnce(&mut Config)) -> Vec<String> {
    let mut config = Config::default();
    config.redis.url = Some(url.into());
    tune(&mut config);
    let stop = CancellationToken::new();
    let (_backend, warnings) =
        connect(&config, Listener::new(), &TaskTracker::new(), stop.clone()).await.unwrap();
    stop.cancel();
    warnings
}

/// What is published now is stored and heard. A message may come while the topic is interrupted, so there are several.
async fn is_heard(node: &Harness, topic: &Topic) {
    let before = node.listener.entries(topic).len();
    eventually("a message is heard", || async {
        let key = rand::random::<u64>().to_string();
        node.publish(&[topic], &key, "is this heard").await.is_ok()
            && node.listener.entries(topic).len() > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_is_served_over_tls_while_it_changes() {
    let certificates = Certificates::create();
    let cluster = RedisCluster::start_with_tls(3, &words(&certificates.options("address", "no")));
    let node = Harness::redis_unready(&cluster.url(), |config| certificates.trust(config)).await;
    node.ready().await;
    let mut topics: Vec<Topic> = (0..9).map(|number| room(&number.to_string())).collect();
    topics.push(user("alice"));
    for topic in &topics {
        node.subscribe(topic).await;
        is_heard(&node, topic).await;
    }
    let owner = |topic: &Topic| match topic {
        Topic::Room(name) => cluster.first_owner(cluster.slot(&format!("chat:{{r:{name}}}"))),
        Topic::User(name) => cluster.first_owner(cluster.slot(&format!("chat:{{u:{name}}}"))),
    };
    assert!(
        (0..3).all(|master| topics.iter().any(|topic| owner(topic) == master)),
        "each master has a topic"
    );
    node.publish(&[&topics[9], &user("bob")], "private", "private").await.unwrap();
    // The pool.
    node.backend.presence.renew().await.unwrap();

    let moved = topics.iter().find(|topic| owner(topic) == 0).unwrap();
    let Topic::Room(name) = moved else { panic!("{moved:?} is a room") };
    cluster.move_slot(cluster.slot(&format!("chat:{{r:{name}}}")), 0, 1);
    is_heard(&node, moved).await;
    let replaced = topics.iter().find(|topic| owner(topic) == 2).unwrap();
    cluster.fail_over(5);
    eventually("the new master is followed", || async {
        node.publish(&[replaced], "after", "after").await.is_ok() && cluster.owner_by(0, 16_383) == Some(5)
    })
    .await;
    is_heard(&node, replaced).await;
    // Only this test, which speaks RESP2, uses the ports without TLS.
    let clients = cluster.servers[5].command(&["CLIENT", "LIST"]).unwrap();
    let of_node: Vec<&str> = clients.lines().filter(|client| client.contains("resp=3")).collect();
    let laddr = format!("laddr=127.0.0.1:{} ", cluster.servers[5].peer_port());
    assert!(!of_node.is_empty() && of_node.iter().all(|client| client.contains(&laddr)), "{clients}");
    node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_a_cluster_may_share_one_name() {
    let certificates = Certificates::create();
    let cluster = RedisCluster::start_with_tls(3, &words(&certificates.options("name", "yes")));
    let trust = |config: &mut Config| {
        certificates.trust(config);
        config.redis.tls.server_name = Some("redis.internal".into());
    };
    let warned = warnings(&cluster.url(), trust).await;
    assert!(warned[0].contains("set redis.tls.cert_file and redis.tls.key_file"), "{warned:?}");
    let node = Harness::redis_unready(&cluster.url(), |config| {
        trust(config);
        config.redis.tls.cert_file = Some(certificates.file("name"));
        config.redis.tls.key_file = Some(certificates.file("name"));
    })
    .await;
    node.ready().await;
    for number in 0..9 {
        let topic = room(&number.to_string());
        node.subscribe(&topic).await;
        is_heard(&node, &topic).await;
    }
    let warned = warnings(&cluster.url(), |config| {
        trust(config);
        config.redis.tls.server_name = None;
    })
    .await;
    assert!(warned[0].contains("is for another name"), "{warned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_their_master_are_followed_over_tls() {
    let certificates = Certificates::create();
    let options = certificates.options("address", "no");
    let options = [words(&options), vec!["--tls-replication", "yes"]].concat();
    let mut set = SentinelSet::start_with(&options);
    let follow = |config: &mut Config| {
        certificates.trust(config);
        config.redis.sentinel_master = Some(MASTER.into());
    };
    let node = Arc::new(Harness::redis_unready(&set.url(), follow).await);
    node.ready().await;
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    is_heard(&node, &lobby).await;
    set.servers[0].kill();
    let new = set.until_replaced(0, &[0, 1, 2]);
    is_heard(&node, &lobby).await;
    assert_eq!(set.servers[new].command(&["EXISTS", "chat:{r:lobby}:log"]).unwrap(), "1");

    let warned = warnings(&set.url(), |config| {
        follow(config);
        config.redis.tls.ca_file = Some(certificates.file("stranger"));
    })
    .await;
    assert!(warned[0].contains("is not signed by an authority in"), "{warned:?}");
    // The ports without TLS.
    let ports: Vec<String> = set.sentinels.iter().map(|s| format!("127.0.0.1:{}", s.port())).collect();
    let warned = warnings(&format!("rediss://{}", ports.join(",")), follow).await;
    assert!(warned[0].contains("does not speak TLS there"), "{warned:?}");
}

/// With `rediss://`, also a master whose port without TLS the Sentinels name is reached with TLS only.
#[tokio::test(flavor = "multi_thread")]
async fn master_that_is_announced_without_tls_is_named() {
    let certificates = Certificates::create();
    let master = RedisServer::start();
    let options = certificates.options("address", "no");
    let sentinel = RedisServer::start_with(&[&["--sentinel"], &words(&options)[..]].concat());
    sentinel.command(&["SENTINEL", "MONITOR", MASTER, "127.0.0.1", &master.port().to_string(), "1"]).unwrap();
    let warned = warnings(&sentinel.url(), |config| {
        certificates.trust(config);
        config.redis.sentinel_master = Some(MASTER.into());
    })
    .await;
    assert!(warned[0].contains("does not speak TLS there"), "{warned:?}");
}
