//! What all logs of the embedded store may take together. Owns the sum and the verdict when it is too much; the broker makes
//! room, a publish that finds none is refused. Called by the broker around whatever changes a log.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Making room looks at every log: not more often than this while it does not help.
const LOOK_AGAIN_MS: u64 = 1_000;

/// Bytes, by estimate: bodies and what is kept with them.
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
    /// Nothing could be given up: refuse until then, Unix ms.
    full_until: AtomicU64,
}

/// What a publish may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capacity {
    /// There is room.
    Available,
    /// Some has to be made first, down to so many bytes.
    Evict(usize),
    /// There is none, and none could be made a moment ago.
    Exhausted,
}

impl Budget {
    pub(super) fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max, full_until: AtomicU64::new(0) }
    }

    /// A log took `before` and takes `after`.
    pub(super) fn change(&self, before: usize, after: usize) {
        // Wraps round to what it should be: a difference below zero is added as its complement.
        self.used.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
    }

    pub(super) fn capacity(&self, now: u64) -> Capacity {
        if self.used.load(Ordering::Relaxed) <= self.max {
            Capacity::Available
        } else if now < self.full_until.load(Ordering::Relaxed) {
            Capacity::Exhausted
        } else {
            // An eighth at once, or every publish would look at every log.
            Capacity::Evict(self.max - self.max / 8)
        }
    }

    pub(super) fn is_over(&self, bytes: usize) -> bool {
        self.used.load(Ordering::Relaxed) > bytes
    }

    /// Room was made, as far as that went. True if there is some now.
    pub(super) fn made(&self, now: u64) -> bool {
        let is_enough = !self.is_over(self.max);
        if !is_enough {
            self.full_until.store(now + LOOK_AGAIN_MS, Ordering::Relaxed);
        }
        is_enough
    }
}
