//! Who of this node's users is in which room, and that the cluster knows. Owns the count of connections per user and
//! room, and the node's lease; the backend owns what other nodes see. Used by sessions through guards; its background
//! task renews, asserts again, and reaps dead nodes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::backend::{BackendError, Incarnation, Lease, Presence};
use crate::protocol::{RoomName, UserName, server_message};

type Key = (RoomName, UserName);

/// Members entered again in one call.
const ASSERT_AT_ONCE: usize = 500;
/// Members of a dead node removed at a time: others wait for the same connections.
const REAP_AT_ONCE: usize = 4;
/// Departures on their way to the store at a time.
const MAX_SETTLING: usize = 64;

/// One user in one room on this node.
struct Slot {
    key: Key,
    connections: AtomicUsize,
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
    backend: Arc<dyn Presence>,
    /// Unbounded, but a slot is in it at most once (`is_queued`).
    departures: mpsc::UnboundedSender<Arc<Slot>>,
    is_in_doubt: Arc<AtomicBool>,
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

    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Arc<Slot>>> {
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

    /// Renews the lease every `heartbeat`; with it, makes up for departures that the store did not hear of, enters all
    /// members again after a lost lease, and reaps nodes whose lease has ended. Ends when the node stops.
    pub(super) async fn keep_lease(&self, heartbeat: Duration, lease: Duration, stop: CancellationToken) {
        let mut tick = interval(heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed_at = Instant::now();
        let mut steady_since = Instant::now();
        let mut reaping = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            // This node may itself have stood still for longer than a lease, and so may the store: then every lease has
            // ended, and nobody is dead.
            if renewed_at.elapsed() > lease {
                steady_since = Instant::now();
            }
            match self.renew().await {
                Ok(Lease::Kept) => renewed_at = Instant::now(),
                Ok(Lease::Lost) => {
                    renewed_at = Instant::now();
                    steady_since = Instant::now();
                }
                Err(error) => {
                    tracing::debug!(%error, "the lease could not be renewed");
                    steady_since = Instant::now();
                    continue;
                }
            }
            self.requeue();
            // Between two renewals, however much there is to do and however slow the store: a reaper that forgot its own
            // lease over it would be the next to be reaped.
            let until = Instant::now() + heartbeat / 2;
            if steady_since.elapsed() >= lease
                && let Err(error) = self.reap(&mut reaping, until).await
            {
                tracing::debug!(%error, "dead nodes could not be reaped yet");
            }
        }
    }

    async fn renew(&self) -> Result<Lease, BackendError> {
        let lease = self.backend.renew().await.inspect_err(|_| self.doubt())?;
        if lease == Lease::Lost {
            tracing::warn!("the presence lease was lost; this node goes on under a new one");
            self.doubt();
            self.backend.reincarnate().await?;
        }
        if self.is_in_doubt.swap(false, Ordering::AcqRel)
            && let Err(error) = self.assert_all().await
        {
            self.doubt();
            return Err(error);
        }
        Ok(lease)
    }

    /// The store may have lost members that it had acknowledged (it was away, and may be another one now): the next
    /// heartbeat enters all again.
    fn doubt(&self) {
        self.is_in_doubt.store(true, Ordering::Release);
    }

    async fn assert_all(&self) -> Result<(), BackendError> {
        let here: Vec<Arc<Slot>> = self.slots().values().cloned().collect();
        for slots in here.chunks(ASSERT_AT_ONCE) {
            let is_here = |slot: &Slot| slot.connections.load(Ordering::Acquire) > 0;
            let keys: Vec<Key> = slots.iter().filter(|s| is_here(s)).map(|slot| slot.key.clone()).collect();
            self.backend.assert_all(&keys).await?;
            // Somebody may have left while it was written, and the store have heard of it before it heard of this.
            for slot in slots.iter().filter(|slot| !is_here(slot)) {
                self.settle_as_entered(&slot.key).await?;
            }
        }
        Ok(())
    }

    /// The store may hold the user, whatever this node last told it. In the slot's turn, or somebody who comes back at
    /// this moment would be taken out.
    async fn settle_as_entered(&self, key: &Key) -> Result<(), BackendError> {
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

    fn requeue(&self) {
        for slot in self.slots().values() {
            let is_owed = slot.connections.load(Ordering::Acquire) == 0;
            if is_owed && !slot.is_queued.swap(true, Ordering::AcqRel) {
                let _ = self.departures.send(slot.clone());
            }
        }
    }

    /// Removes what dead nodes hold, until there is none or the time is up; `reaping` is who is not done with. Where the
    /// claim ends meanwhile, another node helps: each user is removed, and told of, once all the same.
    async fn reap(&self, reaping: &mut Option<Incarnation>, until: Instant) -> Result<(), BackendError> {
        while Instant::now() < until {
            let dead = match reaping {
                Some(dead) => dead,
                None => match self.backend.claim_dead().await? {
                    Some(dead) => {
                        tracing::info!(
                            incarnation = dead.0,
                            "removing the members of a node whose lease has ended"
                        );
                        reaping.insert(dead)
                    }
                    None => return Ok(()),
                },
            };
            let Some((room, users)) = self.backend.orphans(dead).await? else {
                self.backend.bury(dead).await?;
                *reaping = None;
                continue;
            };
            for users in users.chunks(REAP_AT_ONCE) {
                if Instant::now() >= until {
                    return Ok(());
                }
                let removals = users.iter().map(|user| {
                    let left = server_message::left(&room, user);
                    self.backend.remove_orphan(dead, &room, user, left)
                });
                try_join_all(removals).await?;
            }
        }
        Ok(())
    }
}
