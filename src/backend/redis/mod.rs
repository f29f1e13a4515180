//! Redis backend, which several nodes share. Owns the connections and the tasks that use them; the traits that it
//! implements are in `backend`. Called by `backend::connect`, and afterwards only through the traits.
//!
//! For each master, a node has a few connections for calls with short replies ([`command_connection`]) and a pool for calls that read
//! much or are rare ([`pool`]), and beside them connections for subscriptions ([`subscriber`], [`dispatcher`], [`subscriptions`]).
//! Commands and subscriptions never share a connection, because a push of the server could be mistaken for the reply to a
//! command. Every atomic change is a Lua script.
//!
//! A Redis Cluster has several masters: [`router`] sends each call to the one that has the slot of its keys, as [`slot_reader`] has
//! read it. A single Redis is a topology with one master and no slots.

mod backoff;
mod broker;
mod call;
mod channel_names;
mod clock;
mod clock_reader;
mod codec;
mod command_connection;
mod connection;
mod connector;
mod credentials;
mod demotion;
mod dialer;
mod dispatcher;
mod error;
mod failover_time;
mod failure_signal;
mod format_level;
mod format_reader;
mod keys;
mod known_topics;
mod lease_list;
mod lost_slots;
mod markers;
mod master;
mod member_writer;
mod members_pager;
mod memory;
mod pool;
mod preflight;
mod presence;
mod probe;
mod publish_item;
mod publish_queue;
mod publish_reply;
mod publishing;
mod pubsub_agreement;
mod rates;
mod redirect;
mod replicas;
mod reply_flow;
mod rights;
mod room_rights;
mod rooms_pager;
mod route;
mod router;
mod script;
mod sentinel_link;
mod sentinel_report;
mod sentinel_resolver;
mod server;
mod slot;
mod slot_map;
mod slot_owners;
mod slot_reader;
mod source_repeat;
mod steady_clock;
mod subscriber;
mod subscribers;
mod subscription_batch;
mod subscription_state;
mod subscriptions;
mod tls;
mod tokens;
mod topology;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::broker::RedisBroker;
use self::channel_names::ChannelNames;
use self::clock::MonotonicClock;
use self::clock_reader::ClockReader;
use self::connector::Connector;
use self::format_level::FormatLevel;
use self::format_reader::FormatReader;
use self::keys::{Keys, Layout};
use self::lost_slots::LostSlots;
use self::markers::RedisMarkers;
use self::member_writer::MemberWriter;
use self::memory::MemoryGauge;
use self::preflight::{Preflight, Unsuitable};
use self::presence::{PresenceTerms, RedisPresence};
use self::probe::{Probe, Readiness};
use self::publish_item::PublishHeader;
use self::pubsub_agreement::{PubSubAgreement, PubSubWay};
use self::rates::RedisRates;
use self::replicas::Replicas;
use self::router::Router;
use self::sentinel_resolver::{FirstRound, SentinelResolver};
use self::server::{Server, ServerTerms};
use self::slot_reader::{RefreshSignal, SlotReader};
use self::steady_clock::SteadyClock;
use self::subscriber::{Source, SubscriberTerms};
use self::subscribers::Subscribers;
use self::tokens::RedisTokens;
use self::topology::{Topology, TopologyWatch};
use super::{Backend, Deliver};
use crate::config::{ClusterPubSub, Config};
use crate::supervise::until_stopped;

/// Reasons that make the backend impossible. A Redis that does not answer is no such reason: the node keeps trying.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The settings are invalid. The text never contains the URL, which may hold a password.
    #[error("{0}")]
    Settings(String),
    /// The server turned out to be in another mode than the node had begun with.
    #[error(
        "Redis at {address} {is}. It did not answer when the node started, so the node has to start again"
    )]
    Mode {
        /// Host and port.
        address: String,
        /// What the server is.
        is: &'static str,
    },
    /// Several addresses lead to a server that is in no cluster.
    #[error(
        "`redis.url` has several addresses, but Redis at {0} is not in cluster mode: give the address of the master only, or set \
         `redis.sentinel_master` if the addresses are those of Sentinels"
    )]
    NoCluster(String),
    /// Other nodes publish in another way.
    #[error(
        "the other nodes of this cluster use `redis.cluster_pubsub = {others}`, this one {own}: nodes would not hear each other. Set the \
         same, or stop all nodes, wait for a minute, and start them with the new value"
    )]
    PubSub {
        /// What the other nodes use.
        others: String,
        /// What this node would use.
        own: &'static str,
    },
    /// The server is a Sentinel.
    #[error(
        "the server at {address} is a Sentinel, which stores no messages: set `redis.sentinel_master` to the name of its \
         master{}, and `redis.url` to the addresses of all Sentinels", known(.masters)
    )]
    Sentinel {
        /// Host and port.
        address: String,
        /// The masters that it watches.
        masters: Vec<String>,
    },
    /// A call to Redis may take longer than a failover.
    #[error("{0}")]
    SlowCalls(String),
    /// The server is too old.
    #[error("the server at {address} is {server}; chatnode needs Redis 7.0 or later, or Valkey")]
    Old {
        /// Host and port.
        address: String,
        /// The server's name and version.
        server: String,
    },
}

/// The names of masters, in brackets.
fn known(masters: &[String]) -> String {
    if masters.is_empty() { String::new() } else { format!(" (it knows {})", masters.join(", ")) }
}

impl ConnectError {
    fn unsuitable(reason: Unsuitable, address: String) -> Self {
        match reason {
            Unsuitable::Sentinel(masters) => Self::Sentinel { address, masters },
            Unsuitable::SlowCalls(text) => Self::SlowCalls(text),
            Unsuitable::Old(server) => Self::Old { address, server },
        }
    }
}

/// Starts the backend. Returns it with warnings for the operator, one line each. If Redis does not answer, the node keeps
/// trying to connect and logs the warnings later. If Redis then turns out to be unsuitable, `shutdown` is cancelled.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    config: &Config,
    deliver: Arc<dyn Deliver>,
    tracker: &TaskTracker,
    shutdown: CancellationToken,
) -> Result<(Backend, Vec<String>), ConnectError> {
    let seeds = Connector::all(&config.redis).map_err(ConnectError::Settings)?;
    let has_several = seeds.len() > 1;
    if let Some(mut resolver) =
        SentinelResolver::new(&config.redis, &seeds[0]).map_err(ConnectError::Settings)?
    {
        if let FirstRound::Wrong(why) = resolver.first_round().await {
            return Err(ConnectError::Settings(why));
        }
        tracker.spawn(until_stopped("sentinels", &shutdown, resolver.run()));
    }
    let (connector, preflight) = Preflight::run_any(&seeds).await;
    let (mut warnings, mut window) = (Vec::new(), None);
    let is_cluster = match preflight {
        Ok(Preflight { unsuitable: Some(reason), .. }) => {
            return Err(ConnectError::unsuitable(reason, connector.address()));
        }
        Ok(preflight) if has_several && !preflight.is_cluster => {
            return Err(ConnectError::NoCluster(connector.address()));
        }
        Ok(preflight) => {
            let is_cluster = preflight.is_cluster;
            window = preflight.window;
            warnings = preflight.announced(&connector);
            is_cluster
        }
        Err(error) => {
            let late = preflight_late(connector.clone(), has_several, shutdown.clone());
            tracker.spawn(shutdown.clone().run_until_cancelled_owned(late));
            warnings.push(format!("Redis at {} does not answer yet: {error}", connector.address()));
            has_several
        }
    };
    if is_cluster && connector.database() != 0 {
        return Err(ConnectError::Settings(
            "`redis.url` names a database other than 0, and a Redis Cluster has only that one: remove it from the URL, and give each \
             cluster of nodes a `redis.prefix` of its own"
                .into(),
        ));
    }

    let format = Arc::<FormatLevel>::default();
    let names = ChannelNames::new(connector.database(), format.clone());
    let layout = if is_cluster { Layout::Cluster } else { Layout::Single };
    let keys = Keys::new(&config.redis.prefix, names.clone(), layout);
    let way = match config.redis.cluster_pubsub {
        _ if !is_cluster => PubSubWay::Broadcast,
        ClusterPubSub::Broadcast => PubSubWay::Broadcast,
        ClusterPubSub::Auto | ClusterPubSub::Sharded => PubSubWay::Sharded,
    };
    let node = format!("{:016x}", rand::random::<u64>());
    let steady = Arc::<SteadyClock>::default();
    let header = PublishHeader {
        retention: config.history.clone(),
        steady: steady.clone(),
        memory: Arc::<MemoryGauge>::default(),
        format: format.clone(),
        publish_command: way.publish_command(),
        replicas: Replicas::new(config.redis.min_replicas_acked, config.redis.timeout),
    };
    let terms = ServerTerms {
        settings: config.redis.clone(),
        header,
        clock: MonotonicClock::start(),
        tracker: tracker.clone(),
        stop: shutdown.clone(),
    };
    let (refresh, lost) = (RefreshSignal::default(), Arc::<LostSlots>::default());
    let topology = if is_cluster {
        let (sender, receiver) = watch::channel(Arc::new(Topology::unknown()));
        let mut reader = SlotReader::new(seeds, terms, window, refresh.clone(), sender, lost.clone());
        reader.read().await;
        tracker.spawn(until_stopped("slots", &shutdown, reader.run()));
        TopologyWatch::new(receiver)
    } else {
        let master =
            Server::spawn(String::new(), connector.clone(), &terms).map_err(ConnectError::Settings)?;
        TopologyWatch::fixed(Topology::single(master))
    };
    let router = Router::new(topology.clone(), refresh.clone(), config.redis.timeout);
    if is_cluster {
        let agreement = PubSubAgreement::new(router.clone(), keys.pubsub(), way);
        if let Ok(Err(others)) = agreement.check().await {
            return Err(ConnectError::PubSub { others, own: way.name() });
        }
        let stop = shutdown.clone();
        let kept = async move {
            let error = ConnectError::PubSub { others: agreement.keep().await, own: way.name() };
            tracing::error!(%error, "stopping the node");
            stop.cancel();
        };
        tracker.spawn(shutdown.clone().run_until_cancelled_owned(kept));
    }
    let subscriber_terms = SubscriberTerms {
        names,
        keys: keys.clone(),
        node: node.clone(),
        deliver,
        timeout: config.redis.timeout,
        max_pause: config.redis.max_reconnect_delay,
        refresh,
        tracker: tracker.clone(),
        stop: shutdown.clone(),
    };
    let count = config.redis.subscriber_connections;
    let subscribers = match (is_cluster, way) {
        (true, PubSubWay::Sharded) => Subscribers::sharded(&topology, &subscriber_terms),
        (true, PubSubWay::Broadcast) => {
            let any = Source::AnyMaster(topology, Arc::new(AtomicUsize::new(0)));
            Subscribers::anywhere(&any, count, &subscriber_terms)
        }
        (false, _) => Subscribers::anywhere(&Source::Server(connector), count, &subscriber_terms),
    };
    let probe = Probe {
        keys: keys.clone(),
        node: node.clone(),
        router: router.clone(),
        subscribers: subscribers.clone(),
        timeout: config.redis.timeout,
        probe_keys: HashMap::new(),
    };
    tracker.spawn(until_stopped("probe", &shutdown, probe.run()));
    let clock_reader = ClockReader::new(router.clone(), keys.clock(), steady);
    tracker.spawn(until_stopped("clock", &shutdown, clock_reader.run()));
    let format_reader = FormatReader::new(router.clone(), [keys.leases(), keys.levels()], format.clone());
    tracker.spawn(until_stopped("format", &shutdown, format_reader.run()));

    let presence = RedisPresence::new(PresenceTerms {
        router: router.clone(),
        keys: keys.clone(),
        node: config.node.name.clone().unwrap_or(node),
        lease: config.node.lease,
        members: MemberWriter {
            router: router.clone(),
            keys: keys.clone(),
            quiet_above: config.rooms.quiet_above,
            publish_command: way.publish_command(),
        },
        lost,
    });
    let readiness =
        Readiness { router: router.clone(), subscribers: subscribers.clone(), leases: keys.leases() };
    let backend = Backend {
        presence: Arc::new(presence),
        tokens: Arc::new(RedisTokens { router: router.clone(), keys: keys.clone() }),
        markers: Arc::new(RedisMarkers { router: router.clone(), keys: keys.clone() }),
        rates: Arc::new(RedisRates { router: router.clone(), keys: keys.clone() }),
        broker: Arc::new(RedisBroker {
            keys,
            retention: config.history.clone(),
            router,
            subscribers,
            readiness,
            changed: Default::default(),
            with_rights: Default::default(),
            publish_command: way.publish_command(),
            format,
            idle_check: config.node.idle_check,
        }),
    };
    Ok((backend, warnings))
}

/// Checks a Redis that did not answer at the start of the node. If it is unsuitable, it ends the node, as at the start:
/// after a restart by the supervisor, the node fails with the reason, or begins with what the server is.
async fn preflight_late(connector: Connector, is_cluster: bool, shutdown: CancellationToken) {
    let mut backoff = connector.backoff();
    let preflight = loop {
        backoff.pause().await;
        if let Ok(preflight) = Preflight::run(&connector).await {
            break preflight;
        }
    };
    let address = connector.address();
    let error = match preflight.unsuitable.clone() {
        Some(reason) => Some(ConnectError::unsuitable(reason, address)),
        None if preflight.is_cluster && !is_cluster => {
            Some(ConnectError::Mode { address, is: "is in cluster mode" })
        }
        None if is_cluster && !preflight.is_cluster => Some(ConnectError::NoCluster(address)),
        None => None,
    };
    if let Some(error) = error {
        tracing::error!(%error, "stopping the node");
        shutdown.cancel();
    }
    for warning in preflight.announced(&connector) {
        tracing::warn!("{warning}");
    }
}
