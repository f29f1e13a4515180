//! A time that all nodes share and that never jumps, for the windows of the dedupe records. Owns the comparison of the clock
//! of Redis with the monotonic clock of this process, and the warnings about clocks. The broker asks for the time.
//!
//! The time is the clock of Redis plus an offset, which is stored in Redis. If the clock of Redis was set, the first node
//! that notices changes the offset by as much, and the others follow. Until then each node continues by its own monotonic
//! clock, so no node ever uses the clock that was set.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tokio::time::Instant;

use super::pool::Pool;
use super::script::CLOCK;
use crate::backend::{BackendError, unix_ms};
use crate::metrics::CLOCK_DIFFERENCE;

/// Interval between two readings.
const INTERVAL: Duration = Duration::from_secs(5);

/// Interval until the first reading succeeds.
const FIRST_INTERVAL: Duration = Duration::from_millis(500);

/// A reading that took longer is too inexact.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(1);

/// A larger difference between two readings and the time between them means that the clock of Redis was set.
const STEP_MS: u64 = 2_000;

/// How far the clocks of this node and of Redis may differ. Documented in `docs/operations.md`.
const MAX_DIFFERENCE_MS: u64 = 5_000;

/// Interval between two warnings about the difference.
const WARN_EVERY: Duration = Duration::from_secs(10 * 60);

/// The clock of Redis at one moment, Unix ms, and the offset that Redis stores.
struct Reading {
    redis_ms: i64,
    offset: i64,
    at: Instant,
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
    fn take(&self, reading: &Reading) -> Option<i64> {
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

/// Reads the clock of Redis regularly.
pub(super) struct ClockReader {
    pool: Pool,
    /// Key of the hash with the offset.
    key: String,
    clock: Arc<SteadyClock>,
    warned_at: Option<Instant>,
}

impl ClockReader {
    /// The clock has no time until [`ClockReader::run`] has read it once.
    pub(super) fn new(pool: Pool, key: String) -> Self {
        Self { pool, key, clock: Arc::default(), warned_at: None }
    }

    /// The clock that this reader sets.
    pub(super) fn clock(&self) -> Arc<SteadyClock> {
        self.clock.clone()
    }

    /// Reads without end.
    pub(super) async fn run(mut self) {
        loop {
            if let Err(error) = self.read().await {
                tracing::debug!(%error, "the clock of Redis could not be read");
            }
            let interval = if self.clock.now().is_some() { INTERVAL } else { FIRST_INTERVAL };
            tokio::time::sleep(interval).await;
        }
    }

    async fn read(&mut self) -> Result<(), BackendError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("TIME").cmd("HGET").arg(&self.key).arg("offset");
        let (asked, asked_at) = (unix_ms(), Instant::now());
        let ((seconds, micros), offset): ((i64, i64), Option<i64>) = self.pool.pipeline(&pipeline).await?;
        let round_trip = asked_at.elapsed();
        if round_trip > MAX_ROUND_TRIP {
            return Ok(());
        }
        let half = round_trip / 2;
        let redis_ms = seconds.saturating_mul(1_000).saturating_add(micros / 1_000);
        let own_ms = i64::try_from(asked).unwrap_or(i64::MAX).saturating_add(half.as_millis() as i64);
        self.compare(own_ms.saturating_sub(redis_ms));
        let reading = Reading { redis_ms, offset: offset.unwrap_or(0), at: asked_at + half };
        if let Some(step) = self.clock.take(&reading) {
            tracing::warn!(
                step_seconds = step as f64 / 1_000.0,
                "the clock of Redis was set: messages and tokens may expire at another time"
            );
            let offset: i64 = self
                .pool
                .script(&CLOCK, 1, |cmd| {
                    cmd.arg(&self.key).arg(reading.offset).arg(reading.offset.saturating_sub(step));
                })
                .await?;
            self.clock.take(&Reading { offset, ..reading });
        }
        Ok(())
    }

    /// Reports by how many ms the clock of this node is ahead of the clock of Redis.
    fn compare(&mut self, difference: i64) {
        let seconds = difference as f64 / 1_000.0;
        gauge!(CLOCK_DIFFERENCE).set(seconds);
        if difference.unsigned_abs() <= MAX_DIFFERENCE_MS {
            if self.warned_at.take().is_some() {
                tracing::info!("the clocks of this node and of Redis agree again");
            }
        } else if self.warned_at.is_none_or(|warned_at| warned_at.elapsed() >= WARN_EVERY) {
            self.warned_at = Some(Instant::now());
            tracing::warn!(
                ahead_by_seconds = seconds,
                "the clocks of this node and of Redis differ by more than 5 s: check the time service (NTP) on both machines"
            );
        }
    }
}

#[cfg(test)]
mod tests {
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
