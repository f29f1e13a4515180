//! Connection for commands with short replies. Owns one multiplexed connection and its life: connecting, watching and
//! replacing; does not know the commands. Called by the stores and the probe.
//!
//! What is asked at the same time goes to Redis with one system call, and needs no check before: a join asks for five things,
//! and a connection of the pool would be pinged for each.
//!
//! The `ConnectionManager` of redis-rs is not used: it notices a lost connection only when a command is sent, never
//! notices a half-open one, and stays with a master that was demoted.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Pipeline, PushInfo, PushKind, RedisError, Value, from_redis_value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::clock::{LastTime, MonotonicClock};
use super::connection::Connection;
use super::connector::{Connector, NOT_A_MASTER};
use super::error::{ConnectionRole, is_no_script};
use super::script::{ON_COMMAND_CONNECTIONS, Script};
use crate::backend::BackendError;
use crate::protocol::Topic;
use crate::supervise::until_stopped;

/// Interval between two questions of the watchdog.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Number of unanswered questions or calls in a row after which a connection is replaced.
const WATCH_MISSES: u32 = 2;

/// Commands that redis-rs queues before a caller waits. The number of callers is bounded: one per client connection.
const PIPELINE_BUFFER: usize = 512;

/// A connection that a task keeps alive. Without a live connection, callers wait for a moment and are then refused.
pub(super) struct CommandConnection {
    connector: Connector,
    live: watch::Receiver<Option<LiveConnection>>,
    failure: Arc<FailureSignal>,
    last_reply: Arc<LastTime>,
}

/// Returns the connection of a topic. It is always the same one, so that the connection keeps the order of the topic.
pub(super) fn shard<'a, T>(connections: &'a [T], topic: &Topic) -> &'a T {
    let mut hasher = DefaultHasher::new();
    topic.hash(&mut hasher);
    &connections[(hasher.finish() % connections.len() as u64) as usize]
}

/// One connection to Redis, with its number in the order of connecting.
#[derive(Clone)]
struct LiveConnection {
    generation: u64,
    connection: Connection,
}

/// A failure that a caller noticed before the watchdog. It names a generation, so that a late failure of an old connection
/// does not replace the current one.
#[derive(Default)]
struct FailureSignal {
    generation: AtomicU64,
    raised: Notify,
    /// A call got no answer in time: the watchdog asks at once.
    suspected: Notify,
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
            backoff: connector.backoff(),
            connector: connector.clone(),
            live: live_tx,
            failure: failure.clone(),
            generation: 0,
            last_reply: last_reply.clone(),
        };
        tracker.spawn(until_stopped("commands", &stop, task.run()));
        Self { connector, live, failure, last_reply }
    }

    /// Time since the last reply; `None` before the first one.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.last_reply.age()
    }

    /// Runs a script, within the deadline. Concurrent calls have no order.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: usize,
        fill: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<T, BackendError> {
        let deadline = Instant::now() + self.connector.timeout();
        let LiveConnection { generation, mut connection } = self.live().await?;
        let call = async {
            match connection.send_packed_command(&script.by_hash(keys, &fill)).await.and_then(checked) {
                Err(error) if is_no_script(&error) => {
                    connection.send_packed_command(&script.by_text(keys, &fill)).await.and_then(checked)
                }
                reply => reply,
            }
        };
        let reply: Value = self.finish(generation, timeout_at(deadline, call).await)?;
        from_redis_value(reply).map_err(|_| ConnectionRole::Command.malformed_reply())
    }

    /// Runs one command, within the deadline.
    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, BackendError> {
        let deadline = Instant::now() + self.connector.timeout();
        let LiveConnection { generation, mut connection } = self.live().await?;
        let call = async { connection.send_packed_command(command).await.and_then(checked) };
        let reply: Value = self.finish(generation, timeout_at(deadline, call).await)?;
        from_redis_value(reply).map_err(|_| ConnectionRole::Command.malformed_reply())
    }

    /// Runs commands one directly after the other, within the deadline.
    pub(super) async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, BackendError> {
        let deadline = Instant::now() + self.connector.timeout();
        let LiveConnection { generation, mut connection } = self.live().await?;
        self.finish(generation, timeout_at(deadline, pipeline.query_async(&mut *connection)).await)
    }

    /// Returns the live connection. Without one, waits for it for half of the deadline.
    async fn live(&self) -> Result<LiveConnection, BackendError> {
        if let Some(live) = &*self.live.borrow() {
            return Ok(live.clone());
        }
        let mut live = self.live.clone();
        let found =
            match tokio::time::timeout(self.connector.timeout() / 2, live.wait_for(Option::is_some)).await {
                Ok(Ok(live)) => live.clone(),
                _ => None,
            };
        found.ok_or_else(|| ConnectionRole::Command.refused("not connected to Redis"))
    }

    /// Records a reply, or signals a failure.
    fn finish<T>(
        &self,
        generation: u64,
        outcome: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
    ) -> Result<T, BackendError> {
        match outcome {
            Ok(Ok(value)) => {
                self.last_reply.record();
                Ok(value)
            }
            Ok(Err(error)) => {
                if self.connector.notice_demotion(&error) || error.is_connection_dropped() {
                    self.failure.raise(generation);
                }
                Err(ConnectionRole::Command.classify(&error))
            }
            Err(_) => {
                self.failure.suspected.notify_one();
                Err(ConnectionRole::Command.timed_out())
            }
        }
    }
}

/// Turns an error reply into an error: redis-rs returns it as a value. Not so the errors within an array: each concerns one
/// item of a call.
fn checked(value: Value) -> Result<Value, RedisError> {
    match value {
        Value::ServerError(error) => Err(error.into()),
        value => Ok(value),
    }
}

/// The task that keeps one connection alive.
struct ConnectionTask {
    connector: Connector,
    backoff: Backoff,
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

    async fn connect(&self, lost: Arc<Notify>) -> Result<Connection, RedisError> {
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
        let mut load = Pipeline::with_capacity(ON_COMMAND_CONNECTIONS.len());
        for script in ON_COMMAND_CONNECTIONS {
            load.add_command(script.load());
        }
        self.connector.within(load.query_async::<()>(&mut *connection)).await?;
        self.last_reply.record();
        Ok(connection)
    }

    async fn watch(&self, mut connection: Connection, lost: &Notify) -> &'static str {
        let mut misses = 0;
        let mut demotion = self.connector.watch_demotion();
        let mut tick = tokio::time::interval(WATCH_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = lost.notified() => return "connection lost",
                () = self.failure.wait(self.generation) => return "a command failed",
                // One more answer that does not come, and the connection is replaced.
                () = self.failure.suspected.notified() => misses = misses.max(WATCH_MISSES - 1),
                () = demotion.raised() => {}
                _ = tick.tick() => {}
            }
            tokio::select! {
                () = lost.notified() => return "connection lost",
                reply = self.connector.is_master(&mut connection) => match reply {
                    Ok(true) => {
                        misses = 0;
                        self.last_reply.record();
                    }
                    Ok(false) => return NOT_A_MASTER,
                    // An error reply is a reply: a server that is loading or busy is alive.
                    Err(error) if error.code().is_some() => misses = 0,
                    Err(_) => misses += 1,
                },
            }
            if misses >= WATCH_MISSES {
                return "no reply to the watchdog";
            }
        }
    }
}
