//! Connection for subscriptions. Owns its life and one batch of changes at a time; the desired subscriptions are in
//! `subscriptions`, and commands never use this connection. Called by the broker, watched by the probe.
//!
//! One task handles messages and confirmations in the order of their arrival. So a topic is reported as restored before
//! its first message, and as interrupted after its last one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use redis::RedisResult;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::channel_names::ChannelNames;
use super::clock::MonotonicClock;
use super::connection::Connection;
use super::connector::Connector;
use super::dispatcher::{BURST, Dispatcher, InboundQueue, PushMessage};
use super::error::ConnectionRole;
use super::subscription_state::{SubscriptionState, SystemChannels};
use super::subscriptions::SubscribeOutcome;
use crate::backend::{BackendError, Deliver, Interruption};
use crate::protocol::Topic;
use crate::supervise::until_stopped;

/// Maximum of channels per SUBSCRIBE: one round trip for all of them, and no long reply that delays messages.
const BATCH: usize = 500;

/// Interval between two checks that the server is still a master.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Reason to replace a connection that did not deliver a probe.
const SILENT: &str = "no probe arrived";

/// A connection that a task keeps alive, with its subscriptions.
pub(super) struct Subscriber {
    state: Arc<SubscriptionState>,
    timeout: Duration,
}

impl Subscriber {
    /// Starts the task that keeps the connection.
    pub(super) fn spawn(
        (connector, names): (Connector, ChannelNames),
        system_channels: SystemChannels,
        deliver: Arc<dyn Deliver>,
        clock: MonotonicClock,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let state = Arc::new(SubscriptionState::new(clock));
        let timeout = connector.timeout();
        let backoff = connector.backoff();
        let task =
            SubscriberTask { connector, names, backoff, system_channels, deliver, state: state.clone() };
        tracker.spawn(until_stopped("subscriptions", &stop, task.run()));
        Self { state, timeout }
    }

    /// See [`crate::backend::Broker::subscribe`].
    pub(super) async fn subscribe(&self, channel: String, topic: &Topic) -> Result<(), BackendError> {
        let outcome = self.state.subscriptions().subscribe(&channel, topic);
        let SubscribeOutcome::Pending(ticket, confirmed) = outcome else { return Ok(()) };
        self.state.changed.notify_one();
        // Also if the caller is dropped while it waits.
        let _waiting = Waiting { state: &self.state, channel: &channel, ticket };
        match tokio::time::timeout(self.timeout, confirmed).await {
            Ok(Ok(())) if self.state.subscriptions().acknowledge(&channel, ticket) => Ok(()),
            Ok(_) => Err(BackendError::Refused("the topic was unsubscribed in the meantime".into())),
            Err(_) => {
                Err(ConnectionRole::Subscriber.refused("Redis did not confirm the subscription in time"))
            }
        }
    }

    /// See [`crate::backend::Broker::unsubscribe`].
    pub(super) fn unsubscribe(&self, channel: &str) {
        self.state.subscriptions().unsubscribe(channel);
        self.state.changed.notify_one();
    }

    /// Records that a probe was published; see [`SubscriptionState::probe`].
    pub(super) fn record_probe(&self) {
        self.state.probe.record_sent();
    }

    /// How long the oldest published probe has been missing.
    pub(super) fn overdue(&self) -> Duration {
        self.state.probe.overdue()
    }

    /// Time since the last probe arrived; `None` before the first one.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.state.probe.silence()
    }

    /// Replaces the connection by a new one.
    pub(super) fn replace(&self) {
        self.state.probe.expect_none();
        self.state.replace.notify_one();
    }
}

/// A caller that waits for a confirmation. Its end cancels the request, unless the subscription was acknowledged.
struct Waiting<'a> {
    state: &'a SubscriptionState,
    channel: &'a str,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.state.subscriptions().cancel(self.channel, self.ticket);
        self.state.changed.notify_one();
    }
}

/// The task that keeps one connection alive.
struct SubscriberTask {
    connector: Connector,
    names: ChannelNames,
    backoff: Backoff,
    /// Subscribed before any topic.
    system_channels: SystemChannels,
    deliver: Arc<dyn Deliver>,
    state: Arc<SubscriptionState>,
}

impl SubscriberTask {
    async fn run(mut self) {
        loop {
            self.names.known().await;
            let (inbound, queue) = InboundQueue::new(self.names.prefix());
            match self.connect(&inbound).await {
                Ok(connection) => {
                    self.backoff.reset();
                    // A probe that was published before this connection existed proves nothing about it.
                    self.state.probe.expect_none();
                    let _ = self.state.replace.notified().now_or_never();
                    let reason = self.serve(connection, &inbound, queue).await;
                    tracing::warn!(reason, "replacing the subscription connection to Redis");
                    self.connector.ask_for_master();
                    let interrupted = self.state.subscriptions().connection_lost();
                    if !interrupted.is_empty() {
                        let how = if reason == SILENT { Interruption::Silent } else { Interruption::Lost };
                        self.deliver.interrupted(&interrupted, how);
                    }
                }
                // A warning only once per outage, since the attempts continue every second.
                Err(error) if self.backoff.is_fresh() => {
                    tracing::warn!(%error, "cannot connect to Redis for subscriptions");
                }
                Err(error) => tracing::debug!(%error, "still cannot connect to Redis for subscriptions"),
            }
            ConnectionRole::Subscriber.lost();
            self.backoff.pause().await;
        }
    }

    async fn connect(&self, inbound: &Arc<InboundQueue>) -> RedisResult<Connection> {
        let queue = inbound.clone();
        let config = self.connector.config().set_push_sender(move |push| queue.push(push));
        let mut connection = self.connector.connect(&config).await?;
        self.connector.check_master(&mut connection).await?;
        let channels: Vec<String> =
            self.system_channels.all().into_iter().map(|channel| inbound.prefix.clone() + channel).collect();
        self.connector.within(connection.subscribe(channels)).await?;
        Ok(connection)
    }

    /// Resolves once the server is no longer a master.
    async fn demoted(&self, mut connection: Connection) {
        let mut signal = self.connector.watch_demotion();
        let mut tick = tokio::time::interval_at(Instant::now() + CHECK_INTERVAL, CHECK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = signal.raised() => {}
                _ = tick.tick() => {}
            }
            // Without an answer the connection may be slow or lost, which the probe decides.
            if matches!(self.connector.is_master(&mut connection).await, Ok(false)) {
                return;
            }
        }
    }

    /// Dispatches messages and sends changes of the subscriptions, until the connection is lost. Returns the reason.
    async fn serve(
        &self,
        connection: Connection,
        inbound: &InboundQueue,
        mut queue: mpsc::Receiver<PushMessage>,
    ) -> &'static str {
        let mut dispatcher = Dispatcher::new(&self.state, &*self.deliver, &self.system_channels);
        let mut burst = Vec::with_capacity(BURST);
        let mut batch_call = BatchCall::default();
        // A replica passes on what is published at its master, so the probe does not show a demotion.
        let demoted = self.demoted(connection.clone());
        tokio::pin!(demoted);
        let reason = loop {
            if batch_call.is_complete(dispatcher.confirmed()) {
                batch_call = BatchCall::start(
                    &self.state,
                    &connection,
                    dispatcher.confirmed(),
                    (self.connector.timeout(), &inbound.prefix),
                );
            }
            tokio::select! {
                biased;
                () = inbound.ended.cancelled() => break inbound.reason(),
                () = self.state.replace.notified() => break SILENT,
                () = self.names.differ_from(&inbound.prefix) => break "the channels have other names",
                () = &mut demoted => break self.connector.why_no_master(),
                () = batch_call.failed() => break "a subscription was not confirmed",
                () = self.connector.released(), if !burst.is_empty() => {
                    inbound.release(&burst);
                    dispatcher.run(&mut burst);
                }
                _ = queue.recv_many(&mut burst, BURST), if burst.is_empty() => {}
                () = self.state.changed.notified() => {}
            }
        };
        inbound.ended.cancel();
        queue.close();
        // What a replaced master published last, its successor may not have. What the log has is read when the topics are restored.
        if self.connector.is_held() || !self.connector.is_current(&connection) {
            return reason;
        }
        // Messages that arrived before the end are complete and in order. They are delivered before the topics are
        // reported as interrupted.
        drop((batch_call, connection));
        dispatcher.run(&mut burst);
        while queue.recv_many(&mut burst, BURST).await > 0 {
            dispatcher.run(&mut burst);
        }
        reason
    }
}

/// One batch of changes in flight. The next batch waits until all confirmations of this one came through the queue.
#[derive(Default)]
struct BatchCall {
    /// Value of [`Dispatcher::confirmed`] at which the batch is complete.
    until: u64,
    call: Option<futures_util::future::BoxFuture<'static, ()>>,
}

impl BatchCall {
    fn start(
        state: &SubscriptionState,
        connection: &Connection,
        confirmed: u64,
        (timeout, prefix): (Duration, &str),
    ) -> Self {
        let mut batch = state.subscriptions().next_batch(BATCH);
        let until = confirmed + (batch.subscribe.len() + batch.unsubscribe.len()) as u64;
        if until == confirmed {
            return Self { until, call: None };
        }
        for channel in batch.subscribe.iter_mut().chain(&mut batch.unsubscribe) {
            channel.insert_str(0, prefix);
        }
        let mut connection = connection.clone();
        let call = async move {
            let send = async {
                if !batch.unsubscribe.is_empty() {
                    connection.unsubscribe(&batch.unsubscribe).await?;
                }
                if !batch.subscribe.is_empty() {
                    connection.subscribe(&batch.subscribe).await?;
                }
                RedisResult::Ok(())
            };
            let sent_at = tokio::time::Instant::now();
            if let Ok(Ok(())) = tokio::time::timeout(timeout, send).await {
                // The server has confirmed, and the confirmations are in the queue. The dispatcher handles them long
                // before this time.
                tokio::time::sleep_until(sent_at + 10 * timeout).await;
            }
        };
        Self { until, call: Some(Box::pin(call)) }
    }

    fn is_complete(&self, confirmed: u64) -> bool {
        confirmed >= self.until
    }

    /// Resolves if the batch failed. Cancel-safe: the call stays in `self`.
    async fn failed(&mut self) {
        match &mut self.call {
            Some(call) => call.await,
            None => std::future::pending().await,
        }
    }
}
