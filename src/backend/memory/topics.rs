//! The topics of the embedded store. Owns the map of them, and which logs are deleted when the store is full; publishing is the
//! broker's business. Used by the broker and by presence.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;

use super::budget::{Budget, Capacity, RETRY_AFTER};
use super::entries::Retention;
use super::lock::lock;
use super::log::{Log, RecordKey};
use crate::backend::{BackendError, Deliver, Owner, Publication, RoomClaim, steady_ms};
use crate::protocol::{ConnectionId, RoomName, Topic, UserName};

/// An empty log without listeners is deleted if it was unused for this time.
const DELETE_AFTER_MS: u64 = 10 * 60 * 1_000;

/// The same for the private log of a user who has connected, as in Redis: without it, the user counts as one who never has.
const DELETE_INBOX_AFTER_MS: u64 = 30 * 86_400_000;

/// A log with the nodes that listen to it.
pub(super) struct Channel {
    pub(super) log: Log,
    pub(super) listeners: Vec<usize>,
}

type Map = HashMap<Topic, Arc<Mutex<Channel>>>;

/// All topics of the process. Lock order: the map, then a topic, then the locks of [`Deliver`].
pub(super) struct Topics {
    map: RwLock<Map>,
    pub(super) nodes: RwLock<Vec<Arc<dyn Deliver>>>,
    pub(super) retention: Retention,
    sweep_at: AtomicUsize,
    budget: Arc<Budget>,
    /// The rooms with rights that each user has made.
    made: Mutex<HashMap<UserName, HashSet<RoomName>>>,
}

impl Topics {
    pub(super) fn new(retention: Retention, budget: Budget) -> Self {
        Self {
            map: RwLock::default(),
            nodes: RwLock::default(),
            retention,
            sweep_at: AtomicUsize::new(1_024),
            budget: Arc::new(budget),
            made: Mutex::default(),
        }
    }

    pub(super) fn add_node(&self, deliver: Arc<dyn Deliver>) -> usize {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        nodes.push(deliver);
        nodes.len() - 1
    }

    fn node(&self, index: usize) -> Option<Arc<dyn Deliver>> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).get(index).cloned()
    }

    pub(super) fn existing(&self, topic: &Topic) -> Option<Arc<Mutex<Channel>>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
    }

    /// Whether a log recognises this publish. Begins no log.
    pub(super) fn holds(&self, topic: &Topic, key: Option<&RecordKey>, now: u64) -> bool {
        self.existing(topic)
            .is_some_and(|channel| lock(&channel).log.first(key, now, &self.retention).is_some())
    }

    pub(super) fn channel(&self, topic: &Topic) -> Arc<Mutex<Channel>> {
        if let Some(channel) = self.existing(topic) {
            return channel;
        }
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        // A client can invent room names without end. Whenever the map has doubled, unused logs are deleted.
        if map.len() >= self.sweep_at.load(Ordering::Relaxed) {
            self.sweep(&mut map, DELETE_AFTER_MS);
        }
        let fresh = || {
            let name = match topic {
                Topic::Room(room) => room.as_str(),
                Topic::User(user) => user.as_str(),
            };
            let log = Log::new(steady_ms(), name.len(), self.budget.clone());
            Arc::new(Mutex::new(Channel { log, listeners: Vec::new() }))
        };
        map.entry(topic.clone()).or_insert_with(fresh).clone()
    }

    /// Deletes empty logs without listeners that no caller holds and that were unused for `unused_for_ms`.
    fn sweep(&self, map: &mut Map, unused_for_ms: u64) {
        let now = steady_ms();
        map.retain(|topic, channel| {
            let mut held = lock(channel);
            let is_inbox = held.log.is_opened && matches!(topic, Topic::User(_));
            let unused_for_ms =
                if is_inbox && unused_for_ms > 0 { DELETE_INBOX_AFTER_MS } else { unused_for_ms };
            let idle = now.saturating_sub(held.log.used_at) >= unused_for_ms;
            let unused = Arc::strong_count(channel) == 1 && held.listeners.is_empty();
            !(idle && unused && held.log.is_unused(now, &self.retention))
        });
        self.sweep_at.store((map.len() * 2).max(1_024), Ordering::Relaxed);
    }

    /// Makes room for one more message of this owner.
    ///
    /// # Errors
    /// There is none: the owner is over its share, or the dedupe records of all owners fill the store.
    pub(super) fn make_room(&self, owner: Option<Owner>, now: u64) -> Result<(), BackendError> {
        match (self.budget.capacity(owner, now), owner) {
            (Capacity::Available, _) => Ok(()),
            (Capacity::Evict(target), _) if self.evict(target, now) => Ok(()),
            (Capacity::Reclaim, Some(owner)) if self.reclaim(owner, now) => Ok(()),
            (Capacity::Evict(_) | Capacity::Exhausted, _) => {
                Err(BackendError::Full("the embedded store is full".into()))
            }
            (Capacity::Reclaim | Capacity::OverShare, _) => Err(BackendError::OverShare(RETRY_AFTER)),
        }
    }

    /// Evicts messages until at most `target` bytes are in use, and deletes the logs that are empty then: first the messages
    /// of those who use more than their share, then of all, each time those of the logs that were unused for longest.
    /// True if there is capacity now.
    fn evict(&self, target: usize, now: u64) -> bool {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut by_use: Vec<_> = map
            .values()
            .map(|channel| {
                let held = lock(channel);
                (held.log.used_at, held.log.main_owner(), channel)
            })
            .collect();
        by_use.sort_by_key(|(used_at, ..)| *used_at);
        let mut trimmed = 0_usize;
        for of_all in [false, true] {
            for (_, owner, channel) in &by_use {
                if !self.budget.is_over(target) {
                    break;
                }
                if of_all || owner.is_some_and(|owner| self.budget.is_heavy(owner)) {
                    let mut held = lock(channel);
                    let has_listeners = !held.listeners.is_empty();
                    held.log.evict(has_listeners);
                    trimmed += 1;
                }
            }
        }
        self.sweep(&mut map, 0);
        let has_capacity = self.budget.record_eviction(now);
        tracing::warn!(trimmed, has_capacity, "the embedded store is full: old messages were deleted");
        has_capacity
    }

    /// Frees what an owner over its share no longer needs: old dedupe records, and logs that hold only its messages and no
    /// records, until it is within its share. True if it is.
    fn reclaim(&self, owner: Owner, now: u64) -> bool {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        self.sweep(&mut map, 0);
        let mut old: Vec<_> = map
            .values()
            .filter_map(|channel| {
                let mut held = lock(channel);
                let is_old = held.listeners.is_empty() && held.log.has_no_records(now, &self.retention);
                (is_old && held.log.main_owner() == Some(owner))
                    .then_some((held.log.used_at, channel.clone()))
            })
            .collect();
        if self.budget.exceeds_share(owner) && !old.is_empty() {
            old.sort_by_key(|(used_at, _)| *used_at);
            // Half at once, since each search scans every log.
            let half = old.len().div_ceil(2);
            old.drain(..half).for_each(|(_, channel)| lock(&channel).log.evict(false));
            drop(old);
            self.sweep(&mut map, 0);
        }
        self.budget.record_reclaim(owner, now)
    }

    pub(super) fn deliver(&self, topic: &Topic, channel: &Channel, publication: &Publication) {
        for node in channel.listeners.iter().filter_map(|index| self.node(*index)) {
            node.deliver(topic, &mut std::iter::once(publication.clone()));
        }
    }

    pub(super) fn claim_room(&self, user: &UserName, room: &RoomName, most: usize) -> RoomClaim {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let rooms = made.entry(user.clone()).or_default();
        match rooms.len() {
            _ if rooms.contains(room) => RoomClaim::Known,
            count if count >= most => RoomClaim::TooMany,
            _ => {
                rooms.insert(room.clone());
                RoomClaim::New
            }
        }
    }

    pub(super) fn release_room(&self, user: &UserName, room: &RoomName) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rooms) = made.get_mut(user) {
            rooms.remove(room);
            if rooms.is_empty() {
                made.remove(user);
            }
        }
    }

    pub(super) fn announce(&self, topic: &Topic, origin: Option<ConnectionId>, body: Bytes) {
        let channel = self.channel(topic);
        let channel = lock(&channel);
        self.deliver(topic, &channel, &Publication::Event { origin, body });
    }
}
