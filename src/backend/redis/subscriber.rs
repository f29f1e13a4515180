//! One connection for subscriptions. Owns its life and the pump from it into [`Deliver`]; which topics are wanted is
//! in `subscriptions`, and commands never go over it. Called by the broker; the prober watches it.
//!
//! One task does everything, and confirmations come in line with messages: so a topic is reported as restored before
//! its first message, and a loss after its last.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connector::{Backoff, Connector, MonotonicClock};
use super::dispatcher::{Dispatcher, InboundQueue, PushMessage};
use super::error::ConnectionRole;
use super::subscriptions::{SubscribeOutcome, Subscriptions};
use crate::backend::{BackendError, Deliver, Interruption};
use crate::protocol::Topic;
use crate::supervise::until_stopped;

/// Channels per SUBSCRIBE: one round trip for all of them, and no reply that holds up messages for long.
const BATCH: usize = 500;

/// Why a connection is replaced that a probe did not come through.
const SILENT: &str = "silent";

/// Pushes taken from the queue at a time.
pub(super) const BURST: usize = 64;

/// A connection that is always being kept, and the wishes that it serves.
pub(super) struct Subscriber {
    shared: Arc<Shared>,
    timeout: Duration,
}

/// What a connection is subscribed to whatever is wanted.
pub(super) struct SystemChannels {
    /// This node's own, for the probe.
    pub(super) probe: String,
    /// All nodes', on one of a node's connections.
    pub(super) notices: Option<String>,
}

impl SystemChannels {
    fn channels(&self) -> Vec<&str> {
        [Some(&self.probe), self.notices.as_ref()].into_iter().flatten().map(String::as_str).collect()
    }

    /// True for one of them.
    pub(super) fn is(&self, channel: &str) -> bool {
        channel == self.probe || self.notices.as_deref() == Some(channel)
    }
}

/// What the callers' side and the task share.
pub(super) struct Shared {
    subscriptions: Mutex<Subscriptions>,
    changed: Notify,
    replace: Notify,
    pub(super) probe_state: ProbeState,
}

impl Shared {
    /// Never held across an await, and nothing under it can panic half-way through a change.
    pub(super) fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the probe tells of a connection, in ms of the clock; 0: nothing.
pub(super) struct ProbeState {
    clock: MonotonicClock,
    seen: AtomicU64,
    sent_since: AtomicU64,
}

impl ProbeState {
    /// The probe came through.
    pub(super) fn seen(&self) {
        self.seen.store(self.clock.now(), Ordering::Relaxed);
        self.forget();
    }

    /// No probe is awaited.
    fn forget(&self) {
        self.sent_since.store(0, Ordering::Relaxed);
    }

    /// A probe was published. Only what was published can be missed: while commands fail, silence proves nothing.
    fn sent(&self) {
        let now = self.clock.now();
        let _ = self.sent_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn overdue(&self) -> Duration {
        match self.sent_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self.clock.since(since),
        }
    }
}

impl Subscriber {
    /// Starts keeping a connection.
    pub(super) fn spawn(
        connector: Connector,
        own: SystemChannels,
        deliver: Arc<dyn Deliver>,
        clock: MonotonicClock,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let probe_state = ProbeState { clock, seen: AtomicU64::new(0), sent_since: AtomicU64::new(0) };
        let shared = Arc::new(Shared {
            subscriptions: Mutex::default(),
            changed: Notify::new(),
            replace: Notify::new(),
            probe_state,
        });
        let timeout = connector.timeout();
        let task =
            SubscriberTask { backoff: connector.backoff(), connector, own, deliver, shared: shared.clone() };
        tracker.spawn(until_stopped("subscriptions", &stop, task.run()));
        Self { shared, timeout }
    }

    /// See [`crate::backend::Broker::subscribe`].
    pub(super) async fn subscribe(&self, channel: String, topic: &Topic) -> Result<(), BackendError> {
        let wanted = self.shared.subscriptions().subscribe(&channel, topic);
        let SubscribeOutcome::Pending(ticket, confirmed) = wanted else { return Ok(()) };
        self.shared.changed.notify_one();
        // Also for a caller that is dropped while it waits.
        let _waiting = Waiting { shared: &self.shared, channel: &channel, ticket };
        match tokio::time::timeout(self.timeout, confirmed).await {
            Ok(Ok(())) if self.shared.subscriptions().acknowledge(&channel, ticket) => Ok(()),
            Ok(_) => Err(BackendError::Refused("unsubscribed meanwhile".into())),
            Err(_) => Err(ConnectionRole::Subscriber.refused("no subscription in time")),
        }
    }

    /// See [`crate::backend::Broker::unsubscribe`].
    pub(super) fn unsubscribe(&self, channel: &str) {
        self.shared.subscriptions().unsubscribe(channel);
        self.shared.changed.notify_one();
    }

    /// A probe was published; see [`ProbeState`].
    pub(super) fn probed(&self) {
        self.shared.probe_state.sent();
    }

    /// How long the oldest probe that should have come is late.
    pub(super) fn overdue(&self) -> Duration {
        self.shared.probe_state.overdue()
    }

    /// How long since a probe came; none: never.
    pub(super) fn silence(&self) -> Option<Duration> {
        let seen = self.shared.probe_state.seen.load(Ordering::Relaxed);
        (seen > 0).then(|| self.shared.probe_state.clock.since(seen))
    }

    /// Gives the connection up for a new one.
    pub(super) fn replace(&self) {
        self.shared.probe_state.forget();
        self.shared.replace.notify_one();
    }
}

/// Somebody waits for a subscription; ends the wish where it was not acknowledged and nobody else has it.
struct Waiting<'a> {
    shared: &'a Shared,
    channel: &'a str,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.subscriptions().cancel(self.channel, self.ticket);
        self.shared.changed.notify_one();
    }
}

/// The task that keeps one connection.
struct SubscriberTask {
    connector: Connector,
    backoff: Backoff,
    /// Subscribed before anything else.
    own: SystemChannels,
    deliver: Arc<dyn Deliver>,
    shared: Arc<Shared>,
}

impl SubscriberTask {
    async fn run(mut self) {
        loop {
            let (inbound, queue) = InboundQueue::new();
            match self.connect(&inbound).await {
                Ok(connection) => {
                    self.backoff.reset();
                    // What was published while there was no connection says nothing of this one.
                    self.shared.probe_state.forget();
                    let _ = self.shared.replace.notified().now_or_never();
                    let why = self.serve(connection, &inbound, queue).await;
                    tracing::warn!(why, "the subscription connection to Redis is replaced");
                    let interrupted = self.shared.subscriptions().connection_lost();
                    if !interrupted.is_empty() {
                        let how = if why == SILENT { Interruption::Silent } else { Interruption::Lost };
                        self.deliver.interrupted(&interrupted, how);
                    }
                }
                // Once per outage: the attempts go on every second.
                Err(error) if self.backoff.is_fresh() => {
                    tracing::warn!(%error, "can't connect to Redis for subscriptions");
                }
                Err(error) => tracing::debug!(%error, "still can't connect to Redis for subscriptions"),
            }
            ConnectionRole::Subscriber.lost();
            self.backoff.pause().await;
        }
    }

    async fn connect(&self, inbound: &Arc<InboundQueue>) -> RedisResult<MultiplexedConnection> {
        let inbound = inbound.clone();
        let config = self.connector.config().set_push_sender(move |push| inbound.push(push));
        let mut connection = self.connector.connect(&config).await?;
        self.connector.check_master(&mut connection).await?;
        self.connector.within(connection.subscribe(self.own.channels())).await?;
        Ok(connection)
    }

    /// Pumps, and brings the connection into line with the wishes, until it is lost. Returns why.
    async fn serve(
        &self,
        connection: MultiplexedConnection,
        inbound: &InboundQueue,
        mut queue: mpsc::Receiver<PushMessage>,
    ) -> &'static str {
        let mut dispatcher = Dispatcher::new(&self.shared, &*self.deliver, &self.own);
        let mut burst = Vec::with_capacity(BURST);
        let mut asking = Asking::default();
        let why = loop {
            if asking.is_over(dispatcher.confirmed()) {
                asking = Asking::start(
                    &self.shared,
                    &connection,
                    dispatcher.confirmed(),
                    self.connector.timeout(),
                );
            }
            tokio::select! {
                biased;
                () = inbound.ended.cancelled() => break inbound.why(),
                () = self.shared.replace.notified() => break SILENT,
                () = asking.failed() => break "a subscription was not confirmed",
                _ = queue.recv_many(&mut burst, BURST) => {
                    inbound.taken(&burst);
                    dispatcher.run(&mut burst);
                }
                () = self.shared.changed.notified() => {}
            }
        };
        // What came before the end came in order: it is delivered, and only then is the topic interrupted.
        inbound.ended.cancel();
        drop((asking, connection));
        queue.close();
        while queue.recv_many(&mut burst, BURST).await > 0 {
            dispatcher.run(&mut burst);
        }
        why
    }
}

/// One batch on its way to the server. The next is not sent before all of it came back through the queue.
#[derive(Default)]
struct Asking {
    /// [`Dispatcher::confirmed`] at which it is over.
    until: u64,
    call: Option<futures_util::future::BoxFuture<'static, ()>>,
}

impl Asking {
    fn start(shared: &Shared, connection: &MultiplexedConnection, confirmed: u64, timeout: Duration) -> Self {
        let batch = shared.subscriptions().next_batch(BATCH);
        let until = confirmed + (batch.subscribe.len() + batch.unsubscribe.len()) as u64;
        if until == confirmed {
            return Self { until, call: None };
        }
        let mut connection = connection.clone();
        let call = async move {
            let ask = async {
                if !batch.unsubscribe.is_empty() {
                    connection.unsubscribe(&batch.unsubscribe).await?;
                }
                if !batch.subscribe.is_empty() {
                    connection.subscribe(&batch.subscribe).await?;
                }
                RedisResult::Ok(())
            };
            let asked = tokio::time::Instant::now();
            if let Ok(Ok(())) = tokio::time::timeout(timeout, ask).await {
                // The server has confirmed, and the confirmations are in the queue: what is left is the pump's own
                // work, and the batch is over long before this.
                tokio::time::sleep_until(asked + 10 * timeout).await;
            }
        };
        Self { until, call: Some(Box::pin(call)) }
    }

    fn is_over(&self, confirmed: u64) -> bool {
        confirmed >= self.until
    }

    /// Resolves if the batch came to nothing. Cancel-safe: the call stays in `self`.
    async fn failed(&mut self) {
        match &mut self.call {
            Some(call) => call.await,
            None => std::future::pending().await,
        }
    }
}
