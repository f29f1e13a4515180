//! Connection for commands with short replies. Owns one multiplexed connection and its life: connecting, watching and
//! replacing; does not know the commands. Called by the stores and the probe.
//!
//! What is asked at the same time goes to Redis with one system call, and needs no check before: a join asks for five things,
//! and a connection of the pool would be pinged for each.
//!
//! A server that did not answer for a second may be replaced meanwhile. New calls then wait until it has answered a question, and,
//! with Sentinels, until they confirm that it is the master.
//!
//! The `ConnectionManager` of redis-rs is not used: it notices a lost connection only when a command is sent, never
//! notices a half-open one, and stays with a master that was demoted.

use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::call::Call;
use super::clock::{LastTime, MonotonicClock};
use super::connection::Connection;
use super::connector::Connector;
use super::error::ConnectionRole;
use super::failure_signal::FailureSignal;
use super::master::Master;
use super::redirect::Failure;
use super::reply_flow::{Question, ReplyFlow, STALL};
use super::script::ON_COMMAND_CONNECTIONS;
use crate::failpoints::{self, Failpoint};
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

/// One connection to Redis, with its number in the order of connecting.
#[derive(Clone)]
pub(super) struct LiveConnection {
    generation: u64,
    connection: Connection,
    flow: Arc<ReplyFlow>,
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
            clock,
        };
        tracker.spawn(until_stopped("commands", &stop, task.run()));
        Self { connector, live, failure, last_reply }
    }

    /// Time since the last reply; `None` before the first one.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.last_reply.age()
    }

    /// Makes a call, until the deadline. Concurrent calls have no order. For `asking`, see [`Call::send`].
    pub(super) async fn call(
        &self,
        call: &Call<'_>,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let live = self.live().await?;
        let question = live.flow.ask();
        let mut connection = live.connection.clone();
        let outcome = timeout_at(deadline, call.send(&mut connection, asking)).await;
        self.finish(&live, &question, outcome)
    }

    /// Returns the live connection. Without one that may be written to, waits for it for half of the deadline.
    async fn live(&self) -> Result<LiveConnection, Failure> {
        if let Some(live) = &*self.live.borrow()
            && self.is_usable(live)
        {
            return Ok(live.clone());
        }
        let found = tokio::time::timeout(self.connector.timeout() / 2, self.usable()).await;
        let unconnected = || Failure::unconnected(ConnectionRole::Command.refused("not connected to Redis"));
        found.ok().flatten().ok_or_else(unconnected)
    }

    /// Resolves with a live connection that may be written to. `None` once the node stops.
    pub(super) async fn usable(&self) -> Option<LiveConnection> {
        let mut live = self.live.clone();
        loop {
            self.connector.released().await;
            let found = live.wait_for(|live| live.as_ref().is_some_and(|live| self.is_proved(live))).await;
            if let Some(found) = found.ok()?.as_ref().filter(|live| self.is_usable(live)) {
                return Some(found.clone());
            }
        }
    }

    /// Whether something may be written to this connection now.
    fn is_usable(&self, live: &LiveConnection) -> bool {
        !self.connector.is_held() && self.is_proved(live)
    }

    /// Whether this connection leads to the master, as far as is known.
    fn is_proved(&self, live: &LiveConnection) -> bool {
        let has_stalled = live.flow.has_stalled();
        if has_stalled {
            self.failure.suspected.notify_one();
        }
        !has_stalled && self.connector.is_current(&live.connection)
    }

    /// Whether a reply counts that came after the server had been silent for so long: a replaced master may send it.
    fn counts(&self, live: &LiveConnection, silence: Duration) -> bool {
        let window = self.connector.master().and_then(Master::window);
        let in_time = window.is_none_or(|window| silence < window) || failpoints::is(Failpoint::TrustStall);
        in_time && self.connector.is_current(&live.connection)
    }

    /// Records a reply, or signals a failure.
    fn finish<T>(
        &self,
        live: &LiveConnection,
        question: &Question<'_>,
        outcome: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
    ) -> Result<T, Failure> {
        match outcome {
            Ok(Ok(value)) => {
                if !self.counts(live, question.answered()) {
                    self.failure.raise(live.generation);
                    return Err(ConnectionRole::Command.replaced().into());
                }
                self.last_reply.record();
                Ok(value)
            }
            Ok(Err(error)) => {
                if error.code().is_some() {
                    question.answered();
                }
                if self.connector.notice_demotion(&error) || error.is_connection_dropped() {
                    self.failure.raise(live.generation);
                }
                Err(Failure::classify(ConnectionRole::Command, &error))
            }
            Err(_) => {
                self.failure.suspected.notify_one();
                Err(ConnectionRole::Command.timed_out().into())
            }
        }
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
    clock: MonotonicClock,
}

impl ConnectionTask {
    async fn run(mut self) {
        loop {
            let lost = Arc::new(Notify::new());
            match self.connect(lost.clone()).await {
                Ok(connection) => {
                    self.generation += 1;
                    let flow = Arc::new(ReplyFlow::new(self.clock, self.connector.master().cloned()));
                    let (generation, flow_here) = (self.generation, flow.clone());
                    let live = LiveConnection { generation, connection: connection.clone(), flow };
                    self.live.send_replace(Some(live));
                    self.backoff.reset();
                    let reason = self.watch(connection, &flow_here, &lost).await;
                    // Callers that hold a clone get their reply or reach their deadline. New callers wait for the next
                    // connection.
                    self.live.send_replace(None);
                    ConnectionRole::Command.lost();
                    tracing::warn!(reason, "replacing the command connection to Redis");
                    self.connector.ask_for_master();
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
        if self.connector.is_suspect() {
            match self.connector.confirm_master(&connection).await {
                true => self.connector.trust(),
                false => return Err(self.connector.not_confirmed()),
            }
        }
        // Before the first use: otherwise every caller in flight gets NOSCRIPT and needs a second round trip.
        let mut load = Pipeline::with_capacity(ON_COMMAND_CONNECTIONS.len());
        for script in ON_COMMAND_CONNECTIONS {
            load.add_command(script.load());
        }
        self.connector.within(load.query_async::<()>(&mut *connection)).await?;
        self.last_reply.record();
        Ok(connection)
    }

    async fn watch(&self, mut connection: Connection, flow: &ReplyFlow, lost: &Notify) -> &'static str {
        let mut misses = 0;
        let mut demotion = self.connector.watch_demotion();
        loop {
            tokio::select! {
                () = lost.notified() => return "connection lost",
                () = self.failure.wait(self.generation) => return "a command failed",
                // One more answer that does not come, and the connection is replaced.
                () = self.failure.suspected.notified() => misses = misses.max(WATCH_MISSES - 1),
                () = demotion.raised() => {}
                () = tokio::time::sleep(self.watch_interval(flow)) => {}
            }
            tokio::select! {
                () = lost.notified() => return "connection lost",
                reply = self.prove(&mut connection, flow) => match reply {
                    Ok(true) => {
                        misses = 0;
                        self.last_reply.record();
                    }
                    Ok(false) => return self.connector.why_no_master(),
                    // An error reply is a reply: a server that is loading or busy is alive.
                    Err(error) if error.code().is_some() => misses = 0,
                    // The flaw stays with a server that stood still.
                    Err(_) if failpoints::is(Failpoint::TrustStall) => {}
                    Err(_) => misses += 1,
                },
            }
            if misses >= WATCH_MISSES {
                return "no reply to the watchdog";
            }
        }
    }

    /// Asks whether the server is the master. After a stall, calls go on only if it and the Sentinels say so.
    async fn prove(&self, connection: &mut Connection, flow: &ReplyFlow) -> Result<bool, RedisError> {
        let question = flow.ask();
        let is_master = self.connector.is_master(connection).await?;
        question.answered();
        if is_master && flow.has_stalled() && self.connector.confirm_master(connection).await {
            flow.prove();
            self.connector.trust();
            // Those who wait look again.
            self.live.send_modify(|_| {});
        }
        Ok(is_master)
    }

    /// The time until the next question. Between two answers must be less than the time in which a master is replaced.
    fn watch_interval(&self, flow: &ReplyFlow) -> Duration {
        let window = self.connector.master().and_then(Master::window);
        match window {
            _ if flow.has_stalled() => STALL / 10,
            Some(window) => WATCH_INTERVAL.min(window / 4),
            None => WATCH_INTERVAL,
        }
    }
}
