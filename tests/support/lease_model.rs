//! Model of presence by node lease: a simple form of the rules that every store must follow. Owns the steps of a run and the
//! expected members and events. Called by [`super::leases`], which compares it with a store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chatnode::protocol::{RoomName, UserName};
use proptest::prelude::*;

use super::backend::{room_name, user_name};

pub const NODES: usize = 3;
pub const ROOMS: usize = 2;
pub const USERS: usize = 3;

/// No sum of units is within 2 s of the duration of a claim, so the run time of a case on Redis does not matter.
pub const UNIT: Duration = Duration::from_secs(7);
pub const LEASE: Duration = Duration::from_secs(61);
/// The duration of a claim in both stores.
pub const CLAIM: Duration = Duration::from_secs(30);

/// One step. Nodes, rooms and users are numbers.
#[derive(Debug, Clone)]
pub enum Step {
    Enter(usize, usize, usize),
    Leave(usize, usize, usize),
    /// Renews the lease, or finds that it is lost.
    Renew(usize),
    /// If the lease is lost, takes a new incarnation and restores all members.
    Recover(usize),
    /// Claims an expired incarnation.
    Claim(usize),
    /// Removes a number of members of the incarnations that the node has claimed.
    RemoveMembers(usize, usize),
    /// Forgets the claimed incarnations, even if they still hold members.
    Forget(usize),
    /// Waits for a number of time units.
    Wait(u32),
    /// The node stalls until its lease has expired. The other nodes renew theirs.
    Stall(usize),
    /// Claims expired incarnations, removes all their members and forgets them.
    CleanUp(usize),
    /// The node ends without releasing its lease. Another node replaces it.
    Crash(usize),
    /// Releases the lease, even if it still holds members. Another node replaces the node.
    Release(usize),
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..NODES, 0..ROOMS, 0..USERS).prop_map(|(node, room, user)| Step::Enter(node, room, user)),
        6 => (0..NODES, 0..ROOMS, 0..USERS).prop_map(|(node, room, user)| Step::Leave(node, room, user)),
        6 => (0..NODES).prop_map(Step::Renew),
        3 => (0..NODES).prop_map(Step::Recover),
        4 => (0..NODES).prop_map(Step::Claim),
        4 => (0..NODES, 1_usize..4).prop_map(|(node, count)| Step::RemoveMembers(node, count)),
        2 => (0..NODES).prop_map(Step::Forget),
        4 => (1_u32..10).prop_map(Step::Wait),
        2 => (0..NODES).prop_map(Step::Stall),
        2 => (0..NODES).prop_map(Step::CleanUp),
        1 => (0..NODES).prop_map(Step::Crash),
        1 => (0..NODES).prop_map(Step::Release),
    ];
    prop::collection::vec(step, 1..60)
}

/// Lease of one incarnation in the model.
#[derive(Debug)]
pub struct LeaseState {
    /// Time of the last renewal. `None`: the lease has ended for every node.
    pub renewed: Option<Duration>,
    /// Time and owner of the claim.
    pub claimed: Option<(Duration, String)>,
}

impl LeaseState {
    /// It ended for every node, and nobody has claimed it.
    pub const ENDED: Self = Self { renewed: None, claimed: None };
}

pub type Entry = (usize, usize);

/// The expected contents and events of the store.
#[derive(Default)]
pub struct Model {
    pub now: Duration,
    pub leases: BTreeMap<String, LeaseState>,
    pub held: BTreeSet<(Entry, String)>,
    /// Incarnations that another node has claimed at any time.
    pub claimed: BTreeSet<String>,
    pub events: [Vec<String>; ROOMS],
}

impl Model {
    /// Whether the lease runs for a node that observes all leases since `observing`.
    fn is_live(&self, incarnation: &str, observing: Duration) -> bool {
        let renewed = self.leases.get(incarnation).and_then(|lease| lease.renewed);
        renewed.is_some_and(|renewed| renewed.max(observing) + LEASE > self.now)
    }

    pub fn holders(&self, entry: Entry) -> impl Iterator<Item = &str> {
        self.held.iter().filter(move |(held, _)| *held == entry).map(|(_, incarnation)| incarnation.as_str())
    }

    pub fn holds(&self, incarnation: &str) -> bool {
        self.held.iter().any(|(_, holder)| holder == incarnation)
    }

    /// Adds a holder. If the user had no holder, records an event and returns true.
    pub fn add(&mut self, incarnation: &str, entry: Entry, publishes: bool) -> bool {
        let first = self.holders(entry).next().is_none();
        self.leases.entry(incarnation.to_owned()).or_insert(LeaseState::ENDED);
        self.held.insert((entry, incarnation.to_owned()));
        if first && publishes {
            self.events[entry.0].push(format!("+{}", entry.1));
        }
        first
    }

    /// Removes a holder. If it was the last one, records an event and returns true.
    pub fn remove(&mut self, incarnation: &str, entry: Entry) -> bool {
        let last = self.held.remove(&(entry, incarnation.to_owned())) && self.holders(entry).next().is_none();
        if last {
            self.events[entry.0].push(format!("-{}", entry.1));
        }
        last
    }

    /// Lists the incarnations that `own` may claim, a node that observes all leases since `observing`.
    pub fn claimable(&self, own: &str, observing: Duration) -> Vec<&String> {
        let is_free = |lease: &LeaseState| {
            lease.claimed.as_ref().is_none_or(|(since, owner)| {
                let has_ended = self.leases.get(owner).is_none_or(|owner| owner.renewed.is_none());
                has_ended || *since + CLAIM <= self.now
            })
        };
        let expired = self
            .leases
            .iter()
            .filter(|(name, lease)| *name != own && !self.is_live(name, observing) && is_free(lease));
        expired.map(|(name, _)| name).collect()
    }

    pub fn forget(&mut self, incarnation: &str) {
        if self.holds(incarnation) {
            self.leases.insert(incarnation.to_owned(), LeaseState::ENDED);
        } else {
            self.leases.remove(incarnation);
        }
    }

    /// The members as a node sees them that observes all leases since `observing`.
    pub fn members(&self, of: usize, observing: Duration) -> Vec<UserName> {
        let is_member =
            |user: &usize| self.holders((of, *user)).any(|incarnation| self.is_live(incarnation, observing));
        (0..USERS).filter(is_member).map(user).collect()
    }
}

pub fn name(of: usize) -> RoomName {
    room_name(&format!("room {of}"))
}

pub fn user(number: usize) -> UserName {
    user_name(&number.to_string())
}
