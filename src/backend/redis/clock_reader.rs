//! Reading of the clock of Redis. Owns when it is read, the offset that is stored after it was set, and the warnings about clocks; the
//! time is [`SteadyClock`]'s. A background task of the backend.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::time::Instant;

use super::router::Router;
use super::script::CLOCK;
use super::server::Lane;
use super::steady_clock::{Reading, SteadyClock};
use crate::backend::{BackendError, unix_ms};
use crate::metrics::CLOCK_DIFFERENCE;

/// Interval between two readings.
const INTERVAL: Duration = Duration::from_secs(5);

/// Interval until the first reading succeeds.
const FIRST_INTERVAL: Duration = Duration::from_millis(500);

/// A reading that took longer is too inexact.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(1);

/// How far the clocks of this node and of Redis may differ. Documented in `docs/operations.md`.
const MAX_DIFFERENCE_MS: u64 = 5_000;

/// Interval between two warnings about the difference.
const WARN_EVERY: Duration = Duration::from_secs(10 * 60);

/// Reads the clock of Redis regularly.
pub(super) struct ClockReader {
    router: Router,
    /// Key of the hash with the offset.
    key: String,
    clock: Arc<SteadyClock>,
    warned_at: Option<Instant>,
}

impl ClockReader {
    /// The clock has no time until [`ClockReader::run`] has read it once.
    pub(super) fn new(router: Router, key: String, clock: Arc<SteadyClock>) -> Self {
        Self { router, key, clock, warned_at: None }
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
        let ((seconds, micros), offset): ((i64, i64), Option<i64>) =
            self.router.pipeline((Lane::Long, &self.key), &pipeline).await?;
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
                .router
                .script((Lane::Long, &self.key), &CLOCK, 1, |cmd| {
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
