//! Admission control: how many connections a node accepts. Owns the permits: those of the node, those of each address,
//! and a few for connections that are upgraded only to receive the close code for a full node. Asked at the upgrade, so
//! that a full node still answers its operators.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Clients at a time that a full node upgrades only to send them close code 1013; the others get HTTP 503, which costs
/// less.
const MAX_REFUSALS: usize = 64;

/// The permits of one node.
pub(super) struct AdmissionControl {
    permits: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    per_address: usize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

/// The decision on one upgrade.
pub(super) enum Admission {
    /// A connection; its permit is released when it is dropped.
    Admit(Permit),
    /// No connection, but an upgrade and a close code that says why.
    Refuse(OwnedSemaphorePermit),
    /// No upgrade: HTTP 503.
    Full,
    /// No upgrade: HTTP 429, since the address has too many connections. A 503 would look like a fault of the node.
    TooMany,
}

/// The right to one connection, given back by dropping it.
pub(super) struct Permit {
    _node: OwnedSemaphorePermit,
    address: Option<IpAddr>,
    control: Arc<AdmissionControl>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut addresses = self.control.addresses();
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }
}

impl AdmissionControl {
    /// `per_address` 0: no limit.
    pub(super) fn new(max_connections: usize, per_address: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max_connections)),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            per_address,
            addresses: Mutex::default(),
        }
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on a client with this address, an IPv6 one as its network.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Admission {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            return self.refusals.clone().try_acquire_owned().map_or(Admission::Full, Admission::Refuse);
        };
        let counted = (self.per_address > 0).then_some(address);
        if !counted.is_none_or(|address| self.count(address)) {
            return Admission::TooMany;
        }
        Admission::Admit(Permit { _node: permit, address: counted, control: self.clone() })
    }

    fn count(&self, address: IpAddr) -> bool {
        let mut addresses = self.addresses();
        let count = addresses.entry(address).or_default();
        if *count >= self.per_address {
            return false;
        }
        *count += 1;
        true
    }
}
