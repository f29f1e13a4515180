//! The hot connection for commands. Owns one multiplexed connection and everything that keeps it alive: connecting,
//! the watchdog, replacing; does not know what is sent over it. Called by the broker and the prober.
//!
//! redis-rs's own `ConnectionManager` is not used: it stays deaf until a command is sent, never notices a half-open
//! connection, and stays with a master that was demoted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connector::{Backoff, Connector, MonotonicClock};
use super::error::{ConnectionRole, is_demoted, is_no_script};
use super::script::{PUBLISH, Script};
use crate::backend::BackendError;
use crate::supervise::until_stopped;

/// How often the watchdog asks.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// How many unanswered questions make a connection dead.
const WATCH_MISSES: u32 = 2;

/// Messages that redis-rs takes before a caller waits. Callers are bounded: one per client connection.
const PIPELINE_BUFFER: usize = 512;

/// A connection that is always being kept, hence cheap to share: callers wait for it a moment, or are refused.
pub(super) struct CommandConnection {
    timeout: Duration,
    live: watch::Receiver<Option<LiveConnection>>,
    failure: Arc<FailureSignal>,
    health: Arc<Health>,
}

/// One connection of the link's.
#[derive(Clone)]
struct LiveConnection {
    generation: u64,
    connection: MultiplexedConnection,
}

/// What callers found out about a connection before its watchdog did. By generation: a late failure of the last
/// connection must not cost the present one.
#[derive(Default)]
struct FailureSignal {
    generation: AtomicU64,
    raised: Notify,
}

impl FailureSignal {
    fn raise(&self, generation: u64) {
        self.generation.fetch_max(generation, Ordering::Relaxed);
        self.raised.notify_one();
    }

    /// Resolves once this connection is suspected.
    async fn of(&self, generation: u64) {
        while self.generation.load(Ordering::Relaxed) < generation {
            self.raised.notified().await;
        }
    }
}

/// When a command last succeeded, in ms of the [`MonotonicClock`]; 0: never.
struct Health {
    clock: MonotonicClock,
    answered: AtomicU64,
}

impl CommandConnection {
    /// Starts keeping a connection.
    pub(super) fn spawn(
        connector: Connector,
        clock: MonotonicClock,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (live_tx, live) = watch::channel(None);
        let failure = Arc::new(FailureSignal::default());
        let health = Arc::new(Health { clock, answered: AtomicU64::new(0) });
        let task = ConnectionTask {
            timeout: connector.timeout(),
            backoff: connector.backoff(),
            connector,
            live: live_tx,
            failure: failure.clone(),
            generation: 0,
            health: health.clone(),
        };
        let timeout = task.timeout;
        tracker.spawn(until_stopped("commands", &stop, task.run()));
        Self { timeout, live, failure, health }
    }

    /// How long since a command succeeded.
    pub(super) fn silence(&self) -> Option<Duration> {
        let answered = self.health.answered.load(Ordering::Relaxed);
        (answered > 0).then(|| self.health.clock.since(answered))
    }

    /// Runs a script, within the deadline. Calls that run at the same time have no order among them.
    pub(super) async fn script(
        &self,
        script: &Script,
        keys: usize,
        fill: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<Value, BackendError> {
        let deadline = Instant::now() + self.timeout;
        let LiveConnection { generation, mut connection } = self.live().await?;
        let call = async {
            match connection.send_packed_command(&script.by_hash(keys, &fill)).await.and_then(checked) {
                Err(error) if is_no_script(&error) => {
                    connection.send_packed_command(&script.by_text(keys, &fill)).await.and_then(checked)
                }
                reply => reply,
            }
        };
        self.judge(generation, timeout_at(deadline, call).await)
    }

    /// Runs one command, within the deadline.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value, BackendError> {
        let deadline = Instant::now() + self.timeout;
        let LiveConnection { generation, mut connection } = self.live().await?;
        let call = async { connection.send_packed_command(command).await.and_then(checked) };
        self.judge(generation, timeout_at(deadline, call).await)
    }

    /// The live connection; where there is none, whatever comes within half the deadline.
    async fn live(&self) -> Result<LiveConnection, BackendError> {
        if let Some(live) = &*self.live.borrow() {
            return Ok(live.clone());
        }
        let mut live = self.live.clone();
        let found = match tokio::time::timeout(self.timeout / 2, live.wait_for(Option::is_some)).await {
            Ok(Ok(live)) => live.clone(),
            _ => None,
        };
        found.ok_or_else(|| ConnectionRole::Command.refused("no connection to Redis"))
    }

    fn judge(
        &self,
        generation: u64,
        outcome: Result<Result<Value, RedisError>, tokio::time::error::Elapsed>,
    ) -> Result<Value, BackendError> {
        match outcome {
            Ok(Ok(value)) => {
                self.health.answered.store(self.health.clock.now(), Ordering::Relaxed);
                Ok(value)
            }
            Ok(Err(error)) => {
                if is_demoted(&error) || error.is_connection_dropped() {
                    self.failure.raise(generation);
                }
                Err(ConnectionRole::Command.judge(&error))
            }
            Err(_) => Err(ConnectionRole::Command.timed_out()),
        }
    }
}

/// redis-rs hands an error reply of the server over as a value.
fn checked(value: Value) -> Result<Value, RedisError> {
    value.extract_error()
}

/// The task that keeps one connection.
struct ConnectionTask {
    connector: Connector,
    backoff: Backoff,
    timeout: Duration,
    live: watch::Sender<Option<LiveConnection>>,
    generation: u64,
    failure: Arc<FailureSignal>,
    health: Arc<Health>,
}

impl ConnectionTask {
    async fn run(mut self) {
        loop {
            let lost = Arc::new(Notify::new());
            match self.connect(lost.clone()).await {
                Ok(connection) => {
                    self.generation += 1;
                    let live = LiveConnection { generation: self.generation, connection: connection.clone() };
                    self.live.send_replace(Some(live));
                    self.backoff.reset();
                    let why = self.watch(connection, &lost).await;
                    // Callers that hold a clone get their answer or their own deadline; nobody new gets this one.
                    self.live.send_replace(None);
                    ConnectionRole::Command.lost();
                    tracing::warn!(why, "the command connection to Redis is replaced");
                }
                Err(error) => {
                    ConnectionRole::Command.lost();
                    // Once per outage: the attempts go on every second.
                    if self.backoff.is_fresh() {
                        tracing::warn!(%error, "can't connect to Redis for commands");
                    } else {
                        tracing::debug!(%error, "still can't connect to Redis for commands");
                    }
                }
            }
            self.backoff.pause().await;
        }
    }

    async fn connect(&self, lost: Arc<Notify>) -> Result<MultiplexedConnection, RedisError> {
        let config = self.connector.config().set_pipeline_buffer_size(PIPELINE_BUFFER).set_push_sender(
            move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    lost.notify_one();
                }
                Ok::<(), redis::aio::SendError>(())
            },
        );
        let mut connection = self.connector.connect(&config).await?;
        self.connector.check_master(&mut connection).await?;
        // Before anybody uses it: a NOSCRIPT in mid-flight costs each caller a second round trip.
        self.connector.within(PUBLISH.load().query_async::<()>(&mut connection)).await?;
        self.health.answered.store(self.health.clock.now(), Ordering::Relaxed);
        Ok(connection)
    }

    async fn watch(&self, mut connection: MultiplexedConnection, lost: &Notify) -> &'static str {
        let mut misses = 0;
        let mut tick = tokio::time::interval(WATCH_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = lost.notified() => return "lost",
                () = self.failure.of(self.generation) => return "a command failed",
                _ = tick.tick() => {}
            }
            let ping = redis::cmd("PING");
            let answer = async { connection.send_packed_command(&ping).await.and_then(checked) };
            tokio::select! {
                () = lost.notified() => return "lost",
                answer = tokio::time::timeout(self.timeout, answer) => match answer {
                    Ok(Ok(_)) => {
                        misses = 0;
                        self.health.answered.store(self.health.clock.now(), Ordering::Relaxed);
                    }
                    // An error reply is an answer: a server that is loading or busy is there.
                    Ok(Err(error)) if error.code().is_some() => misses = 0,
                    Ok(Err(_)) | Err(_) => misses += 1,
                },
            }
            if misses >= WATCH_MISSES {
                return "no answer";
            }
        }
    }
}
