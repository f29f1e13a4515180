//! The messages that clients began and did not finish. Owns the node's budget for their bytes, and which connection has
//! to go when it is used up. Told by the socket of each connection's codec; closes connections through their queues.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::chat::{Close, Outbox};
use crate::protocol::{CloseReason, ConnectionId};

/// How long a message may take if no byte of it arrives.
const GRACE: Duration = Duration::from_secs(15);
/// Each received KiB gives the rest one second more: slower than any network that chat works on.
const BYTES_PER_SECOND: u64 = 1_024;
/// When the client may come back, ms. The time is random, or all that were closed would return at the same time.
const RETRY_MS: std::ops::RangeInclusive<u64> = 2_000..=8_000;

/// The budget of one node.
pub(super) struct UnfinishedBudget {
    most: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    total: u64,
    parked: HashMap<ConnectionId, Parked>,
}

struct Parked {
    bytes: u64,
    begun: Instant,
    address: IpAddr,
    is_bound: bool,
    outbox: Arc<Outbox>,
}

/// How the node closes a connection whose message takes too much time or space.
pub(super) fn close() -> Close {
    Close { reason: CloseReason::UnfinishedMessage, retry_after_ms: Some(rand::random_range(RETRY_MS)) }
}

impl UnfinishedBudget {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: (most as u64).into(), state: Mutex::default() })
    }

    /// Changes the budget, for the bytes that arrive from now on.
    pub(super) fn set(&self, most: usize) {
        self.most.store(most as u64, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn park(&self, id: ConnectionId, parked: Parked) {
        let mut state = self.lock();
        state.total += parked.bytes;
        if let Some(before) = state.parked.insert(id, parked) {
            state.total -= before.bytes;
        }
        let most = self.most.load(Ordering::Relaxed);
        while state.total > most
            && let Some(id) = state.victim()
            && let Some(victim) = state.parked.remove(&id)
        {
            state.total -= victim.bytes;
            // It reads nothing after this: the close is the first thing that its read loop looks at.
            victim.outbox.close(close());
        }
    }

    fn release(&self, id: ConnectionId) {
        let mut state = self.lock();
        if let Some(before) = state.parked.remove(&id) {
            state.total -= before.bytes;
        }
    }
}

impl State {
    /// Connections that are bound to no user go first. Among equals, the oldest message of the address that parks most.
    fn victim(&self) -> Option<ConnectionId> {
        let is_bound = self.parked.values().all(|parked| parked.is_bound);
        let eligible = || self.parked.iter().filter(|(_, parked)| parked.is_bound == is_bound);
        let mut by_address: HashMap<IpAddr, u64> = HashMap::new();
        for (_, parked) in eligible() {
            *by_address.entry(parked.address).or_default() += parked.bytes;
        }
        let (most, _) = by_address.into_iter().max_by_key(|(_, bytes)| *bytes)?;
        eligible()
            .filter(|(_, parked)| parked.address == most)
            .min_by_key(|(_, parked)| parked.begun)
            .map(|(id, _)| *id)
    }
}

/// The unfinished message of one connection, if there is one.
pub(super) struct Unfinished {
    budget: Arc<UnfinishedBudget>,
    outbox: Arc<Outbox>,
    address: IpAddr,
    is_bound: bool,
    begun: Option<Instant>,
    bytes: u64,
}

impl Unfinished {
    pub(super) fn new(budget: Arc<UnfinishedBudget>, outbox: Arc<Outbox>, address: IpAddr) -> Self {
        Self { budget, outbox, address, is_bound: false, begun: None, bytes: 0 }
    }

    /// The connection is bound to a user from now on.
    pub(super) fn bind(&mut self) {
        self.is_bound = true;
    }

    /// A message is open, with this many bytes received, or none is.
    pub(super) fn update(&mut self, open: Option<u64>) {
        let Some(bytes) = open else {
            self.begun = None;
            return self.set(0, Instant::now());
        };
        let begun = *self.begun.get_or_insert_with(Instant::now);
        self.set(bytes, begun);
    }

    fn set(&mut self, bytes: u64, begun: Instant) {
        if bytes == self.bytes {
            return;
        }
        self.bytes = bytes;
        let id = self.outbox.id();
        if bytes == 0 {
            return self.budget.release(id);
        }
        let (address, is_bound, outbox) = (self.address, self.is_bound, self.outbox.clone());
        self.budget.park(id, Parked { bytes, begun, address, is_bound, outbox });
    }

    /// The node read nothing for so long; the client can't be blamed for it.
    pub(super) fn paused(&mut self, pause: Duration) {
        if let Some(begun) = &mut self.begun {
            *begun += pause;
        }
    }

    /// When the message that is open has to be complete.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.begun.map(|begun| begun + GRACE + Duration::from_secs(self.bytes / BYTES_PER_SECOND))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.set(0, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    struct Client {
        outbox: Arc<Outbox>,
        message: Unfinished,
    }

    impl Client {
        fn new(budget: &Arc<UnfinishedBudget>, address: [u8; 4], is_bound: bool) -> Self {
            let outbox = Arc::new(Outbox::new(ConnectionId::generate(), 1 << 10, Arc::default()));
            let mut message = Unfinished::new(budget.clone(), outbox.clone(), address.into());
            message.is_bound = is_bound;
            Self { outbox, message }
        }

        fn is_closed(&self) -> bool {
            let close = self.outbox.closing().now_or_never();
            close.is_some_and(|close| close.reason == CloseReason::UnfinishedMessage)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unbound_then_the_oldest_of_the_address_that_parks_most() {
        let budget = UnfinishedBudget::new(100);
        let greedy = [10, 0, 0, 9];
        let mut clients = [
            Client::new(&budget, [10, 0, 0, 1], true),
            Client::new(&budget, greedy, true),
            Client::new(&budget, greedy, true),
            Client::new(&budget, [10, 0, 0, 2], false),
        ];
        for (client, bytes) in clients.iter_mut().zip([40, 30, 20, 10]) {
            client.message.update(Some(bytes));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let closed = |clients: &[Client]| clients.iter().map(Client::is_closed).collect::<Vec<_>>();
        assert_eq!(closed(&clients), [false; 4]);
        clients[2].message.update(Some(21));
        assert_eq!(closed(&clients), [false, false, false, true]);
        clients[2].message.update(Some(31));
        assert_eq!(closed(&clients), [false, true, false, true]);
        // A message that ends gives its bytes back.
        clients[0].message.update(None);
        clients[2].message.update(Some(100));
        assert_eq!(closed(&clients), [false, true, false, true]);
        drop(clients);
        assert_eq!(budget.lock().total, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_grows_with_the_bytes_and_the_pauses_of_the_node() {
        let mut message = Client::new(&UnfinishedBudget::new(1 << 20), [10, 0, 0, 1], true).message;
        assert_eq!(message.deadline(), None);
        let begun = Instant::now();
        message.update(Some(0));
        assert_eq!(message.deadline(), Some(begun + GRACE));
        message.update(Some(2_048));
        message.paused(Duration::from_secs(3));
        assert_eq!(message.deadline(), Some(begun + GRACE + Duration::from_secs(5)));
        message.update(None);
        assert_eq!(message.deadline(), None);
    }
}
