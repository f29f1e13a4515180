//! Slots whose master has changed. Owns their list until somebody takes it: a new master may lack the last writes of the one
//! before, members of rooms among them. Filled by the slot reader, emptied by presence.

use std::sync::{Mutex, PoisonError};

use super::slot::{SLOTS, Slot};

/// Slots whose newest writes may be lost.
#[derive(Default)]
pub(super) struct LostSlots(Mutex<Option<Box<[bool]>>>);

/// Slots that were taken from the list.
pub(super) struct TakenSlots(Box<[bool]>);

impl LostSlots {
    /// Adds a slot by its number.
    pub(super) fn add(&self, slot: usize) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let list = list.get_or_insert_with(|| vec![false; SLOTS].into());
        if let Some(is_lost) = list.get_mut(slot) {
            *is_lost = true;
        }
    }

    /// Takes all slots, if there are any.
    pub(super) fn take(&self) -> Option<TakenSlots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map(TakenSlots)
    }
}

impl TakenSlots {
    /// Whether a slot is among them.
    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.0[slot.index()]
    }
}
