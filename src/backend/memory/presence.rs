//! Presence in memory: the same rules as in Redis, for one process. Owns rooms and leases; called through the trait.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
// Tokio's, so that a test can let a lease end without waiting for it.
use tokio::time::Instant;

use super::broker::Topics;
use crate::backend::{BackendError, Incarnation, Lease, MembersPage, NodeInfo, Presence};
use crate::protocol::{RoomName, Topic, UserName};

const CLAIM: Duration = Duration::from_secs(30);
const ORPHANS_AT_ONCE: usize = 500;

#[derive(Default)]
struct State {
    rooms: HashMap<RoomName, BTreeMap<UserName, BTreeSet<String>>>,
    leases: HashMap<String, LeaseState>,
}

struct LeaseState {
    name: String,
    /// None: given up for lost, being reaped.
    ends: Option<Instant>,
    claimed: Option<Instant>,
}

impl LeaseState {
    fn dead(name: &str) -> Self {
        Self { name: name.to_owned(), ends: None, claimed: None }
    }
}

impl State {
    fn is_live(&self, incarnation: &str) -> bool {
        let ends = self.leases.get(incarnation).and_then(|lease| lease.ends);
        ends.is_some_and(|ends| ends > Instant::now())
    }

    /// Enters one. True if no node held the user, with the room's size after.
    fn add(&mut self, own: &MemoryPresence, room: &RoomName, user: &UserName) -> (bool, usize) {
        let incarnation = own.incarnation(self);
        // Whatever is held is found by a reaper: an incarnation that was buried meanwhile is known again, as dead.
        self.leases.entry(incarnation.clone()).or_insert_with(|| LeaseState::dead(&own.name));
        let members = self.rooms.entry(room.clone()).or_default();
        let held_by = members.entry(user.clone()).or_default();
        let first = held_by.is_empty();
        held_by.insert(incarnation);
        (first, members.len())
    }

    /// Forgets an incarnation if it holds nobody; else it stays, dead at once.
    fn forget(&mut self, incarnation: &str) {
        let holds = |members: &BTreeMap<UserName, BTreeSet<String>>| {
            members.values().any(|held_by| held_by.contains(incarnation))
        };
        if !self.rooms.values().any(holds) {
            self.leases.remove(incarnation);
        } else if let Some(lease) = self.leases.get_mut(incarnation) {
            (lease.ends, lease.claimed) = (None, None);
        }
    }

    /// Removes one entry. True if no node holds the user any more, with the room's size before.
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

/// What all nodes of one process share.
#[derive(Default)]
pub(super) struct PresenceStore(Mutex<State>);

impl PresenceStore {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One node's presence.
pub(super) struct MemoryPresence {
    pub(super) shared: Arc<PresenceStore>,
    pub(super) topics: Arc<Topics>,
    pub(super) name: String,
    pub(super) lease: Duration,
    pub(super) quiet_above: usize,
    pub(super) incarnation: Mutex<Option<String>>,
}

impl MemoryPresence {
    /// This node's incarnation, with a lease taken on first use.
    fn incarnation(&self, state: &mut State) -> String {
        let mut own = self.incarnation.lock().unwrap_or_else(PoisonError::into_inner);
        own.get_or_insert_with(|| {
            let fresh = format!("{}-{:08x}", self.name, rand::random::<u32>());
            let ends = Some(Instant::now() + self.lease);
            state.leases.insert(fresh.clone(), LeaseState { name: self.name.clone(), ends, claimed: None });
            fresh
        })
        .clone()
    }

    /// Called under the lock, so that events have the order of what they tell. Nothing that listens locks presence.
    fn announce(&self, room: &RoomName, size: usize, event: Bytes) {
        if size <= self.quiet_above {
            self.topics.announce(&Topic::Room(room.clone()), None, event);
        }
    }
}

#[async_trait]
impl Presence for MemoryPresence {
    async fn add(&self, room: &RoomName, user: &UserName, entered: Bytes) -> Result<bool, BackendError> {
        let mut state = self.shared.lock();
        let (first, size) = state.add(self, room, user);
        if first {
            self.announce(room, size, entered);
        }
        Ok(first)
    }

    async fn remove(&self, room: &RoomName, user: &UserName, left: Bytes) -> Result<bool, BackendError> {
        let mut state = self.shared.lock();
        let incarnation = self.incarnation(&mut state);
        let size = state.remove(&incarnation, room, user);
        if let Some(size) = size {
            self.announce(room, size, left);
        }
        Ok(size.is_some())
    }

    async fn restore_members(&self, members: &[(RoomName, UserName)]) -> Result<(), BackendError> {
        let mut state = self.shared.lock();
        for (room, user) in members {
            state.add(self, room, user);
        }
        Ok(())
    }

    async fn members(
        &self,
        room: &RoomName,
        after: Option<&UserName>,
        limit: u32,
    ) -> Result<MembersPage, BackendError> {
        let state = self.shared.lock();
        let Some(held) = state.rooms.get(room) else {
            return Ok(MembersPage { members: Vec::new(), count: 0, more: false });
        };
        let live: HashSet<&str> = state
            .leases
            .keys()
            .map(String::as_str)
            .filter(|incarnation| state.is_live(incarnation))
            .collect();
        let present = |held_by: &BTreeSet<String>| held_by.iter().any(|i| live.contains(i.as_str()));
        let count = held.values().filter(|held_by| present(held_by)).count() as u64;
        let rest =
            held.iter().filter(|(user, held_by)| after.is_none_or(|after| *user > after) && present(held_by));
        let mut members: Vec<UserName> =
            rest.map(|(user, _)| user.clone()).take(limit as usize + 1).collect();
        let more = members.len() > limit as usize;
        members.truncate(limit as usize);
        Ok(MembersPage { members, count, more })
    }

    async fn renew(&self) -> Result<Lease, BackendError> {
        let mut state = self.shared.lock();
        let incarnation = self.incarnation(&mut state);
        match state.leases.get_mut(&incarnation) {
            Some(lease) if lease.ends.is_some() => {
                lease.ends = Some(Instant::now() + self.lease);
                Ok(Lease::Kept)
            }
            _ => Ok(Lease::Lost),
        }
    }

    async fn reincarnate(&self) -> Result<(), BackendError> {
        let mut state = self.shared.lock();
        let old = self.incarnation.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(old) = old {
            // A last lease, in which the successor enters everybody again before the reapers come; not for one that a
            // reaper has.
            let last = Some(Instant::now() + self.lease);
            let fresh = LeaseState { ends: last, ..LeaseState::dead(&self.name) };
            let old = state.leases.entry(old).or_insert(fresh);
            old.ends = old.ends.and(last);
        }
        self.incarnation(&mut state);
        Ok(())
    }

    async fn release(&self) -> Result<(), BackendError> {
        let mut state = self.shared.lock();
        if let Some(own) = self.incarnation.lock().unwrap_or_else(PoisonError::into_inner).take() {
            state.forget(&own);
        }
        Ok(())
    }

    async fn claim_expired(&self) -> Result<Option<Incarnation>, BackendError> {
        let mut state = self.shared.lock();
        let now = Instant::now();
        let own = self.incarnation.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let dead = state.leases.iter_mut().find(|(incarnation, lease)| {
            Some(*incarnation) != own.as_ref()
                && lease.ends.is_none_or(|ends| ends <= now)
                && lease.claimed.is_none_or(|since| since + CLAIM <= now)
        });
        Ok(dead.map(|(incarnation, lease)| {
            lease.ends = None;
            lease.claimed = Some(now);
            Incarnation(incarnation.clone())
        }))
    }

    async fn stale_members(
        &self,
        dead: &Incarnation,
    ) -> Result<Option<(RoomName, Vec<UserName>)>, BackendError> {
        let state = self.shared.lock();
        for (room, members) in &state.rooms {
            let orphans = members.iter().filter(|(_, held_by)| held_by.contains(&dead.0));
            let users: Vec<UserName> = orphans.map(|(user, _)| user.clone()).take(ORPHANS_AT_ONCE).collect();
            if !users.is_empty() {
                return Ok(Some((room.clone(), users)));
            }
        }
        Ok(None)
    }

    async fn remove_stale_member(
        &self,
        dead: &Incarnation,
        room: &RoomName,
        user: &UserName,
        left: Bytes,
    ) -> Result<bool, BackendError> {
        let mut state = self.shared.lock();
        let size = state.remove(&dead.0, room, user);
        if let Some(size) = size {
            self.announce(room, size, left);
        }
        Ok(size.is_some())
    }

    async fn forget(&self, dead: &Incarnation) -> Result<(), BackendError> {
        self.shared.lock().forget(&dead.0);
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, BackendError> {
        let state = self.shared.lock();
        let now = Instant::now();
        let info = |(incarnation, lease): (&String, &LeaseState)| NodeInfo {
            name: lease.name.clone(),
            incarnation: incarnation.clone(),
            lease_remaining_ms: lease
                .ends
                .map_or(0, |ends| ends.saturating_duration_since(now).as_millis() as u64),
        };
        Ok(state.leases.iter().map(info).collect())
    }
}
