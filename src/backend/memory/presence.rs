//! Presence in memory, by the same rules as in Redis. Owns the rooms and leases of the process; does not know when to renew
//! a lease. Called by `chat` through [`Presence`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
// The clock of tokio, so that a test can let a lease expire without waiting.
use tokio::time::Instant;

use super::lock::lock;
use super::topics::Topics;
use crate::backend::lease_observer::{LeaseObserver, LeaseRecord};
use crate::backend::{
    BackendError, CLAIM_DURATION, Incarnation, Lease, MembersPage, NodeInfo, Presence, RoomSize, RoomsPage,
    STALE_MEMBERS_PER_PAGE,
};
use crate::protocol::{RoomName, Topic, UserName};

/// Maximum of claimed incarnations that are remembered.
const MAX_CLAIMED: usize = 1_000;

#[derive(Default)]
struct State {
    rooms: BTreeMap<RoomName, BTreeMap<UserName, BTreeSet<String>>>,
    leases: HashMap<String, LeaseState>,
    /// Incarnations that another node has claimed, oldest first.
    claimed: VecDeque<String>,
    /// The number of renewals so far.
    renewals: u64,
}

struct LeaseState {
    name: String,
    duration: Duration,
    /// Changes with each renewal. `None`: the lease has ended for every node, and other nodes may remove the members.
    beat: Option<u64>,
    claim: Option<Claim>,
}

struct Claim {
    since: Instant,
    owner: Option<String>,
}

impl LeaseState {
    fn expired(own: &MemoryPresence) -> Self {
        Self { name: own.name.clone(), duration: own.lease, beat: None, claim: None }
    }
}

impl State {
    fn next_beat(&mut self) -> Option<u64> {
        self.renewals += 1;
        Some(self.renewals)
    }

    /// The incarnations whose leases run as this observer sees it.
    fn live(&self, observer: &LeaseObserver) -> HashSet<&str> {
        let ended: HashSet<(&str, &str)> = observer.ended().collect();
        let is_live =
            |incarnation: &str, beat: u64| !ended.contains(&(incarnation, beat.to_string().as_str()));
        let leases = self.leases.iter().filter_map(|(incarnation, lease)| Some((incarnation, lease.beat?)));
        leases
            .filter(|(incarnation, beat)| is_live(incarnation, *beat))
            .map(|(live, _)| live.as_str())
            .collect()
    }

    /// Adds a member. Returns true if no node held the user, and the size of the room after it.
    fn add(&mut self, own: &MemoryPresence, room: &RoomName, user: &UserName) -> (bool, usize) {
        let incarnation = own.incarnation(self);
        // An incarnation that was deleted meanwhile gets an expired lease, so that other nodes find its members.
        self.leases.entry(incarnation.clone()).or_insert_with(|| LeaseState::expired(own));
        let members = self.rooms.entry(room.clone()).or_default();
        let held_by = members.entry(user.clone()).or_default();
        let first = held_by.is_empty();
        held_by.insert(incarnation);
        (first, members.len())
    }

    /// Deletes an incarnation. If it still holds members, its lease expires at once instead.
    fn forget(&mut self, incarnation: &str) {
        let holds = |members: &BTreeMap<UserName, BTreeSet<String>>| {
            members.values().any(|held_by| held_by.contains(incarnation))
        };
        if !self.rooms.values().any(holds) {
            self.leases.remove(incarnation);
        } else if let Some(lease) = self.leases.get_mut(incarnation) {
            (lease.beat, lease.claim) = (None, None);
        }
    }

    /// Removes a member. Returns the size of the room before it if no other node holds the user.
    fn remove(&mut self, incarnation: &str, room: &RoomName, user: &UserName) -> Option<usize> {
        let members = self.rooms.get_mut(room)?;
        let before = members.len();
        let held_by = members.get_mut(user)?;
        if !held_by.remove(incarnation) || !held_by.is_empty() {
            return None;
        }
        members.remove(user);
        if members.is_empty() {
            self.rooms.remove(room);
        }
        Some(before)
    }
}

/// Rooms and leases of all nodes of the process.
#[derive(Default)]
pub(super) struct PresenceStore(Mutex<State>);

impl PresenceStore {
    /// Whether anybody is in a room.
    pub(super) fn has_members(&self, room: &RoomName) -> bool {
        self.lock().rooms.contains_key(room)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

/// Presence, as one node uses it.
pub(super) struct MemoryPresence {
    pub(super) store: Arc<PresenceStore>,
    pub(super) topics: Arc<Topics>,
    pub(super) name: String,
    pub(super) lease: Duration,
    pub(super) quiet_above: usize,
    pub(super) incarnation: Mutex<Option<String>>,
    pub(super) observer: Mutex<LeaseObserver>,
}

impl MemoryPresence {
    /// Returns the incarnation of this node. The first call acquires its lease.
    fn incarnation(&self, state: &mut State) -> String {
        let mut own = lock(&self.incarnation);
        own.get_or_insert_with(|| {
            let fresh = format!("{}-{:08x}", self.name, rand::random::<u32>());
            let beat = state.next_beat();
            state.leases.insert(fresh.clone(), LeaseState { beat, ..LeaseState::expired(self) });
            fresh
        })
        .clone()
    }

    /// Removes a member that an incarnation holds, and publishes the event. True if no other node holds the user.
    fn remove_member(
        &self,
        state: &mut State,
        holder: &str,
        room: &RoomName,
        user: &UserName,
        left: Bytes,
    ) -> bool {
        let size = state.remove(holder, room, user);
        if let Some(size) = size {
            self.announce(room, size, left);
        }
        size.is_some()
    }

    /// Publishes an event, unless the room is large. The caller holds the lock, so that events keep the order of the
    /// changes. Listeners must not lock presence.
    fn announce(&self, room: &RoomName, size: usize, event: Bytes) {
        if size <= self.quiet_above {
            self.topics.announce(&Topic::Room(room.clone()), None, event);
        }
    }
}

#[async_trait]
impl Presence for MemoryPresence {
    async fn add(&self, room: &RoomName, user: &UserName, entered: Bytes) -> Result<bool, BackendError> {
        let mut state = self.store.lock();
        let (first, size) = state.add(self, room, user);
        if first {
            self.announce(room, size, entered);
        }
        Ok(first)
    }

    async fn remove(&self, room: &RoomName, user: &UserName, left: Bytes) -> Result<bool, BackendError> {
        let mut state = self.store.lock();
        let incarnation = self.incarnation(&mut state);
        Ok(self.remove_member(&mut state, &incarnation, room, user, left))
    }

    async fn restore_members(
        &self,
        members: &[(RoomName, UserName, Option<Bytes>)],
    ) -> Result<(), BackendError> {
        let mut state = self.store.lock();
        for (room, user, entered) in members {
            let (first, size) = state.add(self, room, user);
            if let Some(entered) = entered.as_ref().filter(|_| first) {
                self.announce(room, size, entered.clone());
            }
        }
        Ok(())
    }

    async fn members(
        &self,
        room: &RoomName,
        after: Option<&UserName>,
        limit: u32,
    ) -> Result<MembersPage, BackendError> {
        let state = self.store.lock();
        // This store is the memory of the reader: it loses nothing that the reader still has.
        let is_complete = true;
        let Some(held) = state.rooms.get(room) else {
            return Ok(MembersPage { members: Vec::new(), count: 0, more: false, is_complete });
        };
        let live = state.live(&lock(&self.observer));
        let present = |held_by: &BTreeSet<String>| held_by.iter().any(|i| live.contains(i.as_str()));
        let count = held.values().filter(|held_by| present(held_by)).count() as u64;
        let rest =
            held.iter().filter(|(user, held_by)| after.is_none_or(|after| *user > after) && present(held_by));
        let mut members: Vec<UserName> =
            rest.map(|(user, _)| user.clone()).take(limit as usize + 1).collect();
        let more = members.len() > limit as usize;
        members.truncate(limit as usize);
        Ok(MembersPage { members, count, more, is_complete })
    }

    async fn rooms(&self, after: Option<&RoomName>, limit: u32) -> Result<RoomsPage, BackendError> {
        let state = self.store.lock();
        let live = state.live(&lock(&self.observer));
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let is_live =
            |held: &BTreeMap<_, BTreeSet<String>>| held.values().flatten().any(|i| live.contains(i.as_str()));
        let rest =
            state.rooms.range::<RoomName, _>((from, Bound::Unbounded)).filter(|(_, held)| is_live(held));
        let size = |(room, held): (&RoomName, &BTreeMap<_, _>)| RoomSize {
            room: room.clone(),
            count: held.len() as u64,
        };
        let mut rooms: Vec<RoomSize> = rest.take(limit as usize + 1).map(size).collect();
        let more = rooms.len() > limit as usize;
        rooms.truncate(limit as usize);
        Ok(RoomsPage { rooms, more, is_complete: true })
    }

    async fn sizes(&self, rooms: &[RoomName]) -> Result<RoomsPage, BackendError> {
        let state = self.store.lock();
        let count = |room: &RoomName| state.rooms.get(room).map_or(0, |held| held.len() as u64);
        let rooms = rooms.iter().map(|room| RoomSize { room: room.clone(), count: count(room) }).collect();
        Ok(RoomsPage { rooms, more: false, is_complete: true })
    }

    async fn renew(&self) -> Result<Lease, BackendError> {
        let mut state = self.store.lock();
        let incarnation = self.incarnation(&mut state);
        let was_claimed = state.claimed.contains(&incarnation);
        let beat = state.next_beat();
        match state.leases.get_mut(&incarnation) {
            Some(lease) if lease.beat.is_some() => {
                lease.beat = beat;
                Ok(Lease::Kept)
            }
            _ if was_claimed => Ok(Lease::Claimed),
            _ => Ok(Lease::Lost),
        }
    }

    async fn observe_leases(&self, now: Instant) -> Result<(), BackendError> {
        let state = self.store.lock();
        let record = |(incarnation, lease): (&String, &LeaseState)| {
            let (beat, duration) = (lease.beat?.to_string(), Some(lease.duration));
            Some(LeaseRecord { incarnation: incarnation.clone(), beat, duration })
        };
        lock(&self.observer).observe(state.leases.iter().filter_map(record), now);
        Ok(())
    }

    async fn reincarnate(&self) -> Result<(), BackendError> {
        let mut state = self.store.lock();
        let old = lock(&self.incarnation).take();
        if let Some(old) = old {
            // One last lease, so that the new incarnation can restore all members before other nodes remove them. It is
            // not granted if another node has already claimed the old incarnation.
            let last = state.next_beat();
            let fresh = LeaseState { beat: last, ..LeaseState::expired(self) };
            let old = state.leases.entry(old).or_insert(fresh);
            old.beat = old.beat.and(last);
        }
        self.incarnation(&mut state);
        Ok(())
    }

    async fn release(&self) -> Result<(), BackendError> {
        let mut state = self.store.lock();
        if let Some(own) = lock(&self.incarnation).take() {
            state.forget(&own);
        }
        Ok(())
    }

    async fn claim_expired(&self) -> Result<Option<Incarnation>, BackendError> {
        let mut state = self.store.lock();
        let now = Instant::now();
        let own = lock(&self.incarnation).clone();
        let live = state.live(&lock(&self.observer));
        let is_free = |claim: &Claim| {
            let owner = claim.owner.as_ref().and_then(|owner| state.leases.get(owner));
            claim.since + CLAIM_DURATION <= now || owner.is_none_or(|owner| owner.beat.is_none())
        };
        let expired = state.leases.iter().find(|(incarnation, lease)| {
            Some(*incarnation) != own.as_ref()
                && !live.contains(incarnation.as_str())
                && lease.claim.as_ref().is_none_or(is_free)
        });
        let Some(expired) = expired.map(|(incarnation, _)| incarnation.clone()) else { return Ok(None) };
        if let Some(lease) = state.leases.get_mut(&expired) {
            (lease.beat, lease.claim) = (None, Some(Claim { since: now, owner: own }));
        }
        state.claimed.push_back(expired.clone());
        let excess = state.claimed.len().saturating_sub(MAX_CLAIMED);
        state.claimed.drain(..excess);
        Ok(Some(Incarnation(expired)))
    }

    async fn stale_members(
        &self,
        expired: &Incarnation,
    ) -> Result<Option<(RoomName, Vec<UserName>)>, BackendError> {
        let state = self.store.lock();
        for (room, members) in &state.rooms {
            let stale = members.iter().filter(|(_, held_by)| held_by.contains(&expired.0));
            let users: Vec<UserName> =
                stale.map(|(user, _)| user.clone()).take(STALE_MEMBERS_PER_PAGE).collect();
            if !users.is_empty() {
                return Ok(Some((room.clone(), users)));
            }
        }
        Ok(None)
    }

    async fn remove_stale_member(
        &self,
        expired: &Incarnation,
        room: &RoomName,
        user: &UserName,
        left: Bytes,
    ) -> Result<bool, BackendError> {
        Ok(self.remove_member(&mut self.store.lock(), &expired.0, room, user, left))
    }

    async fn forget(&self, expired: &Incarnation) -> Result<(), BackendError> {
        self.store.lock().forget(&expired.0);
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, BackendError> {
        let state = self.store.lock();
        let now = Instant::now();
        let observer = lock(&self.observer);
        let info = |(incarnation, lease): (&String, &LeaseState)| {
            let remaining = lease
                .beat
                .map(|beat| observer.remaining(incarnation, &beat.to_string(), now).as_millis() as u64);
            NodeInfo {
                name: lease.name.clone(),
                incarnation: incarnation.clone(),
                lease_remaining_ms: remaining.unwrap_or(0),
            }
        };
        Ok(state.leases.iter().map(info).collect())
    }
}
