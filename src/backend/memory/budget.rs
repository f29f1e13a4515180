//! Memory budget of all logs of the embedded store. Owns the sum and the decision what a publish may do; the broker evicts
//! messages and refuses publishes. Called by the broker around each change of a log.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Minimum interval between two evictions of which the first freed too little: an eviction scans every log.
const RETRY_AFTER_MS: u64 = 1_000;

/// Estimated bytes in use: bodies and their bookkeeping.
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
    /// The last eviction freed too little: no further eviction before this time, Unix ms.
    full_until: AtomicU64,
}

/// Capacity for one more message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capacity {
    /// The message fits.
    Available,
    /// Messages must be evicted first, down to this number of bytes.
    Evict(usize),
    /// The budget is used up, and a recent eviction freed too little.
    Exhausted,
}

impl Budget {
    pub(super) fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max, full_until: AtomicU64::new(0) }
    }

    /// Records that the size of a log changed.
    pub(super) fn record_change(&self, before: usize, after: usize) {
        // A negative difference is added as its two's complement; the wrapping sum is correct.
        self.used.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Decides what a publish may do.
    pub(super) fn capacity(&self, now: u64) -> Capacity {
        if self.used.load(Ordering::Relaxed) <= self.max {
            Capacity::Available
        } else if now < self.full_until.load(Ordering::Relaxed) {
            Capacity::Exhausted
        } else {
            // An eighth at once. Otherwise every publish would scan every log.
            Capacity::Evict(self.max - self.max / 8)
        }
    }

    /// True if more than `bytes` are in use.
    pub(super) fn is_over(&self, bytes: usize) -> bool {
        self.used.load(Ordering::Relaxed) > bytes
    }

    /// Records that an eviction ended. True if there is capacity now.
    pub(super) fn record_eviction(&self, now: u64) -> bool {
        let is_enough = !self.is_over(self.max);
        if !is_enough {
            self.full_until.store(now + RETRY_AFTER_MS, Ordering::Relaxed);
        }
        is_enough
    }
}
