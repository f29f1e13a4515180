//! How a node starts on a Redis Cluster: from any of its servers, and what it refuses with which words.

use chatnode::backend::{Backend, ConnectError, Notice, Presence, TokenHash, TokenRecord};
use chatnode::config::{ClusterPubSub, Config};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::backend::{Harness, bodies, room, room_name, user, user_name};
use crate::support::listener::{Listener, eventually};
use crate::support::redis_cluster::{RedisCluster, TIMEOUT};
use crate::support::redis_server::RedisServer;

/// The error of a start with these settings, or none.
async fn start(url: &str, tune: impl FnOnce(&mut Config)) -> Option<ConnectError> {
    let mut config = Config::default();
    config.redis.url = Some(url.into());
    config.redis.timeout = TIMEOUT;
    tune(&mut config);
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let listener = Listener::new();
    chatnode::backend::redis::connect(&config, listener, &TaskTracker::new(), stop).await.err()
}

#[tokio::test(flavor = "multi_thread")]
async fn node_starts_from_any_server_of_a_cluster() {
    let cluster = RedisCluster::start_with_replicas(3);
    let gone = RedisServer::start();
    let (seed, dead) = (cluster.servers[5].port(), gone.port());
    drop(gone);
    let url = format!("redis://127.0.0.1:{dead},127.0.0.1:{seed}");
    let node = Harness::redis_unready(&url, |config| config.redis.timeout = TIMEOUT).await;
    node.ready().await;
    for name in ["a", "b", "c", "d"] {
        node.subscribe(&room(name)).await;
        node.say(&room(name), name).await;
        assert_eq!(bodies(&node.listener.messages(&room(name), 1).await), [name]);
    }
    node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_for_a_cluster_are_named() {
    let cluster = RedisCluster::start(3);
    let url = cluster.url();
    let database = start(&format!("{url}/1"), |_| {}).await.unwrap().to_string();
    assert!(database.contains("has only that one"), "{database}");
    let slow = start(&url, |config| config.redis.timeout = 2 * TIMEOUT).await.unwrap().to_string();
    assert!(slow.contains("cluster-node-timeout") && slow.contains("set redis.timeout to 1500ms"), "{slow}");

    let node = Harness::redis_unready(&url, |config| config.redis.timeout = TIMEOUT).await;
    node.ready().await;
    let other = start(&url, |config| config.redis.cluster_pubsub = ClusterPubSub::Broadcast).await.unwrap();
    assert!(other.to_string().contains("use `redis.cluster_pubsub = sharded`"), "{other}");
    assert_eq!(start(&url, |config| config.redis.cluster_pubsub = ClusterPubSub::Sharded).await, None);

    let [one, two] = [RedisServer::start(), RedisServer::start()];
    let several = format!("redis://127.0.0.1:{},127.0.0.1:{}", one.port(), two.port());
    let several = start(&several, |_| {}).await.unwrap();
    assert!(matches!(several, ConnectError::NoCluster(_)), "{several}");
    assert!(several.to_string().contains("redis.sentinel_master"), "{several}");
}

/// An incarnation can be forgotten before the last of its entries is written, since they are on different servers.
#[tokio::test(flavor = "multi_thread")]
async fn member_without_a_lease_is_not_listed_and_removed() {
    let cluster = RedisCluster::start(3);
    let tune = |config: &mut Config| config.redis.timeout = TIMEOUT;
    let url = cluster.url();
    let (node, gone) = tokio::join!(Harness::redis_unready(&url, tune), Harness::redis_unready(&url, tune));
    node.ready().await;
    gone.ready().await;
    let lobby = room_name("lobby");
    for (node, user) in [(&node, "alice"), (&gone, "bob")] {
        let presence: &dyn Presence = &*node.backend.presence;
        presence.renew().await.unwrap();
        presence.add(&lobby, &user_name(user), "entered".into()).await.unwrap();
    }
    let members = async || {
        let page = node.backend.presence.members(&lobby, None, 10).await.unwrap();
        (page.members.iter().map(ToString::to_string).collect::<Vec<_>>(), page.count)
    };
    assert_eq!(members().await, (vec!["alice".to_owned(), "bob".to_owned()], 2));
    // As the reaper does, while an entry is on its way.
    let incarnation = gone.backend.presence.nodes().await.unwrap();
    let mine = node.backend.presence.nodes().await.unwrap();
    assert_eq!(incarnation, mine);
    gone.backend.presence.remove(&lobby, &user_name("bob"), "left".into()).await.unwrap();
    gone.backend.presence.release().await.unwrap();
    gone.backend.presence.add(&lobby, &user_name("bob"), "entered".into()).await.unwrap();
    // A node reads the leases once a second.
    eventually("bob is not listed", || async { members().await == (vec!["alice".to_owned()], 1) }).await;
    let on = cluster.first_owner(cluster.slot("chat:{r:lobby}:m"));
    assert_eq!(cluster.servers[on].command(&["ZCARD", "chat:{r:lobby}:m"]).unwrap(), "1");
    assert_eq!(members().await, (vec!["alice".to_owned()], 1));
}

/// The rights of the handbook, as words.
fn rights() -> Vec<String> {
    let page = include_str!("../../docs/operations.md");
    let block = |after: &str| page.split_once(after).unwrap().1.split_once("```").unwrap().0.to_owned();
    let single = block("ACL SETUSER chat on >PASSWORD ");
    let cluster = block("In a Redis Cluster, give it on every server also:\n\n```");
    (single + &cluster).split_whitespace().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn user_with_the_rights_of_the_handbook_is_refused_nothing() {
    let cluster = RedisCluster::start(3);
    let rights = rights();
    for server in &cluster.servers {
        let mut words = vec!["ACL", "SETUSER", "chat", "on", ">secret"];
        words.extend(rights.iter().map(String::as_str));
        server.command(&words).unwrap();
        server.command(&["ACL", "LOG", "RESET"]).unwrap();
    }
    let url = cluster.url();
    for way in [ClusterPubSub::Sharded, ClusterPubSub::Broadcast] {
        let node = Harness::redis_unready(&url, |config| {
            config.redis.timeout = TIMEOUT;
            config.redis.username = Some("chat".into());
            config.redis.password = Some("secret".to_owned().into());
            config.redis.cluster_pubsub = way;
        });
        let node = node.await;
        node.ready().await;
        let (lobby, alice, bob) = (room("lobby"), user("alice"), user("bob"));
        node.subscribe(&lobby).await;
        node.say(&lobby, "hi").await;
        assert_eq!(bodies(&node.listener.messages(&lobby, 1).await), ["hi"]);
        node.backend.broker.announce(&lobby, None, "event".into()).await.unwrap();
        node.backend.broker.notify(Notice::Disconnect(user_name("nobody"))).await.unwrap();
        node.publish(&[&bob, &alice], &format!("{way:?}"), "hi").await.unwrap();
        node.backend.broker.tops(&[lobby.clone(), alice, bob]).await.unwrap();
        let Backend { presence, tokens, markers, .. } = &node.backend;
        presence.renew().await.unwrap();
        presence.observe_leases(Instant::now()).await.unwrap();
        presence.add(&room_name("lobby"), &user_name("alice"), "entered".into()).await.unwrap();
        presence.members(&room_name("lobby"), None, 10).await.unwrap();
        presence.rooms(None, 10).await.unwrap();
        presence.remove(&room_name("lobby"), &user_name("alice"), "left".into()).await.unwrap();
        assert_eq!(presence.claim_expired().await, Ok(None));
        presence.release().await.unwrap();
        let hash = TokenHash::of(uuid::Uuid::from_u128(7));
        tokens.insert(hash, &TokenRecord { user: user_name("alice"), expires_at: None }).await.unwrap();
        assert!(tokens.look_up(&[hash]).await.unwrap()[0].as_ref().unwrap().is_some());
        assert_eq!(tokens.remove(hash).await, Ok(true));
        tokens.remove_all(&user_name("alice")).await.unwrap();
        markers.private_markers(&user_name("alice")).await.unwrap();
        assert_eq!(markers.cursor(&user_name("alice")).await, Ok(None));
        node.shut_down().await;
        for server in &cluster.servers {
            server.command(&["DEL", "chat:{nodes}:pubsub"]).ok();
        }
    }
    for server in &cluster.servers {
        assert_eq!(server.command(&["ACL", "LOG"]).unwrap().trim(), "");
    }
}
