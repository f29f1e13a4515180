//! Connection for subscriptions. Owns its life and one batch of changes at a time; the desired subscriptions are in
//! `subscriptions`, and commands never use this connection. Called by the broker, watched by the probe.
//!
//! One task handles messages and confirmations in the order of their arrival. So a topic is reported as restored before
//! its first message, and as interrupted after its last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use redis::RedisResult;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::channel_names::ChannelNames;
use super::connection::Connection;
use super::connector::Connector;
use super::dispatcher::{BURST, Dispatcher, InboundQueue, PushMessage};
use super::error::ConnectionRole;
use super::keys::Keys;
use super::server::Server;
use super::slot_reader::RefreshSignal;
use super::subscription_batch::{BatchCall, BatchFailure, ask_for_each};
use super::subscription_state::{SharedSubscriptions, SubscriptionState, SystemChannels};
use super::subscriptions::Owner;
use super::topology::TopologyWatch;
use crate::backend::{Deliver, Interruption};
use crate::supervise::until_stopped;

/// Interval between two checks that the server is still a master.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Reason to replace a connection that did not deliver a probe.
const SILENT: &str = "no probe arrived";

/// Where the connection leads, and how it subscribes.
#[derive(Clone)]
pub(super) enum Source {
    /// A single Redis, which must be a master.
    Server(Connector),
    /// Any master of a cluster: a message reaches every server.
    AnyMaster(TopologyWatch, Arc<AtomicUsize>),
    /// One master of a cluster, for the channels of its slots. It need not be checked: the topology says what it is.
    Shard(Arc<Server>, TopologyWatch),
}

impl Source {
    /// The next server to connect to. Waits for one.
    async fn next(&mut self) -> Connector {
        match self {
            Self::Server(connector) => connector.clone(),
            Self::Shard(master, _) => master.connector.clone(),
            Self::AnyMaster(topology, last) => loop {
                let now = topology.now();
                let masters = now.masters();
                if !masters.is_empty() {
                    // After a failure the next one.
                    let next = last.fetch_add(1, Ordering::Relaxed) % masters.len();
                    return masters[next].connector.clone();
                }
                topology.changed().await;
            },
        }
    }

    /// Whether the server is asked if it is a master.
    fn is_checked(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    /// Whether the channels are those of slots.
    fn is_sharded(&self) -> bool {
        matches!(self, Self::Shard(..))
    }
}

/// What all subscription connections have in common.
#[derive(Clone)]
pub(super) struct SubscriberTerms {
    pub(super) names: ChannelNames,
    pub(super) keys: Keys,
    /// Id of this node.
    pub(super) node: String,
    pub(super) deliver: Arc<dyn Deliver>,
    /// How long a subscription may take.
    pub(super) timeout: Duration,
    /// Longest pause between two attempts to connect.
    pub(super) max_pause: Duration,
    /// Raised when the topology may have changed.
    pub(super) refresh: RefreshSignal,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// A connection that a task keeps alive, with its subscriptions. It ends with the last handle.
pub(super) struct Subscriber {
    pub(super) state: Arc<SubscriptionState>,
    source: Source,
    _stop: DropGuard,
}

impl Subscriber {
    /// Starts the task that keeps the connection. `hears_notices`: it also has the channel of all nodes.
    pub(super) fn spawn(
        source: Source,
        hears_notices: bool,
        (owner, subscriptions): (Owner, SharedSubscriptions),
        terms: &SubscriberTerms,
    ) -> Arc<Self> {
        let state = Arc::new(SubscriptionState::new(owner, subscriptions));
        let stop = terms.stop.child_token();
        let task = SubscriberTask {
            source: source.clone(),
            hears_notices,
            backoff: Backoff::up_to(terms.max_pause),
            terms: terms.clone(),
            state: state.clone(),
        };
        terms.tracker.spawn(until_stopped("subscriptions", &stop, task.run()));
        Arc::new(Self { state, source, _stop: stop.drop_guard() })
    }

    /// The master whose channels the connection has; `None` if it has those of all.
    pub(super) fn shard(&self) -> Option<&Arc<Server>> {
        match &self.source {
            Source::Shard(master, _) => Some(master),
            _ => None,
        }
    }

    /// The command that publishes to its channels.
    pub(super) fn publish_command(&self) -> &'static str {
        if self.source.is_sharded() { "SPUBLISH" } else { "PUBLISH" }
    }

    /// Replaces the connection by a new one.
    pub(super) fn replace(&self) {
        self.state.probe.expect_none();
        self.state.replace.notify_one();
    }
}

/// The task that keeps one connection alive.
struct SubscriberTask {
    source: Source,
    hears_notices: bool,
    backoff: Backoff,
    terms: SubscriberTerms,
    state: Arc<SubscriptionState>,
}

impl SubscriberTask {
    async fn run(mut self) {
        loop {
            self.terms.names.known().await;
            let connector = self.source.next().await;
            let system_channels = self.system_channels();
            let (inbound, queue) = InboundQueue::new(self.terms.names.prefix());
            match self.connect(&connector, &system_channels, &inbound).await {
                Ok(connection) => {
                    self.backoff.reset();
                    // A probe that was published before this connection existed proves nothing about it.
                    self.state.probe.expect_none();
                    let _ = self.state.replace.notified().now_or_never();
                    let _ = self.state.probe_ended.notified().now_or_never();
                    self.state.set_probe_channel(Some(inbound.prefix.clone() + &system_channels.probe));
                    let serve = Serve { task: &self, connector: &connector, inbound: &inbound };
                    let reason = serve.run(connection, &system_channels, queue).await;
                    self.state.set_probe_channel(None);
                    tracing::warn!(reason, "replacing the subscription connection to Redis");
                    self.interrupt_all(if reason == SILENT {
                        Interruption::Silent
                    } else {
                        Interruption::Lost
                    });
                }
                // A warning only once per outage, since the attempts continue every second.
                Err(error) if self.backoff.is_fresh() => {
                    tracing::warn!(%error, "cannot connect to Redis for subscriptions");
                }
                Err(error) => tracing::debug!(%error, "still cannot connect to Redis for subscriptions"),
            }
            ConnectionRole::Subscriber.lost();
            connector.ask_for_master();
            self.terms.refresh.raise(None);
            self.backoff.pause().await;
        }
    }

    /// The connection is lost, with all its topics.
    fn interrupt_all(&self, how: Interruption) {
        let _reports = self.state.reports();
        let interrupted = self.state.subscriptions().connection_lost(self.state.owner);
        if !interrupted.is_empty() {
            self.terms.deliver.interrupted(&interrupted, how);
        }
    }

    /// The channels of the next connection. The probe of a shard is in a slot that the master has.
    fn system_channels(&self) -> SystemChannels {
        let SubscriberTerms { keys, node, .. } = &self.terms;
        let slot = match &self.source {
            Source::Shard(master, topology) => topology.now().last_slot(master),
            _ => None,
        };
        let probe = slot.map_or_else(|| keys.probe(node), |slot| keys.probe_in(node, slot));
        SystemChannels { probe, notices: self.hears_notices.then(|| keys.notices()) }
    }

    async fn connect(
        &self,
        connector: &Connector,
        system_channels: &SystemChannels,
        inbound: &Arc<InboundQueue>,
    ) -> RedisResult<Connection> {
        let queue = inbound.clone();
        let config = connector.config().set_push_sender(move |push| queue.push(push));
        let mut connection = connector.connect(&config).await?;
        if self.source.is_checked() {
            connector.check_master(&mut connection).await?;
        }
        let channels: Vec<String> =
            system_channels.all().into_iter().map(|channel| inbound.prefix.clone() + channel).collect();
        if self.source.is_sharded() {
            connector.within(ask_for_each("SSUBSCRIBE", &connection, &channels)).await?;
        } else {
            connector.within(connection.subscribe(channels)).await?;
        }
        Ok(connection)
    }
}

/// One connection that is served.
struct Serve<'a> {
    task: &'a SubscriberTask,
    connector: &'a Connector,
    inbound: &'a InboundQueue,
}

impl Serve<'_> {
    /// Resolves once the server is no longer a master.
    async fn demoted(&self, mut connection: Connection) {
        if !self.task.source.is_checked() {
            return std::future::pending().await;
        }
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
    async fn run(
        &self,
        connection: Connection,
        system_channels: &SystemChannels,
        mut queue: mpsc::Receiver<PushMessage>,
    ) -> &'static str {
        let (SubscriberTask { state, terms, source, .. }, inbound) = (self.task, self.inbound);
        let mut dispatcher = Dispatcher::new(state, &*terms.deliver, system_channels, &terms.refresh);
        let mut burst = Vec::with_capacity(BURST);
        let mut batch_call = BatchCall::default();
        // A replica passes on what is published at its master, so the probe does not show a demotion.
        let demoted = self.demoted(connection.clone());
        tokio::pin!(demoted);
        let reason = loop {
            if batch_call.is_complete(state) {
                batch_call = BatchCall::start(
                    state,
                    &connection,
                    (terms.timeout, &inbound.prefix, source.is_sharded()),
                );
            }
            tokio::select! {
                biased;
                () = inbound.ended.cancelled() => break inbound.reason(),
                () = state.replace.notified() => break SILENT,
                () = state.probe_ended.notified() => break "the slot of the probe has moved",
                () = terms.names.differ_from(&inbound.prefix) => break "the channels have other names",
                () = &mut demoted => break self.connector.why_no_master(),
                failure = batch_call.failed() => match failure {
                    BatchFailure::Late => break "a subscription was not confirmed",
                    BatchFailure::Refused => {
                        batch_call.give_back(state);
                        terms.refresh.raise(None);
                    }
                },
                () = self.connector.released(), if !burst.is_empty() => {
                    inbound.release(&burst);
                    dispatcher.run(&mut burst);
                }
                _ = queue.recv_many(&mut burst, BURST), if burst.is_empty() => {}
                () = state.changed.notified() => {}
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
