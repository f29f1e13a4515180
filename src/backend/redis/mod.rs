//! Redis backend, which several nodes share. Owns the connections and the tasks that use them; the traits that it
//! implements are in `backend`. Called by `backend::connect`, and afterwards only through the traits.
//!
//! A node has a few connections for calls with short replies ([`command_connection`]), a few for subscriptions
//! ([`subscriber`], [`dispatcher`], [`subscriptions`]) and a pool for calls that read much or are rare ([`pool`]). Commands and subscriptions never share a
//! connection, because a push of the server could be mistaken for the reply to a command. Every atomic change is a Lua
//! script.

mod backoff;
mod broker;
mod channel_names;
mod clock;
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
mod keys;
mod markers;
mod master;
mod members_pager;
mod memory;
mod pool;
mod preflight;
mod presence;
mod probe;
mod publish_queue;
mod reply_flow;
mod rights;
mod rooms_pager;
mod script;
mod sentinel_link;
mod sentinel_report;
mod sentinel_resolver;
mod steady_clock;
mod subscriber;
mod subscription_state;
mod subscriptions;
mod tls;
mod tokens;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::broker::RedisBroker;
use self::channel_names::ChannelNames;
use self::clock::{LastTime, MonotonicClock};
use self::command_connection::CommandConnection;
use self::connector::Connector;
use self::format_level::{FormatLevel, FormatReader};
use self::keys::Keys;
use self::markers::RedisMarkers;
use self::memory::MemoryGauge;
use self::pool::Pool;
use self::preflight::{Preflight, Unsuitable};
use self::presence::RedisPresence;
use self::probe::Probe;
use self::publish_queue::{PublishHeader, PublishQueue, Replicas};
use self::sentinel_resolver::{FirstRound, SentinelResolver};
use self::steady_clock::ClockReader;
use self::subscriber::Subscriber;
use self::subscription_state::SystemChannels;
use self::tokens::RedisTokens;
use super::{Backend, Deliver};
use crate::config::Config;
use crate::supervise::until_stopped;

/// Reasons that make the backend impossible. A Redis that does not answer is no such reason: the node keeps trying.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The settings are invalid. The text never contains the URL, which may hold a password.
    #[error("{0}")]
    Settings(String),
    /// The server is in cluster mode.
    #[error(
        "Redis at {0} is in cluster mode, which is not supported. Use a standalone server or a master with replicas"
    )]
    Cluster(String),
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
            Unsuitable::Cluster => Self::Cluster(address),
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
    let connector = Connector::new(&config.redis).map_err(ConnectError::Settings)?;
    if let Some(mut resolver) =
        SentinelResolver::new(&config.redis, &connector).map_err(ConnectError::Settings)?
    {
        if let FirstRound::Wrong(why) = resolver.first_round().await {
            return Err(ConnectError::Settings(why));
        }
        tracker.spawn(until_stopped("sentinels", &shutdown, resolver.run()));
    }
    let warnings = match Preflight::run(&connector).await {
        Ok(Preflight { unsuitable: Some(reason), .. }) => {
            return Err(ConnectError::unsuitable(reason, connector.address()));
        }
        Ok(preflight) => preflight.announced(&connector),
        Err(error) => {
            let late = preflight_late(connector.clone(), shutdown.clone());
            tracker.spawn(shutdown.clone().run_until_cancelled_owned(late));
            vec![format!("Redis at {} does not answer yet: {error}", connector.address())]
        }
    };

    let format = Arc::<FormatLevel>::default();
    let names = ChannelNames::new(connector.database(), format.clone());
    let keys = Keys::new(&config.redis.prefix, names.clone());
    let node = format!("{:016x}", rand::random::<u64>());
    let clock = MonotonicClock::start();
    let connections = || -> Arc<[CommandConnection]> {
        let spawn = |_| CommandConnection::spawn(connector.clone(), clock, tracker, shutdown.clone());
        (0..config.redis.command_connections.max(1)).map(spawn).collect()
    };
    let commands = connections();
    let replicas = Replicas::new(config.redis.min_replicas_acked, config.redis.timeout);
    // What waits for replicas would delay everything else on its connection.
    let publishing = if replicas.is_some() { connections() } else { commands.clone() };
    let subscribers: Arc<[Subscriber]> = (0..config.redis.subscriber_connections.max(1))
        .map(|i| {
            let system_channels =
                SystemChannels { probe: keys.probe(&node), notices: (i == 0).then(|| keys.notices()) };
            Subscriber::spawn(
                (connector.clone(), names.clone()),
                system_channels,
                deliver.clone(),
                clock,
                tracker,
                shutdown.clone(),
            )
        })
        .collect();
    let pool = Pool::new(&connector, config.redis.pool_size).map_err(ConnectError::Settings)?;
    tracker.spawn(until_stopped("pool", &shutdown, pool.clone().close_demoted()));
    let written = Arc::new(LastTime::never(clock));
    let memory = Arc::new(MemoryGauge::default());
    let probe = Probe {
        keys: keys.clone(),
        node: node.clone(),
        commands: commands.clone(),
        subscribers: subscribers.clone(),
        written: written.clone(),
        memory: memory.clone(),
    };
    tracker.spawn(until_stopped("probe", &shutdown, probe.run()));

    let clock_reader = ClockReader::new(pool.clone(), keys.clock());
    let steady = clock_reader.clock();
    tracker.spawn(until_stopped("clock", &shutdown, clock_reader.run()));

    let format_reader = FormatReader::new(pool.clone(), [keys.leases(), keys.levels()], format.clone());
    tracker.spawn(until_stopped("format", &shutdown, format_reader.run()));

    let header = PublishHeader { retention: config.history.clone(), steady, memory, format: format.clone() };
    let publishes = (0..publishing.len())
        .map(|index| {
            let queue = (publishing.clone(), index, header.clone());
            PublishQueue::spawn(queue, replicas.clone(), config.redis.timeout, tracker, shutdown.clone())
        })
        .collect();

    let name = config.node.name.clone().unwrap_or(node);
    let presence = RedisPresence::new(
        commands.clone(),
        pool.clone(),
        keys.clone(),
        name,
        config.node.lease,
        config.rooms.quiet_above,
    );
    let backend = Backend {
        presence: Arc::new(presence),
        tokens: Arc::new(RedisTokens { pool: pool.clone(), keys: keys.clone() }),
        markers: Arc::new(RedisMarkers {
            commands: commands.clone(),
            pool: pool.clone(),
            keys: keys.clone(),
        }),
        broker: Arc::new(RedisBroker {
            keys,
            retention: config.history.clone(),
            commands,
            publishes,
            subscribers,
            pool,
            written,
            format,
            idle_check: config.node.idle_check,
        }),
    };
    Ok((backend, warnings))
}

/// Checks a Redis that did not answer at the start of the node. If it is unsuitable, it ends the node, as at the start:
/// after a restart by the supervisor, the node fails with the reason.
async fn preflight_late(connector: Connector, shutdown: CancellationToken) {
    let mut backoff = connector.backoff();
    let preflight = loop {
        backoff.pause().await;
        if let Ok(preflight) = Preflight::run(&connector).await {
            break preflight;
        }
    };
    if let Some(reason) = preflight.unsuitable.clone() {
        tracing::error!(error = %ConnectError::unsuitable(reason, connector.address()), "stopping the node");
        shutdown.cancel();
    }
    for warning in preflight.announced(&connector) {
        tracing::warn!("{warning}");
    }
}
