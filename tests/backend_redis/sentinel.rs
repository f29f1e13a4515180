//! A real set of Sentinels: nodes follow the master that they name, and nothing that was acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chatnode::backend::Range;
use chatnode::backend::redis::{ConnectError, connect};
use chatnode::config::Config;
use chatnode::protocol::{Outcome, Topic};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::backend::{ALL, Harness, bodies, room};
use crate::support::listener::{Delivery, Listener, eventually};
use crate::support::redis_server::RedisServer;
use crate::support::sentinel_set::{DOWN_AFTER, MASTER, SentinelSet, TIMEOUT};

/// Settings of a node that follows Sentinels.
fn follow(config: &mut Config) {
    config.redis.sentinel_master = Some(MASTER.into());
    config.redis.timeout = TIMEOUT;
    // The log keeps all that a test publishes.
    config.history.max_messages = 1_000_000;
    config.history.max_bytes = 1 << 30;
}

/// Replication is asynchronous: only what a replica has too is promised to survive the end of its master.
fn follow_with_a_replica(config: &mut Config) {
    follow(config);
    config.redis.min_replicas_acked = 1;
}

async fn node_on(set: &SentinelSet) -> Harness {
    let node = Harness::redis_unready(&set.url(), follow_with_a_replica).await;
    node.ready().await;
    node
}

async fn plain_node_on(set: &SentinelSet) -> Harness {
    let node = Harness::redis_unready(&set.url(), follow).await;
    node.ready().await;
    node
}

/// The error or the warnings of a start.
async fn start(url: &str, tune: impl FnOnce(&mut Config)) -> Result<Vec<String>, ConnectError> {
    let mut config = Config::default();
    config.redis.url = Some(url.into());
    follow(&mut config);
    tune(&mut config);
    let stop = CancellationToken::new();
    let connected = connect(&config, Listener::new(), &TaskTracker::new(), stop.clone()).await;
    stop.cancel();
    connected.map(|(_, warnings)| warnings)
}

/// Publishes one message after the other, each again until it is acknowledged.
struct Publisher {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<String>>,
}

impl Publisher {
    fn start(node: &Arc<Harness>, topic: &Topic) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (node, topic, stopped) = (node.clone(), topic.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            while !stopped.load(Ordering::Acquire) {
                let body = acknowledged.len().to_string();
                if node.publish(&[&topic], &body, &body).await.is_ok() {
                    acknowledged.push(body);
                }
                tokio::task::yield_now().await;
            }
            acknowledged
        });
        Self { stop, task }
    }

    /// What was acknowledged, in order.
    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Release);
        self.task.await.unwrap()
    }
}

/// Until a new message is acknowledged.
async fn until_stored(node: &Harness, topic: &Topic, body: &str) {
    eventually("a message is stored", || async { node.publish(&[topic], body, body).await.is_ok() }).await;
}

/// Checks that the log has everything that was acknowledged, once and in order.
async fn assert_complete(node: &Harness, topic: &Topic, acknowledged: &[String]) {
    // On a busy machine the first reads after a failover may fail.
    eventually("the log can be read", || async {
        node.backend.broker.history(topic, Range::Newest, ALL).await.is_ok()
    })
    .await;
    let log = node.log(topic).await;
    let kept: Vec<&str> = bodies(&log).into_iter().filter(|body| body.parse::<u64>().is_ok()).collect();
    assert!(acknowledged.len() > 10, "{} were acknowledged", acknowledged.len());
    // The last one may have been stored without an acknowledgement.
    assert_eq!(&kept[..acknowledged.len()], acknowledged);
    assert!(kept.len() <= acknowledged.len() + 1, "{} for {}", kept.len(), acknowledged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn node_follows_after_the_master_was_killed() {
    let mut set = SentinelSet::start();
    let node = Arc::new(node_on(&set).await);
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    let publisher = Publisher::start(&node, &lobby);
    node.listener.messages(&lobby, 20).await;
    set.servers[0].kill();
    let new = set.until_replaced(0, &[0, 1, 2]);
    until_stored(&node, &lobby, "after").await;
    let restored = Delivery::Restored(lobby.clone());
    node.listener.until("the topic is restored", |all| all.contains(&restored)).await;
    assert!(set.servers[new].command(&["EXISTS", "chat:{r:lobby}:log"]).unwrap() == "1");
    let acknowledged = publisher.stop().await;
    assert_complete(&node, &lobby, &acknowledged).await;
    eventually("the lease is renewed", || async { node.backend.presence.renew().await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_failover_moves_all_connections_without_loss() {
    let set = SentinelSet::start();
    for server in &set.servers {
        server.command(&["ACL", "SETUSER", "chat", "on", ">pw", "~*", "&*", "+@all"]).unwrap();
    }
    let user = |config: &mut Config| {
        follow_with_a_replica(config);
        // The Sentinels choose by offsets that they read some time ago: either replica may be the one.
        config.redis.min_replicas_acked = 2;
        config.redis.username = Some("chat".into());
        config.redis.password = Some("pw".into());
    };
    let node = Arc::new(Harness::redis_unready(&set.url(), user).await);
    node.ready().await;
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    let publisher = Publisher::start(&node, &lobby);
    node.listener.messages(&lobby, 20).await;
    set.fail_over();
    let new = set.until_replaced(0, &[0, 1, 2]);
    let list = |server: usize| set.servers[server].command(&["CLIENT", "LIST"]).unwrap();
    eventually("nobody is connected to the old master", || async { !list(0).contains("user=chat") }).await;
    until_stored(&node, &lobby, "after").await;
    assert!(list(new).contains("user=chat"));
    let acknowledged = publisher.stop().await;
    assert_complete(&node, &lobby, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn master_that_was_paused_past_its_failover_loses_nothing() {
    let set = SentinelSet::start();
    let node = Arc::new(node_on(&set).await);
    let lobby = room("lobby");
    node.subscribe(&lobby).await;
    let publisher = Publisher::start(&node, &lobby);
    node.listener.messages(&lobby, 20).await;
    set.servers[0].stop();
    set.until_promoted(0);
    set.servers[0].cont();
    until_stored(&node, &lobby, "after").await;
    set.until_replaced(0, &[0, 1, 2]);
    until_stored(&node, &lobby, "later").await;
    let acknowledged = publisher.stop().await;
    assert_complete(&node, &lobby, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_keeps_its_master_while_all_sentinels_are_down() {
    let mut set = SentinelSet::start();
    let node = plain_node_on(&set).await;
    let lobby = room("lobby");
    set.sentinels.iter_mut().for_each(RedisServer::kill);
    for turn in 0..20 {
        node.say(&lobby, &turn.to_string()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(node.backend.broker.ready());
    // A node that starts now can't know the master.
    let warned = start(&set.url(), |_| {}).await.unwrap();
    assert!(warned[0].contains("the master main is not known, since 0 of 3 Sentinels answer"), "{warned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_named_with_the_way_out() {
    let set = SentinelSet::start();
    let error = start(&set.url(), |config| config.redis.sentinel_master = Some("other".into())).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("know no master named other; they know main: set redis.sentinel_master"),
        "{error}"
    );
    let error = start(&set.servers[0].url(), |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("is no Sentinel: redis.url must have the addresses of Sentinels"), "{error}");
    let error = start(&set.url(), |config| config.redis.timeout = DOWN_AFTER).await.unwrap_err().to_string();
    assert!(error.contains("set redis.timeout to 1100ms"), "{error}");
    // An address that the Sentinels announce and that leads nowhere from here.
    let port = set.servers[0].port();
    let away = format!("127.0.0.1:{port}=127.0.0.1:1");
    let warned = start(&set.url(), |config| config.redis.address_map = vec![away]).await.unwrap();
    assert!(
        warned[0].contains("can't be reached from here") && warned[0].contains("redis.address_map"),
        "{warned:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_may_have_users_whose_password_changes() {
    let set = SentinelSet::start();
    // The rights of docs/operations.md.
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let (_, rights) = page.split_once("The user of a Sentinel needs `").unwrap();
    let rights: Vec<&str> = rights.split_once('`').unwrap().0.split_whitespace().collect();
    let set_user = |password: &str| {
        for sentinel in &set.sentinels {
            let user =
                ["ACL", "SETUSER", "node", "reset", "on", password, "resetkeys", "allchannels", "-@all"];
            sentinel.command(&[&user[..], &rights].concat()).unwrap();
        }
    };
    set_user(">first");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "wr0ng\n").unwrap();
    let user = |config: &mut Config| {
        config.redis.sentinel_username = Some("node".into());
        config.redis.sentinel_password_file = Some(file.clone());
    };
    let warned = start(&set.url(), user).await.unwrap();
    assert!(warned[0].contains("check redis.sentinel_username and redis.sentinel_password"), "{warned:?}");
    assert!(!warned[0].contains("wr0ng"), "{warned:?}");
    std::fs::write(&file, "first\n").unwrap();
    let node = Harness::redis_unready(&set.url(), |config| {
        follow(config);
        user(config);
    })
    .await;
    node.ready().await;
    set_user(">second");
    for sentinel in &set.sentinels {
        sentinel.command(&["CLIENT", "KILL", "USER", "node"]).unwrap();
        assert!(sentinel.command(&["ACL", "LOG"]).unwrap().matches("reason\ncommand").next().is_none());
    }
    // The master stays, and the next failover is followed with the new password.
    let lobby = room("lobby");
    node.say(&lobby, "before").await;
    // A Sentinel promotes a replica that has not received it yet, too.
    eventually("every server has the message", || async {
        set.servers
            .iter()
            .all(|server| server.command(&["XLEN", "chat:{r:lobby}:log"]).is_ok_and(|length| length == "1"))
    })
    .await;
    std::fs::write(&file, "second\n").unwrap();
    set.fail_over();
    let new = set.until_replaced(0, &[0, 1, 2]);
    until_stored(&node, &lobby, "after").await;
    let stored = set.servers[new].command(&["XLEN", "chat:{r:lobby}:log"]).unwrap();
    assert_eq!(stored, "2");
}

/// One Sentinel that sees nobody but the master may be on the smaller side of a cut network, where the master was replaced.
#[tokio::test(flavor = "multi_thread")]
async fn writes_wait_while_a_lonely_sentinel_sees_no_replica() {
    let mut set = SentinelSet::start();
    let node = plain_node_on(&set).await;
    let lobby = room("lobby");
    for sentinel in 1..3 {
        set.sentinels[sentinel].kill();
    }
    eventually("the last Sentinel is alone", || async {
        set.sentinels[0].command(&["SENTINEL", "CKQUORUM", MASTER]).is_err()
    })
    .await;
    for turn in 0..20 {
        node.say(&lobby, &turn.to_string()).await;
    }
    for replica in 1..3 {
        set.servers[replica].kill();
    }
    eventually("a publish is refused", || async {
        let published = node.publish(&[&lobby], "held", "held").await;
        published.is_err_and(|error| error.outcome() == Outcome::Refused)
    })
    .await;
    let length = set.servers[0].command(&["XLEN", "chat:{r:lobby}:log"]).unwrap();
    assert!(node.publish(&[&lobby], "late", "late").await.is_err());
    assert_eq!(set.servers[0].command(&["XLEN", "chat:{r:lobby}:log"]).unwrap(), length);
    set.servers[1].restart();
    until_stored(&node, &lobby, "late").await;
}
