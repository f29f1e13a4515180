//! Connections that never name a user, from a few addresses: they take what they can of the waiting room, for as long as they can.

use std::net::IpAddr;

use chatnode::chat::{ConnectionGuard, Node};
use futures_util::FutureExt;

/// The addresses that they come from.
pub const ADDRESSES: u8 = 6;

/// The smallest waiting room, and half as many connections that had to leave it and are being closed.
const MOST: usize = 64 + 64 / 2;

/// Those that the node has let in.
#[derive(Default)]
pub struct Strangers {
    open: Vec<ConnectionGuard>,
}

impl Strangers {
    /// So many try to come from one address.
    pub fn come(&mut self, node: &Node, address: u8, count: usize) {
        for _ in 0..count {
            let mut connection = node.connect();
            if connection.wait(Some(IpAddr::from([10, 9, 9, address]))).is_ok() {
                self.open.push(connection);
            }
        }
        assert!(self.open.len() <= MOST, "{} strangers are in", self.open.len());
    }

    /// Those that had to leave are gone.
    pub fn leave(&mut self) {
        self.open.retain(|connection| connection.outbox().closing().now_or_never().is_none());
    }
}
