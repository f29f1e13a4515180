//! A time that all nodes share and that never jumps, for the windows of the dedupe records. Owns the comparison of the clock
//! of Redis with the monotonic clock of this process; reads no clock of Redis. The broker asks for the time.
//!
//! The time is the clock of Redis plus an offset, which is stored in Redis. If the clock of Redis was set, the first node
//! that notices changes the offset by as much, and the others follow. Until then each node continues by its own monotonic
//! clock, so no node ever uses the clock that was set.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// A larger difference between two readings and the time between them means that the clock of Redis was set.
const STEP_MS: u64 = 2_000;

/// The clock of Redis at one moment, Unix ms, and the offset that Redis stores.
pub(super) struct Reading {
    /// The clock, Unix ms.
    pub(super) redis_ms: i64,
    /// The offset, ms.
    pub(super) offset: i64,
    /// When it was read.
    pub(super) at: Instant,
}

/// A known time.
struct Anchor {
    ms: i64,
    offset: i64,
    at: Instant,
}

impl Anchor {
    fn read(reading: &Reading) -> Self {
        Self { ms: reading.redis_ms.saturating_add(reading.offset), offset: reading.offset, at: reading.at }
    }

    fn at(&self, at: Instant) -> i64 {
        let elapsed = at.saturating_duration_since(self.at).as_millis();
        self.ms.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX))
    }
}

/// The time as this node knows it.
#[derive(Default)]
pub(super) struct SteadyClock(Mutex<Option<Anchor>>);

impl SteadyClock {
    /// The time, ms. It is close to Unix time, but not equal to it after the clock of Redis was set. `None` before the first
    /// reading.
    pub(super) fn now(&self) -> Option<i64> {
        self.anchor().as_ref().map(|anchor| anchor.at(Instant::now()))
    }

    fn anchor(&self) -> std::sync::MutexGuard<'_, Option<Anchor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a reading. If the clock of Redis was set since the last one, changes nothing and returns the step, ms.
    pub(super) fn take(&self, reading: &Reading) -> Option<i64> {
        let mut anchor = self.anchor();
        let next = Anchor::read(reading);
        if let Some(known) = anchor.as_ref() {
            let step = next.ms.saturating_sub(known.at(reading.at));
            // With another offset, a node that has known the time for longer says that this node's time is too late. A time
            // that is too early ends no window.
            let is_corrected = known.offset != reading.offset && step < 0;
            if step.unsigned_abs() > STEP_MS && !is_corrected {
                return Some(step);
            }
        }
        *anchor = Some(next);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn reading(redis_ms: i64, offset: i64) -> Reading {
        Reading { redis_ms, offset, at: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn time_continues_when_the_clock_of_redis_is_set() {
        for step in [3 * HOUR, -HOUR] {
            let clock = SteadyClock::default();
            assert_eq!(clock.now(), None);
            assert_eq!(clock.take(&reading(10 * HOUR, 0)), None);
            advance(Duration::from_secs(5)).await;
            assert_eq!(clock.take(&reading(10 * HOUR + 5_500, 0)), None, "a clock may be corrected a little");
            advance(Duration::from_secs(5)).await;
            let set = 10 * HOUR + 10_500 + step;
            assert_eq!(clock.take(&reading(set, 0)), Some(step));
            assert_eq!(clock.now(), Some(10 * HOUR + 10_500));
            // The offset that this node or another one has stored.
            assert_eq!(clock.take(&reading(set, -step)), None);
            assert_eq!(clock.now(), Some(10 * HOUR + 10_500));
            advance(Duration::from_secs(5)).await;
            assert_eq!(clock.take(&reading(set + 5_000, -step)), None);
            assert_eq!(clock.now(), Some(10 * HOUR + 15_500));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn node_that_read_a_clock_just_set_follows_the_others() {
        let clock = SteadyClock::default();
        assert_eq!(clock.take(&reading(13 * HOUR, 0)), None);
        assert_eq!(clock.take(&reading(13 * HOUR, -3 * HOUR)), None);
        assert_eq!(clock.now(), Some(10 * HOUR));
    }

    #[tokio::test(start_paused = true)]
    async fn offset_of_an_earlier_step_is_not_believed_after_the_next() {
        let clock = SteadyClock::default();
        assert_eq!(clock.take(&reading(10 * HOUR, 0)), None);
        // Set back by an hour, which another node noticed, and then ahead by three.
        assert_eq!(clock.take(&reading(12 * HOUR, HOUR)), Some(3 * HOUR));
        assert_eq!(clock.now(), Some(10 * HOUR));
    }
}
