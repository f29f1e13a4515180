//! How many things each address has. Owns only the numbers; an address that has none takes no memory. Used by the limits
//! per address.

use std::collections::HashMap;
use std::net::IpAddr;

/// Counts by address.
#[derive(Debug, Default)]
pub(super) struct AddressCounts(HashMap<IpAddr, usize>);

impl AddressCounts {
    /// How many this address has.
    pub(super) fn get(&self, address: IpAddr) -> usize {
        self.0.get(&address).copied().unwrap_or_default()
    }

    /// One more.
    pub(super) fn add(&mut self, address: IpAddr) {
        *self.0.entry(address).or_default() += 1;
    }

    /// One less.
    pub(super) fn remove(&mut self, address: IpAddr) {
        if let Some(count) = self.0.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&address);
            }
        }
    }

    /// Whether no address has any.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
