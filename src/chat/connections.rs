//! The open connections of a node. Owns their list, and how a drain closes them; what belongs to one connection is its
//! session's, and the places are those of `seats`. Asked by the node.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::outbox::{Close, Outbox};
use super::seats::{NoPlace, Place, Seats};
use crate::protocol::{CloseReason, ConnectionId};

/// For each connection that a drain closes: twenty a second overload no other node, and a single one is closed at once.
const PACE: Duration = Duration::from_millis(50);

/// Every open connection.
pub(super) struct Connections {
    state: Mutex<State>,
    seats: Arc<Seats>,
}

#[derive(Default)]
struct State {
    open: HashMap<ConnectionId, Arc<Outbox>>,
    /// Set when the drain closes them: a connection that arrives later is closed at once.
    closing: Option<CloseReason>,
}

/// An open connection in the node's list; dropping it takes it out and frees its place.
pub struct ConnectionGuard {
    outbox: Arc<Outbox>,
    connections: Arc<Connections>,
    place: Option<Place>,
}

impl ConnectionGuard {
    /// The connection's queue.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Takes a seat, for a connection that is bound to a user. False if none is free.
    pub fn take_seat(&mut self) -> bool {
        match &mut self.place {
            Some(place) => place.take_seat(),
            None => {
                self.place = self.connections.seats.seat();
                self.place.is_some()
            }
        }
    }

    /// Takes a place in the waiting room, for a connection that is not bound yet; at most a share of the room for the same
    /// `address`.
    ///
    /// # Errors
    /// There is no place, and no connection that has waited long enough to give its place up.
    pub fn wait(&mut self, address: Option<IpAddr>) -> Result<(), NoPlace> {
        self.place = Some(self.connections.seats.wait(address, self.outbox.clone())?);
        Ok(())
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.outbox.shut();
        self.connections.lock().open.remove(&self.outbox.id());
    }
}

impl Connections {
    /// A node with so many seats.
    pub(super) fn new(seats: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), seats: Seats::new(seats) })
    }

    /// Whether a seat is free.
    pub(super) fn has_free_seat(&self) -> bool {
        self.seats.has_free()
    }

    /// Whether a connection from this address would find a place in the waiting room.
    pub(super) fn check_wait(&self, address: Option<IpAddr>) -> Result<(), NoPlace> {
        self.seats.check_wait(address)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a new connection with its queue. It has no place yet.
    pub(super) fn open(self: &Arc<Self>, outbox: Arc<Outbox>) -> ConnectionGuard {
        let mut state = self.lock();
        state.open.insert(outbox.id(), outbox.clone());
        if let Some(reason) = state.closing {
            outbox.close(close_for_drain(reason));
        }
        drop(state);
        ConnectionGuard { outbox, connections: self.clone(), place: None }
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// Closes every connection, those to come included, over `spread` or as long as [`PACE`] takes if that is less.
    /// Each gets another time to connect again, so that they do not overload the rest of the cluster.
    pub(super) async fn close_all(&self, reason: CloseReason, spread: Duration) {
        let outboxes: Vec<Arc<Outbox>> = {
            let mut state = self.lock();
            state.closing = Some(reason);
            state.open.values().cloned().collect()
        };
        let size = outboxes.len().div_ceil(50).max(1);
        let mut batches = outboxes.chunks(size).peekable();
        let pause = (spread / (batches.len().max(1) as u32)).min(PACE * size as u32);
        while let Some(batch) = batches.next() {
            batch.iter().for_each(|outbox| outbox.close(close_for_drain(reason)));
            if batches.peek().is_some() {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

fn close_for_drain(reason: CloseReason) -> Close {
    Close { reason, retry_after_ms: Some(rand::random_range(100..=2_000)) }
}
