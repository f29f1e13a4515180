//! The open connections of each address. Owns their counts, for the limit in the settings. Asked at the upgrade.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address_counts::AddressCounts;

/// How many connections each address may have.
pub(super) struct AddressLimit {
    most: usize,
    open: Mutex<AddressCounts>,
}

/// The right of an address to one connection, given back by dropping it.
pub(super) struct AddressPermit {
    counted: Option<(IpAddr, Arc<AddressLimit>)>,
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        if let Some((address, limit)) = &self.counted {
            limit.open().remove(*address);
        }
    }
}

impl AddressLimit {
    /// `most` 0: no limit.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, AddressCounts> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the address would get a permit now.
    pub(super) fn has_room(&self, address: Option<IpAddr>) -> bool {
        address.is_none_or(|address| self.most == 0 || self.open().get(address) < self.most)
    }

    /// A permit for this address; none if it has too many connections. Without an address, nothing is counted.
    pub(super) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<AddressPermit> {
        let Some(address) = address.filter(|_| self.most > 0) else {
            return Some(AddressPermit { counted: None });
        };
        let mut open = self.open();
        if open.get(address) >= self.most {
            return None;
        }
        open.add(address);
        Some(AddressPermit { counted: Some((address, self.clone())) })
    }
}
