//! The open connections of each address. Owns their counts; the limit is in the settings of the moment. Asked at the upgrade.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address_counts::AddressCounts;

/// How many connections each address has.
#[derive(Default)]
pub(super) struct AddressLimit {
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
    fn open(&self) -> MutexGuard<'_, AddressCounts> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the address would get a permit now. With `most` 0 there is no limit.
    pub(super) fn has_room(&self, address: Option<IpAddr>, most: usize) -> bool {
        address.is_none_or(|address| most == 0 || self.open().get(address) < most)
    }

    /// A permit for this address; none if it has too many connections. Without an address or a limit, nothing is counted.
    pub(super) fn admit(self: &Arc<Self>, address: Option<IpAddr>, most: usize) -> Option<AddressPermit> {
        let Some(address) = address.filter(|_| most > 0) else {
            return Some(AddressPermit { counted: None });
        };
        let mut open = self.open();
        if open.get(address) >= most {
            return None;
        }
        open.add(address);
        Some(AddressPermit { counted: Some((address, self.clone())) })
    }
}
