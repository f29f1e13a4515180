//! The limits of one connection. Owns the arithmetic: a token bucket, the number of invalid frames, the pace of typing
//! notices. Has no clock, and is given the time. Used by the session.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;
use crate::protocol::Topic;

/// Bytes read from the store that cost as much as a frame; the same as for large fragments.
const READ_UNIT: usize = 16 << 10;

/// What a request costs that has read so many bytes. Not more than the rate allows in the time that a request may take,
/// since the connection reads no pong while it waits.
pub(super) fn read_cost(bytes: usize, limits: &Limits) -> u32 {
    let most = f64::from(limits.messages_per_second) * limits.request_timeout.as_secs_f64();
    u32::try_from(bytes / READ_UNIT).unwrap_or(u32::MAX).min(most as u32)
}

/// A token bucket that may be overdrawn: a request over the rate is delayed, not refused.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    per_second: f64,
    burst: f64,
    level: f64,
    at: Instant,
}

impl TokenBucket {
    /// A full bucket. With `per_second` 0 there is no limit.
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self { per_second: f64::from(per_second), burst, level: burst, at: now }
    }

    /// Whether the bucket is full: the client has paused for as long as a whole burst takes to refill.
    pub fn is_full(&self, now: Instant) -> bool {
        self.level_at(now) >= self.burst
    }

    fn level_at(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.level + elapsed * self.per_second).min(self.burst)
    }

    /// Takes `cost`, and returns how long to wait before the next frame; zero within the rate.
    pub fn take(&mut self, cost: u32, now: Instant) -> Duration {
        if self.per_second == 0.0 {
            return Duration::ZERO;
        }
        self.level = self.level_at(now) - f64::from(cost);
        self.at = now;
        if self.level >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-self.level / self.per_second)
        }
    }

    /// Takes `cost`, unless the bucket is overdrawn.
    ///
    /// # Errors
    /// After this time, it is not overdrawn any more.
    pub fn try_take(&mut self, cost: u32, now: Instant) -> Result<(), Duration> {
        let level = self.level_at(now);
        if level < 0.0 {
            return Err(Duration::from_secs_f64(-level / self.per_second));
        }
        (self.level, self.at) = (level - f64::from(cost), now);
        Ok(())
    }

    /// Gives back what was taken for nothing.
    pub(super) fn give_back(&mut self, cost: u32, now: Instant) {
        (self.level, self.at) = ((self.level_at(now) + f64::from(cost)).min(self.burst), now);
    }
}

/// Counts frames that are not valid requests: the 11th within a minute is too many.
#[derive(Debug, Default)]
pub struct InvalidFrames {
    at: std::collections::VecDeque<Instant>,
}

impl InvalidFrames {
    const ALLOWED: usize = 10;
    const WINDOW: Duration = Duration::from_secs(60);

    /// Counts a frame. True if it is one too many.
    pub fn is_too_many(&mut self, now: Instant) -> bool {
        while self.at.front().is_some_and(|at| now.saturating_duration_since(*at) >= Self::WINDOW) {
            self.at.pop_front();
        }
        self.at.push_back(now);
        self.at.len() > Self::ALLOWED
    }
}

/// Passes one typing notice per second and target.
#[derive(Debug, Default)]
pub(super) struct TypingPace {
    last: HashMap<Topic, Instant>,
}

impl TypingPace {
    const PACE: Duration = Duration::from_secs(1);
    /// Targets remembered at a time; the rate limit keeps real use far below.
    const MAX_TARGETS: usize = 128;

    pub(super) fn passes(&mut self, target: &Topic, now: Instant) -> bool {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < Self::PACE;
        if self.last.get(target).is_some_and(is_recent) {
            return false;
        }
        if self.last.len() >= Self::MAX_TARGETS {
            self.last.retain(|_, at| is_recent(at));
        }
        if self.last.len() >= Self::MAX_TARGETS {
            return false;
        }
        self.last.insert(target.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_passes_a_burst_and_then_delays_to_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(50, 100, start);
        assert!((0..100).all(|_| bucket.take(1, start).is_zero()));
        assert_eq!(bucket.take(1, start), Duration::from_millis(20));
        assert_eq!(bucket.take(5, start), Duration::from_millis(120));
        assert_eq!(bucket.take(1, start + Duration::from_millis(140)), Duration::ZERO);
        assert!(!bucket.is_full(start + Duration::from_secs(2)));
        assert!(bucket.is_full(start + Duration::from_millis(2_150)));
        assert!((0..100).all(|_| bucket.take(1, start + Duration::from_secs(60)).is_zero()));
        assert!(!bucket.take(1, start + Duration::from_secs(60)).is_zero());
    }

    #[test]
    fn reads_cost_their_bytes_up_to_the_time_of_a_request() {
        let limits = Limits::default();
        for (bytes, cost) in [(0, 0), (16_383, 0), (256 << 10, 16), (4 << 20, 250), (usize::MAX, 250)] {
            assert_eq!(read_cost(bytes, &limits), cost, "{bytes}");
        }
    }

    #[test]
    fn eleventh_invalid_frame_in_a_minute_is_too_many() {
        let start = Instant::now();
        let mut invalid = InvalidFrames::default();
        assert!((0..10).all(|_| !invalid.is_too_many(start)));
        assert!(invalid.is_too_many(start + Duration::from_secs(59)));
        let mut slow = InvalidFrames::default();
        assert!((0..100).all(|i| !slow.is_too_many(start + Duration::from_secs(7 * i))));
    }
}
