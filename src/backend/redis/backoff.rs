//! Pauses between attempts to connect. Owns their length only. Used by the tasks that keep connections.

use std::time::Duration;

/// Pause after the first failed attempt. Each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Growing pauses between attempts, without end. Each pause is random, so that not all nodes connect to a restarted Redis
/// in the same millisecond.
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Pauses of at most this length.
    pub(super) fn up_to(max: Duration) -> Self {
        Self { next: FIRST_PAUSE, max }
    }

    /// Starts again with the shortest pause, after a success.
    pub(super) fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }

    /// True if no attempt has failed since the last success.
    pub(super) fn is_fresh(&self) -> bool {
        self.next == FIRST_PAUSE
    }

    /// Waits for the next pause, by a random factor of 0.5 to 1.
    pub(super) async fn pause(&mut self) {
        let pause = self.next.min(self.max);
        self.next = (pause * 2).min(self.max);
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
    }
}
