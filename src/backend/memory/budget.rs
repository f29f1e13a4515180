//! Memory budget of all logs of the embedded store. Owns the sums, of all and of each owner, and the decision what a publish
//! may do; the broker evicts messages and refuses publishes. Each log charges what it holds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::lock::lock;
use crate::backend::Owner;

/// Minimum interval between two searches for memory of which the first freed too little: a search scans every log.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Estimated bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Of messages: an eviction can free them.
    pub(super) messages: usize,
    /// Of dedupe records and logs: they stay while their dedupe window lasts.
    pub(super) records: usize,
}

impl Usage {
    /// Of messages only.
    pub(super) fn of_messages(bytes: usize) -> Self {
        Self { messages: bytes, records: 0 }
    }

    /// Of dedupe records and logs only.
    pub(super) fn of_records(bytes: usize) -> Self {
        Self { messages: 0, records: bytes }
    }

    fn sum(self) -> usize {
        self.messages + self.records
    }
}

#[derive(Default)]
struct State {
    used: usize,
    owners: HashMap<Owner, Usage>,
    /// The last eviction freed too little: no further one before this time, Unix ms.
    full_until: u64,
    /// The same for the search for memory of an owner over its share.
    reclaim_at: u64,
}

impl State {
    fn exceeds_share(&self, owner: Owner, share: usize) -> bool {
        self.owners.get(&owner).is_some_and(|usage| usage.records > share)
    }
}

/// Estimated bytes in use: bodies, and the bookkeeping around them.
pub(super) struct Budget {
    state: Mutex<State>,
    max: usize,
    share: usize,
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
    /// The owner is over its share: what it no longer needs must be freed first.
    Reclaim,
    /// The owner is over its share, and a recent search freed too little.
    OverShare,
}

impl Budget {
    /// `share` is what a single owner may use of `max`, bytes: above it, it loses messages before others do, and may not fill
    /// more with what an eviction can't free.
    pub(super) fn new(max: usize, share: usize) -> Self {
        Self { state: Mutex::default(), max, share }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Charges bytes to an owner; to nobody if there is none.
    pub(super) fn charge(&self, owner: Option<Owner>, usage: Usage) {
        let mut state = self.state();
        state.used += usage.sum();
        if let Some(owner) = owner {
            let charged = state.owners.entry(owner).or_default();
            charged.messages += usage.messages;
            charged.records += usage.records;
        }
    }

    /// Takes a charge back.
    pub(super) fn release(&self, owner: Option<Owner>, usage: Usage) {
        let mut state = self.state();
        state.used -= usage.sum();
        if let Some(owner) = owner
            && let Some(charged) = state.owners.get_mut(&owner)
        {
            charged.messages -= usage.messages;
            charged.records -= usage.records;
            if *charged == Usage::default() {
                state.owners.remove(&owner);
            }
        }
    }

    /// Decides what a publish of this owner may do.
    pub(super) fn capacity(&self, owner: Option<Owner>, now: u64) -> Capacity {
        let state = self.state();
        if owner.is_some_and(|owner| state.exceeds_share(owner, self.share)) {
            if now < state.reclaim_at { Capacity::OverShare } else { Capacity::Reclaim }
        } else if state.used <= self.max {
            Capacity::Available
        } else if now < state.full_until {
            Capacity::Exhausted
        } else {
            // An eighth at once. Otherwise every publish would scan every log.
            Capacity::Evict(self.max - self.max / 8)
        }
    }

    /// True if more than `bytes` are in use.
    pub(super) fn is_over(&self, bytes: usize) -> bool {
        self.state().used > bytes
    }

    /// True if what an eviction can't free of this owner is more than its share.
    pub(super) fn exceeds_share(&self, owner: Owner) -> bool {
        self.state().exceeds_share(owner, self.share)
    }

    /// True if this owner uses more than its share, messages included.
    pub(super) fn is_heavy(&self, owner: Owner) -> bool {
        let state = self.state();
        state.owners.get(&owner).is_some_and(|usage| usage.sum() > self.share)
    }

    /// Records that an eviction ended. True if there is capacity now.
    pub(super) fn record_eviction(&self, now: u64) -> bool {
        let is_enough = !self.is_over(self.max);
        if !is_enough {
            self.state().full_until = now + RETRY_AFTER.as_millis() as u64;
        }
        is_enough
    }

    /// Records that a search for memory of this owner ended. True if it is within its share now.
    pub(super) fn record_reclaim(&self, owner: Owner, now: u64) -> bool {
        self.state().reclaim_at = now + RETRY_AFTER.as_millis() as u64;
        !self.exceeds_share(owner)
    }
}
