//! Redis backend, which several nodes share. Owns the connections and the tasks that use them; the traits that it
//! implements are in `backend`. Called by `backend::connect`, and afterwards only through the traits.
//!
//! A node has a few connections for publishing ([`command_connection`]), a few for subscriptions ([`subscriber`],
//! [`dispatcher`], [`subscriptions`]) and a pool for slow calls ([`pool`]). Commands and subscriptions never share a
//! connection, because a push of the server could be mistaken for the reply to a command. Every atomic change is a Lua
//! script.

mod broker;
mod clock;
mod codec;
mod command_connection;
mod connector;
mod dispatcher;
mod error;
mod keys;
mod markers;
mod members_pager;
mod pool;
mod preflight;
mod presence;
mod probe;
mod script;
mod subscriber;
mod subscription_state;
mod subscriptions;
mod tokens;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::broker::RedisBroker;
use self::clock::{LastTime, MonotonicClock};
use self::command_connection::CommandConnection;
use self::connector::Connector;
use self::keys::Keys;
use self::markers::RedisMarkers;
use self::pool::Pool;
use self::preflight::{Preflight, Unsuitable};
use self::presence::RedisPresence;
use self::probe::Probe;
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
    /// The server is too old.
    #[error("Redis at {address} has version {version}; chatnode needs version 7.0 or later")]
    Old {
        /// Host and port.
        address: String,
        /// The server's version.
        version: String,
    },
}

impl ConnectError {
    fn unsuitable(reason: Unsuitable, address: String) -> Self {
        match reason {
            Unsuitable::Cluster => Self::Cluster(address),
            Unsuitable::Old(version) => Self::Old { address, version },
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
    let warnings = match Preflight::run(&connector).await {
        Ok(Preflight { unsuitable: Some(reason), .. }) => {
            return Err(ConnectError::unsuitable(reason, connector.address()));
        }
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
            let system_channels =
                SystemChannels { probe: keys.probe(&node), notices: (i == 0).then(|| keys.notices()) };
            Subscriber::spawn(
                connector.clone(),
                system_channels,
                deliver.clone(),
                clock,
                tracker,
                shutdown.clone(),
            )
        })
        .collect();
    let pool = Pool::new(&connector, config.redis.pool_size).map_err(ConnectError::Settings)?;
    let written = Arc::new(LastTime::never(clock));
    let probe = Probe {
        channel: keys.probe(&node),
        commands: commands.clone(),
        subscribers: subscribers.clone(),
        written: written.clone(),
    };
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
            written,
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
    if let Some(reason) = preflight.unsuitable {
        tracing::error!(error = %ConnectError::unsuitable(reason, connector.address()), "stopping the node");
        shutdown.cancel();
    }
    for warning in preflight.warnings {
        tracing::warn!("{warning}");
    }
}
