//! Times of the connections. Owns a monotonic clock whose times fit into an atomic, which an `Instant` does not; knows no
//! connection. Used by the connections to measure how long they have been silent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Milliseconds since the start of the backend, plus one: 0 is never returned, so it can stand for "never".
#[derive(Debug, Clone, Copy)]
pub(super) struct MonotonicClock(Instant);

impl MonotonicClock {
    /// Starts the clock.
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// The current time.
    pub(super) fn now(&self) -> u64 {
        self.0.elapsed().as_millis() as u64 + 1
    }

    /// The time since `then`.
    pub(super) fn since(&self, then: u64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(then))
    }
}

/// The time at which something happened last.
pub(super) struct LastTime {
    clock: MonotonicClock,
    at: AtomicU64,
}

impl LastTime {
    /// It has not happened yet.
    pub(super) fn never(clock: MonotonicClock) -> Self {
        Self { clock, at: AtomicU64::new(0) }
    }

    /// It happens now.
    pub(super) fn record(&self) {
        self.at.store(self.clock.now(), Ordering::Relaxed);
    }

    /// The time since it happened last; `None` if it never did.
    pub(super) fn age(&self) -> Option<Duration> {
        let at = self.at.load(Ordering::Relaxed);
        (at > 0).then(|| self.clock.since(at))
    }
}
