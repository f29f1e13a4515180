//! Who of this node's users is in which room, and that the cluster knows. Owns the count of connections per user and
//! room, and telling the store of it; the backend owns what other nodes see, and the heartbeat is the lease's. Used by
//! sessions through guards.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use crate::backend::{BackendError, Presence};
use crate::protocol::{RoomName, UserName, server_message};

pub(super) type Key = (RoomName, UserName);

/// Departures on their way to the store at a time.
const MAX_SETTLING: usize = 64;

/// One user in one room on this node.
pub(super) struct Slot {
    pub(super) key: Key,
    pub(super) connections: AtomicUsize,
    /// What the store was last told, or may have been told. Changed only by whoever has the turn.
    is_entered: AtomicBool,
    /// Something was tried and not confirmed: whoever enters next enters again.
    is_doubtful: AtomicBool,
    /// Telling the store is done by one at a time, in the order in which it became true here.
    turn: Semaphore,
    is_queued: AtomicBool,
}

/// Local presence of a node.
pub(super) struct LocalPresence {
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
    pub(super) backend: Arc<dyn Presence>,
    /// Unbounded, but a slot is in it at most once (`is_queued`).
    departures: mpsc::UnboundedSender<Arc<Slot>>,
    pub(super) is_in_doubt: Arc<AtomicBool>,
}

/// The queue of slots that somebody left.
pub(super) struct Departures(mpsc::UnboundedReceiver<Arc<Slot>>);

/// One connection's presence in one room. Dropping it leaves; the store is told soon after.
pub(super) struct Present {
    slot: Arc<Slot>,
    presence: Arc<LocalPresence>,
}

impl Drop for Present {
    fn drop(&mut self) {
        if self.slot.connections.fetch_sub(1, Ordering::AcqRel) == 1
            && !self.slot.is_queued.swap(true, Ordering::AcqRel)
        {
            // Without a receiver the node is down, and its lease ends for all.
            let _ = self.presence.departures.send(self.slot.clone());
        }
    }
}

impl Slot {
    async fn turn(&self) -> Result<SemaphorePermit<'_>, BackendError> {
        self.turn.acquire().await.map_err(|_| BackendError::Refused("the node stops".into()))
    }
}

fn slot_of(slots: &mut HashMap<Key, Arc<Slot>>, key: &Key) -> Arc<Slot> {
    let fresh = || {
        Arc::new(Slot {
            key: key.clone(),
            connections: AtomicUsize::new(0),
            is_entered: AtomicBool::new(false),
            is_doubtful: AtomicBool::new(false),
            turn: Semaphore::new(1),
            is_queued: AtomicBool::new(false),
        })
    };
    slots.entry(key.clone()).or_insert_with(fresh).clone()
}

impl LocalPresence {
    /// `is_in_doubt` is set by whoever sees the connection to the store break.
    pub(super) fn new(backend: Arc<dyn Presence>, is_in_doubt: Arc<AtomicBool>) -> (Self, Departures) {
        let (departures, queue) = mpsc::unbounded_channel();
        (Self { slots: Mutex::default(), backend, departures, is_in_doubt }, Departures(queue))
    }

    pub(super) fn slots(&self) -> MutexGuard<'_, HashMap<Key, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Users in rooms on this node.
    pub(super) fn len(&self) -> usize {
        self.slots().len()
    }

    /// One more connection of the user is in the room; returns when the cluster knows.
    pub(super) async fn enter(
        self: &Arc<Self>,
        room: &RoomName,
        user: &UserName,
    ) -> Result<Present, BackendError> {
        let slot = {
            let mut slots = self.slots();
            let slot = slot_of(&mut slots, &(room.clone(), user.clone()));
            // Counted under the map's lock: a slot is removed under it too, and only at zero.
            slot.connections.fetch_add(1, Ordering::AcqRel);
            slot
        };
        let present = Present { slot, presence: self.clone() };
        self.settle(&present.slot).await?;
        Ok(present)
    }

    /// One connection fewer; returns when the cluster knows.
    pub(super) async fn leave(self: &Arc<Self>, present: Present) -> Result<(), BackendError> {
        let slot = present.slot.clone();
        drop(present);
        self.settle(&slot).await
    }

    /// Tells the store what is true here, if it does not know.
    async fn settle(&self, slot: &Arc<Slot>) -> Result<(), BackendError> {
        let _turn = slot.turn().await?;
        self.settle_in_turn(slot).await
    }

    async fn settle_in_turn(&self, slot: &Arc<Slot>) -> Result<(), BackendError> {
        let (room, user) = &slot.key;
        let is_here = slot.connections.load(Ordering::Acquire) > 0;
        let is_known = slot.is_entered.load(Ordering::Acquire);
        match (is_here, is_known && !(is_here && slot.is_doubtful.load(Ordering::Acquire))) {
            (true, false) => {
                // Entered even where it fails or is given up half-way: it may have been done, and the departure that
                // follows must undo it. Whoever enters meanwhile must not rely on it, hence the flag.
                slot.is_entered.store(true, Ordering::Release);
                slot.is_doubtful.store(true, Ordering::Release);
                self.backend.add(room, user, server_message::entered(room, user)).await?;
                slot.is_doubtful.store(false, Ordering::Release);
            }
            (false, true) => {
                // Likewise it may have been done without an answer: who comes back must not rely on being entered still.
                slot.is_doubtful.store(true, Ordering::Release);
                self.backend.remove(room, user, server_message::left(room, user)).await?;
                slot.is_entered.store(false, Ordering::Release);
                slot.is_doubtful.store(false, Ordering::Release);
            }
            _ => {}
        }
        let mut slots = self.slots();
        if slot.connections.load(Ordering::Acquire) == 0
            && !slot.is_entered.load(Ordering::Acquire)
            && slots.get(&slot.key).is_some_and(|current| Arc::ptr_eq(current, slot))
        {
            slots.remove(&slot.key);
        }
        Ok(())
    }

    /// Tells the store of departures as they come, and again until it heard. Ends when the node stops.
    pub(super) async fn settle_departures(&self, mut queue: Departures, stop: CancellationToken) {
        let mut settling = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = settling.next(), if !settling.is_empty() => {}
                Some(slot) = queue.0.recv(), if settling.len() < MAX_SETTLING => {
                    settling.push(async move {
                        slot.is_queued.store(false, Ordering::Release);
                        // What fails stays entered with nobody there: the heartbeat finds it.
                        if let Err(error) = self.settle(&slot).await {
                            tracing::debug!(%error, "a departure waits for the store");
                        }
                    });
                }
            }
        }
    }

    /// The store may hold the user, whatever this node last told it. In the slot's turn, or somebody who comes back at
    /// this moment would be taken out.
    pub(super) async fn settle_as_entered(&self, key: &Key) -> Result<(), BackendError> {
        loop {
            let slot = slot_of(&mut self.slots(), key);
            let _turn = slot.turn().await?;
            let is_current = {
                let slots = self.slots();
                let is_current = slots.get(key).is_some_and(|current| Arc::ptr_eq(current, &slot));
                slot.is_entered.store(true, Ordering::Release);
                slot.is_doubtful.store(true, Ordering::Release);
                is_current
            };
            if is_current {
                return self.settle_in_turn(&slot).await;
            }
        }
    }

    pub(super) fn requeue(&self) {
        for slot in self.slots().values() {
            let is_owed = slot.connections.load(Ordering::Acquire) == 0;
            if is_owed && !slot.is_queued.swap(true, Ordering::AcqRel) {
                let _ = self.departures.send(slot.clone());
            }
        }
    }
}
