//! The pauses before further attempts. Owns how they grow and how random they are; waits for nothing. Held by everything that
//! tries again: the link, each message and each room.

use std::time::Duration;

use rand::Rng;

/// The first pause is below this ceiling, which doubles with each attempt.
const FIRST_CEILING: Duration = Duration::from_secs(1);

/// The shortest pause, except before the first attempt.
const MIN_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause that the client accepts from a node. No node asks for more.
const MAX_ORDERED: Duration = Duration::from_secs(300);

/// How often something was tried in vain.
#[derive(Debug, Clone, Default)]
pub(crate) struct BackOff {
    tries: u32,
}

impl BackOff {
    /// The pause before the next attempt: a random time with full jitter up to a ceiling that grows to `max`, after the time
    /// that the node asks for. A node may ask all its clients for the same time, and again and again.
    pub(crate) fn next(&mut self, ordered: Option<Duration>, max: Duration) -> Duration {
        let ceiling = FIRST_CEILING.saturating_mul(1 << self.tries.min(10)).min(max);
        let least = if self.tries == 0 { Duration::ZERO } else { MIN_PAUSE };
        self.tries = self.tries.saturating_add(1);
        ordered.unwrap_or_default().min(MAX_ORDERED) + rand::rng().random_range(least..ceiling)
    }

    /// A fast attempt would not help: the next pause is one of those after so many attempts.
    pub(crate) fn slow_down(&mut self, tries: u32) {
        self.tries = self.tries.max(tries);
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(20);

    #[test]
    fn pauses_have_full_jitter_between_their_bounds() {
        for _ in 0..20 {
            let mut back_off = BackOff::default();
            for tries in 0..40 {
                let pause = back_off.next(None, MAX);
                let least = if tries == 0 { Duration::ZERO } else { MIN_PAUSE };
                let most = [1, 2, 4, 8, 16].get(tries).map_or(MAX, |s| Duration::from_secs(*s));
                assert!(least <= pause && pause < most, "{tries}: {pause:?}");
            }
        }
    }

    #[test]
    fn ordered_pause_is_kept_and_grows() {
        let second = Duration::from_secs(1);
        let attempts_in_30_s = || {
            let (mut back_off, mut passed, mut attempts) = (BackOff::default(), Duration::ZERO, 0);
            loop {
                let pause = back_off.next(Some(second), MAX);
                assert!(pause >= second, "{pause:?}");
                passed += pause;
                if passed > 30 * second {
                    return attempts;
                }
                attempts += 1;
            }
        };
        let all: Vec<u32> = (0..100).map(|_| attempts_in_30_s()).collect();
        assert!(all.iter().sum::<u32>() < 100 * 8, "{all:?}");
        assert!(BackOff::default().next(Some(Duration::MAX), MAX) <= MAX_ORDERED + FIRST_CEILING);
    }

    #[test]
    fn success_makes_pauses_short_again() {
        let mut back_off = BackOff::default();
        back_off.slow_down(4);
        let pauses: Vec<Duration> = (0..20).map(|_| back_off.clone().next(None, MAX)).collect();
        assert!(pauses.iter().any(|pause| *pause > FIRST_CEILING), "{pauses:?}");
        back_off.reset();
        assert!(back_off.next(None, MAX) < FIRST_CEILING);
    }
}
