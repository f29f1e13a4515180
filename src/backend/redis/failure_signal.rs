//! Failures that callers notice. Owns the signal from the calls of a command connection to the task that replaces it; judges no
//! error.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// A failure that a caller noticed before the watchdog. It names a generation, so that a late failure of an old connection
/// does not replace the current one.
#[derive(Default)]
pub(super) struct FailureSignal {
    generation: AtomicU64,
    raised: Notify,
    /// A call got no answer in time: the watchdog asks at once.
    pub(super) suspected: Notify,
}

impl FailureSignal {
    /// A call on a connection of this generation failed.
    pub(super) fn raise(&self, generation: u64) {
        self.generation.fetch_max(generation, Ordering::Relaxed);
        self.raised.notify_one();
    }

    /// Resolves once a failure of this generation, or of a later one, was raised.
    pub(super) async fn wait(&self, generation: u64) {
        while self.generation.load(Ordering::Relaxed) < generation {
            self.raised.notified().await;
        }
    }
}
