//! Which master holds which slot, as far as this node knows. Owns one immutable picture of the store, and the handle from which the
//! newest one is read; finds nothing out. Replaced by the slot reader, used by the router and the subscriptions.

use std::sync::Arc;

use tokio::sync::watch;

use super::server::Server;
use super::slot::{SLOTS, Slot};

/// Stands for a slot without a master.
const NOBODY: u16 = u16::MAX;

/// The masters and their slots.
pub(super) struct Topology {
    masters: Vec<Arc<Server>>,
    /// For each slot an index into `masters`. Empty for a single Redis.
    owners: Box<[u16]>,
}

/// The newest topology.
#[derive(Clone)]
pub(super) struct TopologyWatch(watch::Receiver<Arc<Topology>>);

impl Topology {
    /// A single Redis, which holds all slots.
    pub(super) fn single(master: Arc<Server>) -> Self {
        Self { masters: vec![master], owners: Box::default() }
    }

    /// A cluster of which nothing is known yet.
    pub(super) fn unknown() -> Self {
        Self::cluster(Vec::new(), &vec![None; SLOTS])
    }

    /// A cluster. `owners` has the index of a master for each slot that has one.
    pub(super) fn cluster(masters: Vec<Arc<Server>>, owners: &[Option<usize>]) -> Self {
        debug_assert_eq!(owners.len(), SLOTS);
        let index =
            |owner: &Option<usize>| owner.and_then(|index| u16::try_from(index).ok()).unwrap_or(NOBODY);
        Self { masters, owners: owners.iter().map(index).collect() }
    }

    /// All masters.
    pub(super) fn masters(&self) -> &[Arc<Server>] {
        &self.masters
    }

    /// The only server, if it is no cluster.
    pub(super) fn only(&self) -> Option<&Arc<Server>> {
        self.masters.first().filter(|_| self.owners.is_empty())
    }

    /// The master of a slot.
    pub(super) fn owner(&self, slot: Slot) -> Option<&Arc<Server>> {
        match self.owners.get(slot.index()) {
            Some(index) => self.masters.get(usize::from(*index)),
            None => self.only(),
        }
    }

    /// The last slot of a master, if it has one.
    pub(super) fn last_slot(&self, master: &Arc<Server>) -> Option<Slot> {
        let index = self.masters.iter().position(|other| Arc::ptr_eq(other, master))?;
        let slot = self.owners.iter().rposition(|owner| usize::from(*owner) == index)?;
        u16::try_from(slot).ok().map(Slot::number)
    }

    /// How many slots have no master.
    pub(super) fn uncovered(&self) -> usize {
        self.owners.iter().filter(|owner| **owner == NOBODY).count()
    }
}

impl TopologyWatch {
    /// A topology that never changes.
    pub(super) fn fixed(topology: Topology) -> Self {
        Self(watch::Sender::new(Arc::new(topology)).subscribe())
    }

    /// Reads what the sender writes.
    pub(super) fn new(receiver: watch::Receiver<Arc<Topology>>) -> Self {
        Self(receiver)
    }

    /// The newest topology.
    pub(super) fn now(&self) -> Arc<Topology> {
        self.0.borrow().clone()
    }

    /// A handle for which the newest topology is not new.
    pub(super) fn newer(&self) -> Self {
        let mut receiver = self.0.clone();
        receiver.mark_unchanged();
        Self(receiver)
    }

    /// Resolves once there is a newer topology than the last one that this handle waited for. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // It never changes any more.
            std::future::pending::<()>().await;
        }
    }
}
