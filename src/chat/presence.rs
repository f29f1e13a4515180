//! Which users of this node are in which rooms. Owns the number of connections per user and room, and the reports of it to
//! the store; the backend owns what other nodes see, and `lease` the heartbeat. Used by sessions through guards.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::backend::{BackendError, Presence};
use crate::protocol::events::{Enter, Leave};
use crate::protocol::{RoomName, UserName, encode};
use crate::work_queue::WorkQueue;

pub(super) type Key = (RoomName, UserName);

/// Departures that are reported to the store at a time.
const MAX_IN_HAND: usize = 64;

/// What the store holds of one user in one room, as far as this node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Not this node's member.
    Absent,
    /// This node's member.
    Present,
    /// A change was tried and not confirmed: it may be either.
    Unsure,
}

/// One user in one room on this node.
pub(super) struct LocalMembership {
    pub(super) key: Key,
    connections: AtomicUsize,
    /// The lock is held during a report to the store, so that the store gets the changes one after the other, in the order
    /// in which they happened here.
    known: tokio::sync::Mutex<Known>,
}

impl LocalMembership {
    /// Whether a connection of the user is in the room.
    pub(super) fn is_here(&self) -> bool {
        self.connections.load(Ordering::Acquire) > 0
    }
}

/// Local presence of a node.
pub(super) struct LocalPresence {
    memberships: Mutex<HashMap<Key, Arc<LocalMembership>>>,
    backend: Arc<dyn Presence>,
    departures: WorkQueue<Key>,
    needs_restore: Arc<AtomicBool>,
}

/// One connection's presence in one room. Dropping it leaves; the departure is reported to the store soon after.
pub(super) struct PresenceGuard {
    membership: Arc<LocalMembership>,
    presence: Arc<LocalPresence>,
}

impl Drop for PresenceGuard {
    fn drop(&mut self) {
        if self.membership.connections.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.presence.departures.add(self.membership.key.clone());
        }
    }
}

fn membership_of(memberships: &mut HashMap<Key, Arc<LocalMembership>>, key: &Key) -> Arc<LocalMembership> {
    let fresh = || {
        Arc::new(LocalMembership {
            key: key.clone(),
            connections: AtomicUsize::new(0),
            known: tokio::sync::Mutex::new(Known::Absent),
        })
    };
    memberships.entry(key.clone()).or_insert_with(fresh).clone()
}

impl LocalPresence {
    /// `needs_restore` is set by the registry when the connection to the store breaks.
    pub(super) fn new(backend: Arc<dyn Presence>, needs_restore: Arc<AtomicBool>) -> Self {
        Self { memberships: Mutex::default(), backend, departures: WorkQueue::default(), needs_restore }
    }

    fn memberships(&self) -> MutexGuard<'_, HashMap<Key, Arc<LocalMembership>>> {
        self.memberships.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every user in every room of this node, departures that are not reported yet included.
    pub(super) fn all(&self) -> Vec<Arc<LocalMembership>> {
        self.memberships().values().cloned().collect()
    }

    /// Users in rooms on this node.
    pub(super) fn len(&self) -> usize {
        self.memberships().len()
    }

    /// The store may have lost members that it had acknowledged (it was away, and may be another one now): the next
    /// heartbeat adds all of them again.
    pub(super) fn mark_for_restore(&self) {
        self.needs_restore.store(true, Ordering::Release);
    }

    /// Whether all members have to be added again. Asking takes the mark away.
    pub(super) fn take_restore(&self) -> bool {
        self.needs_restore.swap(false, Ordering::AcqRel)
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

    /// Reports the membership to the store, if the store does not know it.
    async fn settle(&self, membership: &Arc<LocalMembership>) -> Result<(), BackendError> {
        let mut known = membership.known.lock().await;
        self.settle_locked(membership, &mut known).await
    }

    /// [`LocalPresence::settle`], with the lock held.
    async fn settle_locked(
        &self,
        membership: &Arc<LocalMembership>,
        known: &mut Known,
    ) -> Result<(), BackendError> {
        let (room, user) = &membership.key;
        // Unsure before the store is asked: the request may fail or be dropped half-way and have been carried out all
        // the same. A later departure then has to undo it, and a later entry must not rely on it.
        match (membership.is_here(), *known) {
            (true, Known::Absent | Known::Unsure) => {
                *known = Known::Unsure;
                let event = Enter { sender_username: user.clone(), room: room.clone() };
                self.backend.add(room, user, encode::event_json(&event)).await?;
                *known = Known::Present;
            }
            (false, Known::Present | Known::Unsure) => {
                *known = Known::Unsure;
                let event = Leave { sender_username: user.clone(), room: room.clone() };
                self.backend.remove(room, user, encode::event_json(&event)).await?;
                *known = Known::Absent;
            }
            (true, Known::Present) | (false, Known::Absent) => {}
        }
        if *known == Known::Absent {
            let mut memberships = self.memberships();
            let is_current =
                memberships.get(&membership.key).is_some_and(|current| Arc::ptr_eq(current, membership));
            if is_current && !membership.is_here() {
                memberships.remove(&membership.key);
            }
        }
        Ok(())
    }

    /// Reports departures to the store as they come. Ends when the node stops.
    pub(super) async fn settle_departures(&self, stop: CancellationToken) {
        let settle = |key: Key| async move {
            let Some(membership) = self.memberships().get(&key).cloned() else { return };
            // A departure that fails keeps its membership without a connection: the next heartbeat finds it.
            if let Err(error) = self.settle(&membership).await {
                tracing::debug!(%error, "the store does not know of a departure yet");
            }
        };
        self.departures.run(MAX_IN_HAND, stop, settle).await;
    }

    /// The store may hold the user, whatever this node last reported. Under the membership's lock, or a user that comes back
    /// at this moment would be removed.
    pub(super) async fn settle_unsure(&self, key: &Key) -> Result<(), BackendError> {
        loop {
            let membership = membership_of(&mut self.memberships(), key);
            let mut known = membership.known.lock().await;
            let is_current =
                self.memberships().get(key).is_some_and(|current| Arc::ptr_eq(current, &membership));
            if is_current {
                *known = Known::Unsure;
                return self.settle_locked(&membership, &mut known).await;
            }
        }
    }

    /// Queues every departure that the store does not know of.
    pub(super) fn requeue_departures(&self) {
        for membership in self.memberships().values().filter(|membership| !membership.is_here()) {
            self.departures.add(membership.key.clone());
        }
    }
}
