//! How fast one owner may fill the store. Owns a token bucket in bytes for each owner that stored something lately. Asked by
//! the publisher before each message of a user.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::limits::TokenBucket;
use crate::backend::{BackendError, Owner};

/// Estimated bytes that the store keeps for a message in one log, besides its body: its entry, its dedupe record, and its
/// part of the log.
const MESSAGE_COST: usize = 512;

/// Bytes that the store keeps for a log that is not empty, besides its messages: Redis allocates 4 KiB for the first entries
/// of a stream.
const LOG_COST: u32 = 4_096;

/// Owners above which those whose bucket is full again are forgotten.
const FIRST_PRUNE: usize = 1_024;

/// The rate of new storage of every owner on this node.
pub(super) struct StorageRate {
    per_second: AtomicU32,
    burst: AtomicU32,
    buckets: Mutex<Buckets>,
}

struct Buckets {
    by_owner: HashMap<Owner, TokenBucket>,
    prune_at: usize,
}

impl StorageRate {
    /// Bytes per second and at once; with `per_second` 0 there is no limit.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let buckets = Buckets { by_owner: HashMap::new(), prune_at: FIRST_PRUNE };
        Self { per_second: per_second.into(), burst: burst.into(), buckets: Mutex::new(buckets) }
    }

    /// Changes the rate. Every owner begins anew.
    pub(super) fn set(&self, per_second: u32, burst: u32) {
        let before = (self.per_second.load(Ordering::Relaxed), self.burst.load(Ordering::Relaxed));
        if before == (per_second, burst) {
            return;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        self.per_second.store(per_second, Ordering::Relaxed);
        self.burst.store(burst, Ordering::Relaxed);
        buckets.by_owner.clear();
    }

    fn is_unlimited(&self) -> bool {
        self.per_second.load(Ordering::Relaxed) == 0
    }

    /// Estimated size in the store, bytes, of a body that goes to so many logs.
    pub(super) fn cost(body_bytes: usize, logs: usize) -> u32 {
        u32::try_from((body_bytes + MESSAGE_COST) * logs).unwrap_or(u32::MAX)
    }

    /// Takes the cost of a message.
    ///
    /// # Errors
    /// The owner has stored too much: it may try again after a time.
    pub(super) fn take(&self, owner: Owner, cost: u32, now: Instant) -> Result<(), BackendError> {
        if self.is_unlimited() {
            return Ok(());
        }
        self.with(owner, now, |bucket| bucket.try_take(cost, now)).map_err(BackendError::OverShare)
    }

    /// Takes the cost of logs that a message has begun. Only the store can tell that they were empty.
    pub(super) fn charge_for_logs(&self, owner: Owner, logs_begun: u32, now: Instant) {
        if !self.is_unlimited() && logs_begun > 0 {
            self.with(owner, now, |bucket| bucket.take(LOG_COST * logs_begun, now));
        }
    }

    /// Gives the cost of a message back that was not stored.
    pub(super) fn give_back(&self, owner: Owner, cost: u32, now: Instant) {
        if !self.is_unlimited() {
            self.with(owner, now, |bucket| bucket.give_back(cost, now));
        }
    }

    fn with<T>(&self, owner: Owner, now: Instant, act: impl FnOnce(&mut TokenBucket) -> T) -> T {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.by_owner.len() >= buckets.prune_at {
            buckets.by_owner.retain(|_, bucket| !bucket.is_full(now));
            buckets.prune_at = (buckets.by_owner.len() * 2).max(FIRST_PRUNE);
        }
        let (per_second, burst) =
            (self.per_second.load(Ordering::Relaxed), self.burst.load(Ordering::Relaxed));
        let fresh = || TokenBucket::new(per_second, burst, now);
        act(buckets.by_owner.entry(owner).or_insert_with(fresh))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;

    fn owner(number: u32) -> Owner {
        Owner::from(IpAddr::from(number.to_be_bytes()))
    }

    #[test]
    fn owner_stores_a_burst_and_then_the_rate() {
        let rate = StorageRate::new(1_000, 10_000);
        let start = Instant::now();
        for _ in 0..10 {
            rate.take(owner(1), 1_000, start).unwrap();
        }
        rate.take(owner(1), 1_000, start).unwrap();
        let refused = BackendError::OverShare(Duration::from_secs(1));
        assert_eq!(rate.take(owner(1), 1_000, start), Err(refused), "the bucket may be overdrawn once");
        rate.take(owner(2), 1_000, start).unwrap();
        rate.take(owner(1), 1_000, start + Duration::from_secs(1)).unwrap();
        rate.give_back(owner(1), 1_000, start + Duration::from_secs(1));
        rate.take(owner(1), 1_000, start + Duration::from_secs(1)).unwrap();
        rate.take(owner(1), 1_000, start + Duration::from_secs(1)).unwrap_err();
    }

    #[test]
    fn changed_rate_holds_for_every_owner() {
        let rate = StorageRate::new(0, 1_000);
        let start = Instant::now();
        rate.take(owner(1), 1 << 30, start).unwrap();
        rate.set(1_000, 1_000);
        rate.take(owner(1), 2_000, start).unwrap();
        rate.set(1_000, 1_000);
        rate.take(owner(1), 1, start).unwrap_err();
        rate.set(1_000, 2_000);
        rate.take(owner(1), 1, start).unwrap();
    }

    #[test]
    fn new_logs_cost_more_than_their_messages() {
        let rate = StorageRate::new(4_096, 8_192);
        let start = Instant::now();
        rate.take(owner(1), 600, start).unwrap();
        rate.charge_for_logs(owner(1), 0, start);
        rate.charge_for_logs(owner(1), 2, start);
        rate.take(owner(1), 600, start).unwrap_err();
        rate.take(owner(1), 600, start + Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn owners_whose_bucket_is_full_again_are_forgotten() {
        let rate = StorageRate::new(1_000, 1_000);
        let start = Instant::now();
        for number in 0..100_000 {
            let now = start + Duration::from_millis(u64::from(number));
            rate.take(owner(number), 1_000, now).unwrap();
        }
        let held = rate.buckets.lock().unwrap().by_owner.len();
        assert!(held <= 2 * FIRST_PRUNE, "{held}");
    }
}
