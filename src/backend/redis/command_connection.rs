//! Connection for commands with low latency. Owns one multiplexed connection and its life: connecting, watching and
//! replacing; does not know the commands. Called by the broker and the probe.
//!
//! The `ConnectionManager` of redis-rs is not used: it notices a lost connection only when a command is sent, never
//! notices a half-open one, and stays with a master that was demoted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::{LastTime, MonotonicClock};
use super::connector::{Backoff, Connector};
use super::error::{ConnectionRole, is_demoted, is_no_script};
use super::script::{PUBLISH, Script};
use crate::backend::BackendError;
use crate::supervise::until_stopped;

/// Interval between two pings of the watchdog.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Number of unanswered pings in a row after which a connection is replaced.
const WATCH_MISSES: u32 = 2;

/// Commands that redis-rs queues before a caller waits. The number of callers is bounded: one per client connection.
const PIPELINE_BUFFER: usize = 512;

/// A connection that a task keeps alive. Without a live connection, callers wait for a moment and are then refused.
pub(super) struct CommandConnection {
    timeout: Duration,
    live: watch::Receiver<Option<LiveConnection>>,
    failure: Arc<FailureSignal>,
    last_reply: Arc<LastTime>,
}

/// One connection to Redis, with its number in the order of connecting.
#[derive(Clone)]
struct LiveConnection {
    generation: u64,
    connection: MultiplexedConnection,
}

/// A failure that a caller noticed before the watchdog. It names a generation, so that a late failure of an old connection
/// does not replace the current one.
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

    /// Resolves once a failure of this generation, or of a later one, was raised.
    async fn wait(&self, generation: u64) {
        while self.generation.load(Ordering::Relaxed) < generation {
            self.raised.notified().await;
        }
    }
}

impl CommandConnection {
    /// Starts the task that keeps the connection.
    pub(super) fn spawn(
        connector: Connector,
        clock: MonotonicClock,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (live_tx, live) = watch::channel(None);
        let failure = Arc::new(FailureSignal::default());
        let last_reply = Arc::new(LastTime::never(clock));
        let task = ConnectionTask {
            timeout: connector.timeout(),
            backoff: connector.backoff(),
            connector,
            live: live_tx,
            failure: failure.clone(),
            generation: 0,
            last_reply: last_reply.clone(),
        };
        let timeout = task.timeout;
        tracker.spawn(until_stopped("commands", &stop, task.run()));
        Self { timeout, live, failure, last_reply }
    }

    /// Time since the last reply; `None` before the first one.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.last_reply.age()
    }

    /// Runs a script, within the deadline. Concurrent calls have no order.
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
        self.finish(generation, timeout_at(deadline, call).await)
    }

    /// Runs one command, within the deadline.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value, BackendError> {
        let deadline = Instant::now() + self.timeout;
        let LiveConnection { generation, mut connection } = self.live().await?;
        let call = async { connection.send_packed_command(command).await.and_then(checked) };
        self.finish(generation, timeout_at(deadline, call).await)
    }

    /// Returns the live connection. Without one, waits for it for half of the deadline.
    async fn live(&self) -> Result<LiveConnection, BackendError> {
        if let Some(live) = &*self.live.borrow() {
            return Ok(live.clone());
        }
        let mut live = self.live.clone();
        let found = match tokio::time::timeout(self.timeout / 2, live.wait_for(Option::is_some)).await {
            Ok(Ok(live)) => live.clone(),
            _ => None,
        };
        found.ok_or_else(|| ConnectionRole::Command.refused("not connected to Redis"))
    }

    /// Records a reply, or signals a failure.
    fn finish(
        &self,
        generation: u64,
        outcome: Result<Result<Value, RedisError>, tokio::time::error::Elapsed>,
    ) -> Result<Value, BackendError> {
        match outcome {
            Ok(Ok(value)) => {
                self.last_reply.record();
                Ok(value)
            }
            Ok(Err(error)) => {
                if is_demoted(&error) || error.is_connection_dropped() {
                    self.failure.raise(generation);
                }
                Err(ConnectionRole::Command.classify(&error))
            }
            Err(_) => Err(ConnectionRole::Command.timed_out()),
        }
    }
}

/// Turns an error reply into an error: redis-rs returns it as a value.
fn checked(value: Value) -> Result<Value, RedisError> {
    value.extract_error()
}

/// The task that keeps one connection alive.
struct ConnectionTask {
    connector: Connector,
    backoff: Backoff,
    timeout: Duration,
    live: watch::Sender<Option<LiveConnection>>,
    generation: u64,
    failure: Arc<FailureSignal>,
    last_reply: Arc<LastTime>,
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
                    let reason = self.watch(connection, &lost).await;
                    // Callers that hold a clone get their reply or reach their deadline. New callers wait for the next
                    // connection.
                    self.live.send_replace(None);
                    ConnectionRole::Command.lost();
                    tracing::warn!(reason, "replacing the command connection to Redis");
                }
                Err(error) => {
                    ConnectionRole::Command.lost();
                    // A warning only once per outage, since the attempts continue every second.
                    if self.backoff.is_fresh() {
                        tracing::warn!(%error, "cannot connect to Redis for commands");
                    } else {
                        tracing::debug!(%error, "still cannot connect to Redis for commands");
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
        // Before the first use: otherwise every caller in flight gets NOSCRIPT and needs a second round trip.
        self.connector.within(PUBLISH.load().query_async::<()>(&mut connection)).await?;
        self.last_reply.record();
        Ok(connection)
    }

    async fn watch(&self, mut connection: MultiplexedConnection, lost: &Notify) -> &'static str {
        let mut misses = 0;
        let mut tick = tokio::time::interval(WATCH_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = lost.notified() => return "connection lost",
                () = self.failure.wait(self.generation) => return "a command failed",
                _ = tick.tick() => {}
            }
            let ping = redis::cmd("PING");
            let reply = async { connection.send_packed_command(&ping).await.and_then(checked) };
            tokio::select! {
                () = lost.notified() => return "connection lost",
                reply = tokio::time::timeout(self.timeout, reply) => match reply {
                    Ok(Ok(_)) => {
                        misses = 0;
                        self.last_reply.record();
                    }
                    // An error reply is a reply: a server that is loading or busy is alive.
                    Ok(Err(error)) if error.code().is_some() => misses = 0,
                    Ok(Err(_)) | Err(_) => misses += 1,
                },
            }
            if misses >= WATCH_MISSES {
                return "no reply to pings";
            }
        }
    }
}
