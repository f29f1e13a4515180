//! How many reads of logs and member lists run at once. Owns the slots of the node, and one slot for each owner that reads:
//! so joins and publishes always find the store and a worker free, and a user with many connections waits for itself. Taken
//! by the readers of history and members.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::backend::Owner;

/// Reads of a node at once: half of the connections that the store has for slow calls by default.
const READS: usize = 4;

/// Owners above which those without a read are forgotten.
const FIRST_PRUNE: usize = 1_024;

/// The slots of a node. Whoever waits is served in order.
pub(super) struct ReadSlots {
    node: Semaphore,
    owners: Mutex<Owners>,
}

#[derive(Default)]
struct Owners {
    slots: HashMap<Owner, Weak<Semaphore>>,
    prune_at: usize,
}

/// A read under way.
pub(super) struct ReadSlot<'a> {
    _node: Option<SemaphorePermit<'a>>,
    _owner: Option<OwnedSemaphorePermit>,
}

impl ReadSlots {
    pub(super) fn new() -> Self {
        Self { node: Semaphore::new(READS), owners: Mutex::default() }
    }

    /// Waits until this owner has no other read, and then for a slot of the node. The caller has its own deadline.
    pub(super) async fn take(&self, owner: Option<Owner>) -> ReadSlot<'_> {
        // No semaphore here is ever closed, so no wait can fail.
        let owner = match owner.map(|owner| self.slot_of(owner)) {
            Some(slot) => slot.acquire_owned().await.ok(),
            None => None,
        };
        ReadSlot { _node: self.node.acquire().await.ok(), _owner: owner }
    }

    fn slot_of(&self, owner: Owner) -> Arc<Semaphore> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = owners.slots.get(&owner).and_then(Weak::upgrade) {
            return slot;
        }
        if owners.slots.len() >= owners.prune_at.max(FIRST_PRUNE) {
            owners.slots.retain(|_, slot| slot.strong_count() > 0);
            owners.prune_at = owners.slots.len() * 2;
        }
        let slot = Arc::new(Semaphore::new(1));
        owners.slots.insert(owner, Arc::downgrade(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use futures_util::FutureExt;

    use super::*;

    fn owner(number: u32) -> Option<Owner> {
        Some(Owner::from(IpAddr::from(number.to_be_bytes())))
    }

    #[tokio::test]
    async fn owner_has_one_slot_and_the_node_a_few() {
        let slots = ReadSlots::new();
        let first = slots.take(owner(0)).await;
        assert!(slots.take(owner(0)).now_or_never().is_none());
        let mut others = Vec::new();
        for number in 1..READS as u32 {
            others.push(slots.take(owner(number)).await);
        }
        assert!(slots.take(None).now_or_never().is_none());
        others.pop();
        assert!(slots.take(owner(0)).now_or_never().is_none(), "a free slot of the node is not the owner's");
        drop(first);
        assert!(slots.take(owner(0)).now_or_never().is_some());
    }

    #[tokio::test]
    async fn owners_without_a_read_are_forgotten() {
        let slots = ReadSlots::new();
        for number in 0..100_000 {
            slots.take(owner(number)).await;
        }
        let held = slots.owners.lock().unwrap().slots.len();
        assert!(held <= FIRST_PRUNE, "{held}");
    }
}
