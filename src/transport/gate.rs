//! How many may come in. Owns the permits for connections: the node's, one address's, and the few that are let in only to
//! hear that the node is full. Asked at the upgrade, so that a full node still answers its operators.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Comers at a time that are told close code 1013 on a full node; the rest get HTTP 503, which costs less.
const MAX_TOLD: usize = 64;

/// The permits.
pub(super) struct Gate {
    seats: Arc<Semaphore>,
    told: Arc<Semaphore>,
    per_address: usize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

/// What a comer gets.
pub(super) enum Admission {
    /// A place, until it is dropped.
    Seat(Permit),
    /// No place, but time to be told so.
    Tell(OwnedSemaphorePermit),
    /// Neither.
    Full,
}

/// A connection's place.
pub(super) struct Permit {
    _seat: OwnedSemaphorePermit,
    address: Option<IpAddr>,
    gate: Arc<Gate>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut addresses = self.gate.addresses();
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }
}

impl Gate {
    /// `per_address` 0: no limit.
    pub(super) fn new(max_connections: usize, per_address: usize) -> Self {
        Self {
            seats: Arc::new(Semaphore::new(max_connections)),
            told: Arc::new(Semaphore::new(MAX_TOLD)),
            per_address,
            addresses: Mutex::default(),
        }
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Admission {
        if let Ok(seat) = self.seats.clone().try_acquire_owned() {
            let counted = (self.per_address > 0).then_some(address);
            if counted.is_none_or(|address| self.count(address)) {
                return Admission::Seat(Permit { _seat: seat, address: counted, gate: self.clone() });
            }
        }
        self.told.clone().try_acquire_owned().map_or(Admission::Full, Admission::Tell)
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
