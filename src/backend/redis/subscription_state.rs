//! State of one subscription connection. Owns what the callers' side and the connection's task share: the desired
//! subscriptions, the signals between the two, and the probe times. Used by the subscriber and the dispatcher.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::subscriptions::{Owner, Subscriptions};

/// Channels to which a connection always subscribes.
pub(super) struct SystemChannels {
    /// Channel of this node, for the probe.
    pub(super) probe: String,
    /// Channel of all nodes, on one connection of each node.
    pub(super) notices: Option<String>,
}

impl SystemChannels {
    /// Lists the channels.
    pub(super) fn all(&self) -> Vec<&str> {
        [Some(&self.probe), self.notices.as_ref()].into_iter().flatten().map(String::as_str).collect()
    }

    /// True if `channel` is a system channel.
    pub(super) fn contains(&self, channel: &str) -> bool {
        channel == self.probe || self.notices.as_deref() == Some(channel)
    }
}

/// The subscriptions, which the connections to all masters of a cluster share.
#[derive(Clone, Default)]
pub(super) struct SharedSubscriptions(Arc<Shared>);

#[derive(Default)]
struct Shared {
    subscriptions: Mutex<Subscriptions>,
    reports: Mutex<()>,
}

impl SharedSubscriptions {
    /// Locks the subscriptions. The lock is never held across an await, and no code under it can panic in the middle of
    /// a change.
    pub(super) fn lock(&self) -> MutexGuard<'_, Subscriptions> {
        self.0.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held from a change until it is reported, and taken before the lock of the subscriptions: one connection loses a topic and
    /// another one restores it, and if the second report came first, the topic would stay interrupted.
    pub(super) fn reports(&self) -> MutexGuard<'_, ()> {
        self.0.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// State that callers and the connection's task share.
pub(super) struct SubscriptionState {
    /// This connection among those that share the subscriptions.
    pub(super) owner: Owner,
    subscriptions: SharedSubscriptions,
    /// Wakes the task after a change of the subscriptions.
    pub(super) changed: Notify,
    /// Asks the task to replace the connection.
    pub(super) replace: Notify,
    /// The server has ended the subscription of the probe: its slot has moved.
    pub(super) probe_ended: Notify,
    /// Times of the probe.
    pub(super) probe: ProbeState,
    /// The channel of the probe on the present connection, as it is published there.
    probe_channel: Mutex<Option<String>>,
}

impl SubscriptionState {
    /// No connection yet.
    pub(super) fn new(owner: Owner, subscriptions: SharedSubscriptions) -> Self {
        Self {
            owner,
            subscriptions,
            changed: Notify::new(),
            replace: Notify::new(),
            probe_ended: Notify::new(),
            probe: ProbeState::default(),
            probe_channel: Mutex::new(None),
        }
    }

    /// Locks the subscriptions.
    pub(super) fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock()
    }

    /// See [`SharedSubscriptions::reports`].
    pub(super) fn reports(&self) -> MutexGuard<'_, ()> {
        self.subscriptions.reports()
    }

    /// The channel of the probe, while there is a connection.
    pub(super) fn probe_channel(&self) -> Option<String> {
        self.probe_channel.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the channel of the probe on a new connection; `None` without one.
    pub(super) fn set_probe_channel(&self, channel: Option<String>) {
        *self.probe_channel.lock().unwrap_or_else(PoisonError::into_inner) = channel;
    }
}

/// Times of the probes through one connection, by the master that published them: each way through a cluster is proved by itself.
#[derive(Default)]
pub(super) struct ProbeState(Mutex<HashMap<String, ProbeTimes>>);

#[derive(Default)]
struct ProbeTimes {
    seen: Option<Instant>,
    /// Publication of the oldest probe that has not arrived.
    sent_since: Option<Instant>,
}

impl ProbeState {
    fn times(&self) -> MutexGuard<'_, HashMap<String, ProbeTimes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a probe arrived. Only that of a master from which one was sent counts.
    pub(super) fn record_seen(&self, master: &str) {
        if let Some(times) = self.times().get_mut(master) {
            *times = ProbeTimes { seen: Some(Instant::now()), sent_since: None };
        }
    }

    /// No probe is expected any more.
    pub(super) fn expect_none(&self) {
        self.times().values_mut().for_each(|times| times.sent_since = None);
    }

    /// Only these masters are used.
    pub(super) fn retain(&self, is_used: impl Fn(&str) -> bool) {
        self.times().retain(|master, _| is_used(master));
    }

    /// Records that a probe is about to be published: it may arrive before its publication is confirmed.
    pub(super) fn register(&self, master: &str) {
        self.times().entry(master.to_owned()).or_default();
    }

    /// Records that a probe was published. Only a published probe can be missed: while commands fail, silence proves
    /// nothing about the subscriptions.
    pub(super) fn record_sent(&self, master: &str, at: Instant) {
        if let Some(times) = self.times().get_mut(master)
            && times.seen.is_none_or(|seen| seen < at)
        {
            times.sent_since.get_or_insert(at);
        }
    }

    /// How long the oldest published probe has been missing.
    pub(super) fn overdue(&self) -> Duration {
        let times = self.times();
        times.values().filter_map(|times| Some(times.sent_since?.elapsed())).max().unwrap_or_default()
    }

    /// Time since the last probe of a master arrived; `None` before the first one.
    pub(super) fn silence(&self, master: &str) -> Option<Duration> {
        Some(self.times().get(master)?.seen?.elapsed())
    }
}
