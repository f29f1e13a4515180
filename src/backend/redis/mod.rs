//! The backend that nodes share: Redis. Owns the connections and what runs on them; the seams that it serves are in
//! `backend`. Called by `server` through [`connect`], and from then on only through the traits.
//!
//! A node has a few hot connections for publishing ([`link`]), a few for subscriptions ([`subscriber`], [`pump`],
//! [`wishes`]) and a pool for everything slow ([`pool`]). Commands and subscriptions never share one: a push of the
//! server could be taken for a command's reply. Whatever must be atomic is a Lua script.

mod broker;
mod dial;
mod failure;
mod keys;
mod link;
mod markers;
mod pool;
mod presence;
mod probe;
mod pump;
mod script;
mod subscriber;
mod survey;
mod tokens;
mod turns;
mod wire;
mod wishes;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::broker::RedisBroker;
use self::dial::{Clock, Dial};
use self::keys::Keys;
use self::link::Link;
use self::markers::RedisMarkers;
use self::pool::Pool;
use self::presence::RedisPresence;
use self::probe::Probe;
use self::subscriber::{Own, Subscriber};
use self::survey::Survey;
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
    let dial = Dial::new(&config.redis).map_err(ConnectError::Settings)?;
    let warnings = match Survey::take(&dial).await {
        Ok(survey) if survey.is_cluster => return Err(ConnectError::Cluster(dial.address())),
        Ok(survey) => survey.warnings,
        Err(error) => {
            let late = survey_late(dial.clone(), shutdown.clone());
            tracker.spawn(shutdown.clone().run_until_cancelled_owned(late));
            vec![format!("Redis at {} does not answer yet: {error}", dial.address())]
        }
    };

    let keys = Keys::new(&config.redis.prefix);
    let node = format!("{:016x}", rand::random::<u64>());
    let clock = Clock::start();
    let links: Arc<[Link]> = (0..config.redis.command_connections.max(1))
        .map(|_| Link::spawn(dial.clone(), clock, tracker, shutdown.clone()))
        .collect();
    let subscribers: Arc<[Subscriber]> = (0..config.redis.subscriber_connections.max(1))
        .map(|i| {
            let own = Own { probe: keys.probe(&node), notices: (i == 0).then(|| keys.notices()) };
            Subscriber::spawn(dial.clone(), own, deliver.clone(), clock, tracker, shutdown.clone())
        })
        .collect();
    let pool = Pool::new(&dial, config.redis.pool_size).map_err(ConnectError::Settings)?;
    let probe = Probe { channel: keys.probe(&node), links: links.clone(), subscribers: subscribers.clone() };
    tracker.spawn(until_stopped("probe", &shutdown, probe.run()));

    let name = config.node.name.clone().unwrap_or(node);
    let presence =
        RedisPresence::new(pool.clone(), keys.clone(), name, config.node.lease, config.rooms.quiet_above);
    let backend = Backend {
        presence: Arc::new(presence),
        tokens: Arc::new(RedisTokens { pool: pool.clone(), keys: keys.clone() }),
        markers: Arc::new(RedisMarkers { pool: pool.clone(), keys: keys.clone() }),
        broker: Arc::new(RedisBroker { keys, retention: config.history.clone(), links, subscribers, pool }),
    };
    Ok((backend, warnings))
}

/// For a Redis that comes later. One that can't ever serve ends the node, as it would have at the start: its supervisor
/// starts it again, and it says why it won't.
async fn survey_late(dial: Dial, shutdown: CancellationToken) {
    let mut backoff = dial.backoff();
    let survey = loop {
        backoff.pause().await;
        if let Ok(survey) = Survey::take(&dial).await {
            break survey;
        }
    };
    if survey.is_cluster {
        tracing::error!(error = %ConnectError::Cluster(dial.address()), "the node stops");
        shutdown.cancel();
    }
    for warning in survey.warnings {
        tracing::warn!("{warning}");
    }
}
