//! Whether this node's lease is fresh. Owns the times of the renewals and what follows from them: whether the node may call
//! itself ready, and whether it may answer who is present. The lease keeper records, readiness and `Members` ask.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::Lease;

/// The renewals of the lease.
pub(super) struct LeaseHealth {
    times: Mutex<Times>,
    /// How long one renewal is enough. Nodes renew at different times, one heartbeat apart at most. When this node could not
    /// renew for so long, the lease of another node may be about to end for the same reason, and its users would seem
    /// absent.
    fresh_for: Duration,
    /// How long the other nodes may need to renew their leases, and to add their members again, after an outage of the store.
    settle: Duration,
}

#[derive(Default)]
struct Times {
    renewed_at: Option<Instant>,
    /// After an outage or a lost lease, the other nodes need time to renew their leases too.
    known_from: Option<Instant>,
}

impl LeaseHealth {
    /// No renewal yet.
    pub(super) fn new(lease: Duration, heartbeat: Duration) -> Self {
        Self { times: Mutex::default(), fresh_for: lease * 2 / 3, settle: heartbeat + lease / 10 }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease was renewed, or acquired again after it was lost: the store may have been emptied, and then the other nodes
    /// lost theirs too.
    pub(super) fn record(&self, renewed: Lease) {
        let mut times = self.times();
        let now = Instant::now();
        let was_away = times.renewed_at.is_some_and(|renewed_at| now - renewed_at > self.fresh_for);
        if was_away || renewed != Lease::Kept {
            times.known_from = Some(now + self.settle);
        }
        times.renewed_at = Some(now);
    }

    /// This node has added its members again, after its lease was lost. The other nodes do the same.
    pub(super) fn record_restored(&self) {
        self.times().known_from = Some(Instant::now() + self.settle);
    }

    /// Whether the lease was renewed recently.
    pub(super) fn is_fresh(&self) -> bool {
        self.times().renewed_at.is_some_and(|renewed_at| renewed_at.elapsed() <= self.fresh_for)
    }

    /// Whether the members that the store lists are those that are present.
    pub(super) fn knows_presence(&self) -> bool {
        let known_from = self.times().known_from;
        self.is_fresh() && known_from.is_none_or(|known_from| known_from <= Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn presence_is_unknown_until_other_nodes_have_renewed() {
        let second = Duration::from_secs(1);
        let health = LeaseHealth::new(15 * second, 5 * second);
        assert!(!health.is_fresh() && !health.knows_presence(), "before the first renewal");
        health.record(Lease::Kept);
        assert!(health.is_fresh() && health.knows_presence());
        advance(10 * second).await;
        assert!(health.is_fresh() && health.knows_presence());
        advance(second).await;
        assert!(!health.is_fresh() && !health.knows_presence());
        health.record(Lease::Kept);
        assert!(health.is_fresh() && !health.knows_presence(), "the other nodes have not renewed theirs yet");
        advance(6 * second).await;
        assert!(!health.knows_presence(), "the last node may have renewed its lease a moment ago");
        advance(second / 2).await;
        assert!(health.knows_presence());
        health.record(Lease::Kept);
        assert!(health.knows_presence(), "a renewal in time changes nothing");
        health.record(Lease::Lost);
        assert!(
            health.is_fresh() && !health.knows_presence(),
            "the other nodes may have lost theirs as well"
        );
        advance(3 * second).await;
        health.record_restored();
        advance(6 * second).await;
        assert!(!health.knows_presence(), "as long again, once this node's own members are there");
        health.record(Lease::Kept);
        advance(second / 2).await;
        assert!(health.knows_presence());
    }
}
