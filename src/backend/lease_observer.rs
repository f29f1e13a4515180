//! Which leases have ended, as one node sees it. Owns what the node has seen of all leases, and when; reads no clock and no
//! store. Each implementation of presence has one.
//!
//! A lease ends if its beat, which each renewal changes, has been the same for its whole duration by the monotonic clock of
//! the observing node. So no clock that can be set decides who is present: neither that of the store nor that of a node.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// A lease as the store has it.
pub(super) struct LeaseRecord {
    pub(super) incarnation: String,
    /// Changes with each renewal. Its value has no meaning.
    pub(super) beat: String,
    /// `None` if the node of the lease did not store it.
    pub(super) duration: Option<Duration>,
}

struct Seen {
    beat: String,
    duration: Duration,
    /// When the beat was seen first.
    since: Instant,
}

/// The leases that this node has seen.
pub(super) struct LeaseObserver {
    /// For leases without a duration.
    default_duration: Duration,
    seen: HashMap<String, Seen>,
    observed_at: Option<Instant>,
}

impl LeaseObserver {
    /// Nothing seen yet. `lease` is the duration of this node's own lease.
    pub(super) fn new(lease: Duration) -> Self {
        Self { default_duration: lease, seen: HashMap::new(), observed_at: None }
    }

    /// Takes note of all leases that run as far as the store knows.
    pub(super) fn observe(&mut self, leases: impl IntoIterator<Item = LeaseRecord>, now: Instant) {
        // This node or the store stood still, and perhaps no node could renew its lease: each one gets its whole duration
        // again.
        let max_pause = self.default_duration * 2 / 3;
        let paused = self.observed_at.is_none_or(|at| now.saturating_duration_since(at) > max_pause);
        let mut before = std::mem::take(&mut self.seen);
        for LeaseRecord { incarnation, beat, duration } in leases {
            let known = before.remove(&incarnation).filter(|known| !paused && known.beat == beat);
            let since = known.map_or(now, |known| known.since);
            let duration = duration.unwrap_or(self.default_duration);
            self.seen.insert(incarnation, Seen { beat, duration, since });
        }
        self.observed_at = Some(now);
    }

    /// The incarnations whose leases had ended at the last observation, with their beat: the store must still have it.
    pub(super) fn ended(&self) -> impl Iterator<Item = (&str, &str)> {
        let ended = self.seen.iter().filter(|(_, seen)| {
            self.observed_at.is_some_and(|at| at.saturating_duration_since(seen.since) >= seen.duration)
        });
        ended.map(|(incarnation, seen)| (incarnation.as_str(), seen.beat.as_str()))
    }

    /// How long a lease goes on if it is not renewed.
    pub(super) fn remaining(&self, incarnation: &str, beat: &str, now: Instant) -> Duration {
        let seen = self.seen.get(incarnation).filter(|seen| seen.beat == beat);
        seen.map_or(self.default_duration, |seen| {
            seen.duration.saturating_sub(now.saturating_duration_since(seen.since))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(incarnation: &str, beat: u64, seconds: Option<u64>) -> LeaseRecord {
        let duration = seconds.map(Duration::from_secs);
        LeaseRecord { incarnation: incarnation.into(), beat: beat.to_string(), duration }
    }

    fn ended(observer: &LeaseObserver) -> Vec<&str> {
        observer.ended().map(|(incarnation, _)| incarnation).collect()
    }

    #[test]
    fn a_lease_ends_when_its_beat_stands_still_for_its_duration() {
        let start = Instant::now();
        let mut observer = LeaseObserver::new(15 * SECOND);
        for second in (0..=60).step_by(5) {
            let leases = [lease("renewed", second, None), lease("dead", 7, None), lease("long", 7, Some(40))];
            observer.observe(leases, start + Duration::from_secs(second));
            let mut expected = Vec::new();
            expected.extend((second >= 15).then_some("dead"));
            expected.extend((second >= 40).then_some("long"));
            let mut ended = ended(&observer);
            ended.sort_unstable();
            assert_eq!(ended, expected, "after {second} s");
        }
        // Beats of a clock that was set back.
        observer.observe([lease("dead", 3, None)], start + 65 * SECOND);
        assert!(ended(&observer).is_empty());
        assert_eq!(observer.remaining("dead", "3", start + 70 * SECOND), 10 * SECOND);
    }

    #[test]
    fn an_observer_that_stood_still_starts_again() {
        let start = Instant::now();
        let mut observer = LeaseObserver::new(15 * SECOND);
        for (second, is_ended) in [(0, false), (10, false), (15, true), (26, false), (36, false), (41, true)]
        {
            observer.observe([lease("dead", 7, None)], start + Duration::from_secs(second));
            assert_eq!(ended(&observer) == ["dead"], is_ended, "after {second} s");
        }
    }
}
