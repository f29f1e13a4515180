//! State of one subscription connection. Owns what the callers' side and the connection's task share: the desired
//! subscriptions, the signals between the two, and the probe times. Used by the subscriber and the dispatcher.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::clock::{LastTime, MonotonicClock};
use super::subscriptions::Subscriptions;

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

/// State that callers and the connection's task share.
pub(super) struct SubscriptionState {
    subscriptions: Mutex<Subscriptions>,
    /// Wakes the task after a change of the subscriptions.
    pub(super) changed: Notify,
    /// Asks the task to replace the connection.
    pub(super) replace: Notify,
    /// Times of the probe.
    pub(super) probe: ProbeState,
}

impl SubscriptionState {
    /// No subscriptions and no connection yet.
    pub(super) fn new(clock: MonotonicClock) -> Self {
        Self {
            subscriptions: Mutex::default(),
            changed: Notify::new(),
            replace: Notify::new(),
            probe: ProbeState::new(clock),
        }
    }

    /// Locks the subscriptions. The lock is never held across an await, and no code under it can panic in the middle of
    /// a change.
    pub(super) fn subscriptions(&self) -> MutexGuard<'_, Subscriptions> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Times of the probe through one connection.
pub(super) struct ProbeState {
    clock: MonotonicClock,
    seen: LastTime,
    /// Publication of the oldest probe that has not arrived, ms of the clock; 0: all have arrived.
    sent_since: AtomicU64,
}

impl ProbeState {
    fn new(clock: MonotonicClock) -> Self {
        Self { clock, seen: LastTime::never(clock), sent_since: AtomicU64::new(0) }
    }

    /// Records that a probe arrived.
    pub(super) fn record_seen(&self) {
        self.seen.record();
        self.expect_none();
    }

    /// No probe is expected any more.
    pub(super) fn expect_none(&self) {
        self.sent_since.store(0, Ordering::Relaxed);
    }

    /// Records that a probe was published. Only a published probe can be missed: while commands fail, silence proves
    /// nothing about the subscriptions.
    pub(super) fn record_sent(&self) {
        let now = self.clock.now();
        let _ = self.sent_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// How long the oldest published probe has been missing.
    pub(super) fn overdue(&self) -> Duration {
        match self.sent_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self.clock.since(since),
        }
    }

    /// Time since the last probe arrived; `None` before the first one.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.seen.age()
    }
}
