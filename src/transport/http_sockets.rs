//! The HTTP sockets of one port, until they end or become WebSockets. Owns their number, and which of them has to end when a
//! further one comes: never one whose request is being answered. Asked by the listener, which owns the sockets.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::address_counts::AddressCounts;

/// For how long a socket is not ended for another one, after it was opened or answered: its request may be on its way, or
/// its answer not sent yet.
const GRACE: Duration = Duration::from_secs(1);
/// The part of the places that one address keeps when all are taken: `1 / SHARE`. Above it, its sockets end first, and have
/// no grace.
const SHARE: usize = 4;
/// Private addresses that forward for clients. More than these are not remembered.
const MAX_FORWARDING: usize = 64;

/// The places of one port.
pub(super) struct HttpSockets {
    state: Mutex<State>,
    places: usize,
    freed: Notify,
}

#[derive(Default)]
struct State {
    open: HashMap<u64, Socket>,
    by_address: AddressCounts,
    /// Stand for many clients, so they have no share.
    forwarding: HashSet<IpAddr>,
    /// Told to end, and still open.
    ending: usize,
    next: u64,
}

struct Socket {
    address: Option<IpAddr>,
    phase: Phase,
    end: CancellationToken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request is complete.
    Idle {
        since: Instant,
        was_answered: bool,
    },
    /// The node works on a request, which has its own deadlines, or the socket becomes a WebSocket.
    Busy,
    Ending,
}

/// The place of one socket; dropping it frees the place.
pub(super) struct HttpPlace {
    sockets: Arc<HttpSockets>,
    id: u64,
    end: CancellationToken,
}

impl HttpSockets {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), places, freed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a new socket of this address; none stands for many clients. If all places are taken, the socket that
    /// has been idle longest ends. Waits at most [`GRACE`] for one, unless the node works on every request. Cancel safe.
    pub(super) async fn take(self: &Arc<Self>, address: Option<IpAddr>) -> HttpPlace {
        loop {
            let freed = self.freed.notified();
            let wait = {
                let mut state = self.lock();
                if state.open.len() < self.places {
                    let (id, end) = state.insert(address);
                    return HttpPlace { sockets: self.clone(), id, end };
                }
                state.make_room(self.places / SHARE)
            };
            // In both cases it looks again.
            let _ = timeout(wait, freed).await;
        }
    }

    /// This private address sent what only proxies send.
    pub(super) fn forwards(&self, address: IpAddr) {
        let mut state = self.lock();
        if state.forwarding.len() < MAX_FORWARDING {
            state.forwarding.insert(address);
        }
    }
}

impl State {
    fn insert(&mut self, address: Option<IpAddr>) -> (u64, CancellationToken) {
        let (id, end) = (self.next, CancellationToken::new());
        self.next += 1;
        if let Some(address) = address {
            self.by_address.add(address);
        }
        let phase = Phase::Idle { since: Instant::now(), was_answered: false };
        self.open.insert(id, Socket { address, phase, end: end.clone() });
        (id, end)
    }

    fn remove(&mut self, id: u64) {
        let Some(socket) = self.open.remove(&id) else { return };
        self.ending -= usize::from(socket.phase == Phase::Ending);
        if let Some(address) = socket.address {
            self.by_address.remove(address);
        }
    }

    /// Tells a socket to end. Returns how long to wait before the next look.
    fn make_room(&mut self, share: usize) -> Duration {
        // It ends without waiting for its client.
        if self.ending > 0 {
            return GRACE;
        }
        let now = Instant::now();
        let mut victim = None;
        let mut wait = GRACE;
        for (id, socket) in &self.open {
            let Phase::Idle { since, was_answered } = socket.phase else { continue };
            let is_over = socket.address.is_some_and(|address| {
                self.by_address.get(address) > share && !self.forwarding.contains(&address)
            });
            let grace = (since + GRACE).saturating_duration_since(now);
            if !is_over && !grace.is_zero() {
                wait = wait.min(grace);
                continue;
            }
            // A socket without an answer may be about to become a WebSocket.
            let rank = (!is_over, !was_answered, since);
            if victim.is_none_or(|(best, _)| rank < best) {
                victim = Some((rank, *id));
            }
        }
        if let Some((_, id)) = victim
            && let Some(socket) = self.open.get_mut(&id)
        {
            socket.phase = Phase::Ending;
            socket.end.cancel();
            self.ending += 1;
            return GRACE;
        }
        wait
    }
}

impl HttpPlace {
    /// Resolves when the socket has to end, at once.
    pub(super) async fn ended(&self) {
        self.end.cancelled().await;
    }

    /// A request is complete. Returns whether the socket should end after its answer, since more than half of the places are
    /// taken.
    pub(super) fn request(&self) -> bool {
        let mut state = self.sockets.lock();
        let is_short = state.open.len() > self.sockets.places / 2;
        state.change(self.id, Phase::Busy);
        is_short
    }

    /// The request is answered.
    pub(super) fn answered(&self) {
        let phase = Phase::Idle { since: Instant::now(), was_answered: true };
        self.sockets.lock().change(self.id, phase);
    }
}

impl State {
    fn change(&mut self, id: u64, phase: Phase) {
        if let Some(socket) = self.open.get_mut(&id)
            && socket.phase != Phase::Ending
        {
            socket.phase = phase;
        }
    }
}

impl Drop for HttpPlace {
    fn drop(&mut self) {
        self.sockets.lock().remove(self.id);
        self.sockets.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([198, 51, 100, last]))
    }

    /// Ends what has to end, as the listener does, while a further socket of this address comes. Returns its number.
    async fn displaced(
        sockets: &Arc<HttpSockets>,
        open: &mut Vec<HttpPlace>,
        newcomer: Option<IpAddr>,
    ) -> u64 {
        let (place, id) = tokio::join!(sockets.take(newcomer), async {
            loop {
                if let Some(at) = open.iter().position(|place| place.end.is_cancelled()) {
                    return open.remove(at).id;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        open.push(place);
        id
    }

    #[tokio::test(start_paused = true)]
    async fn longest_idle_socket_ends_for_a_newcomer_after_its_grace() {
        let sockets = HttpSockets::new(4);
        let mut open = Vec::new();
        for last in 0..4 {
            open.push(sockets.take(address(last)).await);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!(open[0].request(), "more than half of the places are taken");
        let begun = Instant::now();
        assert_eq!(displaced(&sockets, &mut open, address(7)).await, 1, "the first one is busy");
        assert!(begun.elapsed() >= Duration::from_millis(600), "{:?}", begun.elapsed());
        open[0].answered();
        tokio::time::advance(GRACE).await;
        // Sockets that had their answer go before those that may become WebSockets.
        assert_eq!(displaced(&sockets, &mut open, address(8)).await, 0);
        assert_eq!(displaced(&sockets, &mut open, address(9)).await, 2);
        drop(open);
        let state = sockets.lock();
        assert!(state.open.is_empty() && state.by_address.is_empty() && state.ending == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn address_over_its_share_gives_way_at_once() {
        let sockets = HttpSockets::new(8);
        let mut open = vec![sockets.take(address(1)).await, sockets.take(None).await];
        for _ in 2..8 {
            open.push(sockets.take(address(2)).await);
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        let begun = Instant::now();
        for newcomer in [address(1), address(2), None, address(2)] {
            let id = displaced(&sockets, &mut open, newcomer).await;
            assert!(id >= 2, "{id} is not of the greedy address");
        }
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
        // A proxy stands for many clients, so its sockets have their grace.
        sockets.forwards(address(2).unwrap());
        tokio::time::advance(GRACE / 2).await;
        let begun = Instant::now();
        displaced(&sockets, &mut open, address(3)).await;
        assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    }
}
