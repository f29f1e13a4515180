//! The backend that nodes share: Redis. Owns the connections and what runs on them; the seams that it serves are in
//! `backend`. Called by `server` through [`connect`], and from then on only through the traits.
//!
//! A node has a few hot connections for publishing ([`command_connection`]), a few for subscriptions ([`subscriber`], [`dispatcher`],
//! [`subscriptions`]) and a pool for everything slow ([`pool`]). Commands and subscriptions never share one: a push of the
//! server could be taken for a command's reply. Whatever must be atomic is a Lua script.

mod broker;
mod codec;
mod command_connection;
mod connector;
mod dispatcher;
mod error;
mod keys;
mod markers;
mod pool;
mod preflight;
mod presence;
mod probe;
mod script;
mod subscriber;
mod subscriptions;
mod tokens;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::broker::RedisBroker;
use self::command_connection::CommandConnection;
use self::connector::{Connector, MonotonicClock};
use self::keys::Keys;
use self::markers::RedisMarkers;
use self::pool::Pool;
use self::preflight::Preflight;
use self::presence::RedisPresence;
use self::probe::Probe;
use self::subscriber::{Subscriber, SystemChannels};
use self::tokens::RedisTokens;
use super::{Backend, Deliver};
use crate::config::Config;
use crate::supervise::until_stopped;

/// Why there can't be a backend, whatever Redis does from now on. A Redis that is merely not there is no reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The URL, or what follows from it. Never shows the URL: it may hold a password.
    #[error("{0}")]
    Settings(String),
    /// A server in cluster mode.
    #[error(
        "Redis at {0} is in cluster mode, which is not supported: use a standalone server, or a master with replicas"
    )]
    Cluster(String),
}

/// Starts the backend. Returns it with what the operator should know of this Redis, one line each. Where Redis does not
/// answer, the connections are tried for ever, and the warnings are logged when it comes; should it turn out to be in cluster mode, `shutdown` is cancelled.
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
    let warnings = match Preflight::take(&connector).await {
        Ok(preflight) if preflight.is_cluster => return Err(ConnectError::Cluster(connector.address())),
        Ok(preflight) => preflight.warnings,
        Err(error) => {
            let late = preflight_late(connector.clone(), shutdown.clone());
            tracker.spawn(shutdown.clone().run_until_cancelled_owned(late));
            vec![format!("Redis at {} does not answer yet: {error}", connector.address())]
        }
    };

    let keys = Keys::new(&config.redis.prefix);
    let node = format!("{:016x}", rand::random::<u64>());
    let clock = MonotonicClock::start();
    let commands: Arc<[CommandConnection]> = (0..config.redis.command_connections.max(1))
        .map(|_| CommandConnection::spawn(connector.clone(), clock, tracker, shutdown.clone()))
        .collect();
    let subscribers: Arc<[Subscriber]> = (0..config.redis.subscriber_connections.max(1))
        .map(|i| {
            let own = SystemChannels { probe: keys.probe(&node), notices: (i == 0).then(|| keys.notices()) };
            Subscriber::spawn(connector.clone(), own, deliver.clone(), clock, tracker, shutdown.clone())
        })
        .collect();
    let pool = Pool::new(&connector, config.redis.pool_size).map_err(ConnectError::Settings)?;
    let probe =
        Probe { channel: keys.probe(&node), commands: commands.clone(), subscribers: subscribers.clone() };
    tracker.spawn(until_stopped("probe", &shutdown, probe.run()));

    let name = config.node.name.clone().unwrap_or(node);
    let presence =
        RedisPresence::new(pool.clone(), keys.clone(), name, config.node.lease, config.rooms.quiet_above);
    let backend = Backend {
        presence: Arc::new(presence),
        tokens: Arc::new(RedisTokens { pool: pool.clone(), keys: keys.clone() }),
        markers: Arc::new(RedisMarkers { pool: pool.clone(), keys: keys.clone() }),
        broker: Arc::new(RedisBroker {
            keys,
            retention: config.history.clone(),
            commands,
            subscribers,
            pool,
        }),
    };
    Ok((backend, warnings))
}

/// For a Redis that comes later. One that can't ever serve ends the node, as it would have at the start: its supervisor
/// starts it again, and it says why it won't.
async fn preflight_late(connector: Connector, shutdown: CancellationToken) {
    let mut backoff = connector.backoff();
    let preflight = loop {
        backoff.pause().await;
        if let Ok(preflight) = Preflight::take(&connector).await {
            break preflight;
        }
    };
    if preflight.is_cluster {
        tracing::error!(error = %ConnectError::Cluster(connector.address()), "the node stops");
        shutdown.cancel();
    }
    for warning in preflight.warnings {
        tracing::warn!("{warning}");
    }
}
