//! The open connections of a node. Owns their list, and how a drain closes them; what belongs to one connection is its
//! session's. Asked by the node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::outbox::{Close, Outbox};
use crate::protocol::{CloseReason, ConnectionId};

/// For each connection that a drain closes: twenty a second overload no other node, and a single one is closed at once.
const PACE: Duration = Duration::from_millis(50);

/// Every open connection.
#[derive(Default)]
pub(super) struct Connections {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: HashMap<ConnectionId, Arc<Outbox>>,
    /// Set when the drain closes them: a connection that arrives later is closed at once.
    closing: Option<CloseReason>,
}

/// An open connection in the node's list; dropping it takes it out.
pub struct ConnectionGuard {
    outbox: Arc<Outbox>,
    connections: Arc<Connections>,
}

impl ConnectionGuard {
    /// The connection's queue.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.outbox.shut();
        self.connections.lock().open.remove(&self.outbox.id());
    }
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a new connection with its queue.
    pub(super) fn open(self: &Arc<Self>, outbox: Arc<Outbox>) -> ConnectionGuard {
        let mut state = self.lock();
        state.open.insert(outbox.id(), outbox.clone());
        if let Some(reason) = state.closing {
            outbox.close(close_for_drain(reason));
        }
        drop(state);
        ConnectionGuard { outbox, connections: self.clone() }
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
