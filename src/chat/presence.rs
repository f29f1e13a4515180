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
pub(super) struct LocalMembership {
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
    memberships: Mutex<HashMap<Key, Arc<LocalMembership>>>,
    pub(super) backend: Arc<dyn Presence>,
    /// Unbounded, but a membership is in it at most once (`is_queued`).
    departures: mpsc::UnboundedSender<Arc<LocalMembership>>,
    pub(super) needs_reassert: Arc<AtomicBool>,
}

/// The queue of memberships that somebody left.
pub(super) struct Departures(mpsc::UnboundedReceiver<Arc<LocalMembership>>);

/// One connection's presence in one room. Dropping it leaves; the store is told soon after.
pub(super) struct PresenceGuard {
    membership: Arc<LocalMembership>,
    presence: Arc<LocalPresence>,
}

impl Drop for PresenceGuard {
    fn drop(&mut self) {
        if self.membership.connections.fetch_sub(1, Ordering::AcqRel) == 1
            && !self.membership.is_queued.swap(true, Ordering::AcqRel)
        {
            // Without a receiver the node is down, and its lease ends for all.
            let _ = self.presence.departures.send(self.membership.clone());
        }
    }
}

impl LocalMembership {
    async fn turn(&self) -> Result<SemaphorePermit<'_>, BackendError> {
        self.turn.acquire().await.map_err(|_| BackendError::Refused("the node stops".into()))
    }
}

fn membership_of(memberships: &mut HashMap<Key, Arc<LocalMembership>>, key: &Key) -> Arc<LocalMembership> {
    let fresh = || {
        Arc::new(LocalMembership {
            key: key.clone(),
            connections: AtomicUsize::new(0),
            is_entered: AtomicBool::new(false),
            is_doubtful: AtomicBool::new(false),
            turn: Semaphore::new(1),
            is_queued: AtomicBool::new(false),
        })
    };
    memberships.entry(key.clone()).or_insert_with(fresh).clone()
}

impl LocalPresence {
    /// `needs_reassert` is set by whoever sees the connection to the store break.
    pub(super) fn new(backend: Arc<dyn Presence>, needs_reassert: Arc<AtomicBool>) -> (Self, Departures) {
        let (departures, queue) = mpsc::unbounded_channel();
        (Self { memberships: Mutex::default(), backend, departures, needs_reassert }, Departures(queue))
    }

    pub(super) fn memberships(&self) -> MutexGuard<'_, HashMap<Key, Arc<LocalMembership>>> {
        self.memberships.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Users in rooms on this node.
    pub(super) fn len(&self) -> usize {
        self.memberships().len()
    }

    /// One more connection of the user is in the room; returns when the cluster knows.
    pub(super) async fn enter(
        self: &Arc<Self>,
        room: &RoomName,
        user: &UserName,
    ) -> Result<PresenceGuard, BackendError> {
        let membership = {
            let mut memberships = self.memberships();
            let membership = membership_of(&mut memberships, &(room.clone(), user.clone()));
            // Counted under the map's lock: a membership is removed under it too, and only at zero.
            membership.connections.fetch_add(1, Ordering::AcqRel);
            membership
        };
        let present = PresenceGuard { membership, presence: self.clone() };
        self.settle(&present.membership).await?;
        Ok(present)
    }

    /// One connection fewer; returns when the cluster knows.
    pub(super) async fn leave(self: &Arc<Self>, present: PresenceGuard) -> Result<(), BackendError> {
        let membership = present.membership.clone();
        drop(present);
        self.settle(&membership).await
    }

    /// Tells the store what is true here, if it does not know.
    async fn settle(&self, membership: &Arc<LocalMembership>) -> Result<(), BackendError> {
        let _turn = membership.turn().await?;
        self.settle_in_turn(membership).await
    }

    async fn settle_in_turn(&self, membership: &Arc<LocalMembership>) -> Result<(), BackendError> {
        let (room, user) = &membership.key;
        let is_here = membership.connections.load(Ordering::Acquire) > 0;
        let is_known = membership.is_entered.load(Ordering::Acquire);
        match (is_here, is_known && !(is_here && membership.is_doubtful.load(Ordering::Acquire))) {
            (true, false) => {
                // Entered even where it fails or is given up half-way: it may have been done, and the departure that
                // follows must undo it. Whoever enters meanwhile must not rely on it, hence the flag.
                membership.is_entered.store(true, Ordering::Release);
                membership.is_doubtful.store(true, Ordering::Release);
                self.backend.add(room, user, server_message::entered(room, user)).await?;
                membership.is_doubtful.store(false, Ordering::Release);
            }
            (false, true) => {
                // Likewise it may have been done without an answer: who comes back must not rely on being entered still.
                membership.is_doubtful.store(true, Ordering::Release);
                self.backend.remove(room, user, server_message::left(room, user)).await?;
                membership.is_entered.store(false, Ordering::Release);
                membership.is_doubtful.store(false, Ordering::Release);
            }
            _ => {}
        }
        let mut memberships = self.memberships();
        if membership.connections.load(Ordering::Acquire) == 0
            && !membership.is_entered.load(Ordering::Acquire)
            && memberships.get(&membership.key).is_some_and(|current| Arc::ptr_eq(current, membership))
        {
            memberships.remove(&membership.key);
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
                Some(membership) = queue.0.recv(), if settling.len() < MAX_SETTLING => {
                    settling.push(async move {
                        membership.is_queued.store(false, Ordering::Release);
                        // What fails stays entered with nobody there: the heartbeat finds it.
                        if let Err(error) = self.settle(&membership).await {
                            tracing::debug!(%error, "a departure waits for the store");
                        }
                    });
                }
            }
        }
    }

    /// The store may hold the user, whatever this node last told it. In the membership's turn, or somebody who comes back at
    /// this moment would be taken out.
    pub(super) async fn settle_as_entered(&self, key: &Key) -> Result<(), BackendError> {
        loop {
            let membership = membership_of(&mut self.memberships(), key);
            let _turn = membership.turn().await?;
            let is_current = {
                let memberships = self.memberships();
                let is_current =
                    memberships.get(key).is_some_and(|current| Arc::ptr_eq(current, &membership));
                membership.is_entered.store(true, Ordering::Release);
                membership.is_doubtful.store(true, Ordering::Release);
                is_current
            };
            if is_current {
                return self.settle_in_turn(&membership).await;
            }
        }
    }

    pub(super) fn requeue(&self) {
        for membership in self.memberships().values() {
            let is_owed = membership.connections.load(Ordering::Acquire) == 0;
            if is_owed && !membership.is_queued.swap(true, Ordering::AcqRel) {
                let _ = self.departures.send(membership.clone());
            }
        }
    }
}
