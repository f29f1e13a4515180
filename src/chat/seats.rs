//! The places of a node: its seats, for connections that are bound to a user, and its waiting room, for those that are not
//! bound yet. Owns who gets a place and who has to leave one; the share of an address is in here too, but not what counts
//! as one address. Asked at the upgrade, and when a connection is bound.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tokio::time::Instant;

use super::outbox::{Close, Outbox};
use crate::metrics as names;
use crate::protocol::CloseReason;

/// How long a connection may wait at least: several round trips on a slow network, and a look-up of its token.
const GRACE: Duration = Duration::from_secs(2);
/// A small node still has this many waiting places.
const LEAST_WAITING: usize = 64;
/// The part of the waiting room that one address can use: `1 / SHARE`, and never more places than it leaves free.
const SHARE: usize = 4;
/// When a client that found no place may come back, ms. The time is random, or all of them would return at the same time.
const RETRY_MS: std::ops::RangeInclusive<u64> = 2_000..=8_000;

/// The number of waiting places of a node with so many seats.
const fn waiting_places(seats: usize) -> usize {
    if seats / 8 > LEAST_WAITING { seats / 8 } else { LEAST_WAITING }
}

/// Why there is no place in the waiting room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// The node has no seat, or its waiting room is full.
    Full,
    /// This address has its share of the waiting room.
    Share,
}

/// How the node closes a connection that it has no place for.
pub(super) fn close_as_full() -> Close {
    Close { reason: CloseReason::Full, retry_after_ms: Some(rand::random_range(RETRY_MS)) }
}

/// The places of one node.
pub struct Seats {
    state: Mutex<State>,
    seats: usize,
    waiting: usize,
}

#[derive(Default)]
struct State {
    seated: usize,
    /// By ticket, so in the order in which they came.
    waiting: BTreeMap<u64, Waiting>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
    /// Had to leave the room, but their sockets are not closed yet.
    leaving: usize,
    next_ticket: u64,
}

struct Waiting {
    since: Instant,
    address: Option<IpAddr>,
    outbox: Arc<Outbox>,
}

/// The place of one connection; dropping it frees the place.
pub(super) struct Place {
    seats: Arc<Seats>,
    /// None: a seat.
    ticket: Option<u64>,
}

impl Seats {
    /// A node for so many users.
    pub(super) fn new(seats: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), seats, waiting: waiting_places(seats) })
    }

    /// How many sockets a node with so many seats can have open. Those that had to leave the waiting room, and are being
    /// closed, count too.
    pub const fn sockets(seats: usize) -> usize {
        seats + waiting_places(seats) + waiting_places(seats) / 2
    }

    /// The seats of a node that can have so many sockets open; 0 if they are too few for the smallest node.
    pub const fn within(sockets: usize) -> usize {
        // A seat takes one and three sixteenths, unless the waiting room has its least size.
        let large = sockets / 19 * 16 + sockets % 19 * 16 / 19;
        if large >= 8 * LEAST_WAITING { large } else { sockets.saturating_sub(Self::sockets(0)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a seat is free.
    pub(super) fn has_free(&self) -> bool {
        self.lock().seated < self.seats
    }

    /// Takes a seat, if one is free.
    pub(super) fn seat(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.lock();
        if state.seated >= self.seats {
            return None;
        }
        state.seated += 1;
        Some(Place { seats: self.clone(), ticket: None })
    }

    /// Takes a place in the waiting room. If it is full, the connection that has waited longest leaves it, once it has had
    /// its grace. An address that has its share can take only a place of its own. So a few addresses never fill the room for
    /// all others: four that take what they can leave a fifth of it free.
    pub(super) fn wait(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        outbox: Arc<Outbox>,
    ) -> Result<Place, NoPlace> {
        let mut state = self.lock();
        let now = Instant::now();
        let mut leaves = None;
        if let Some(ticket) = self.who_gives_way(&state, address, now)? {
            leaves = state.remove(ticket);
            state.leaving += 1;
        }
        let ticket = state.insert(Waiting { since: now, address, outbox });
        drop(state);
        if let Some(waiting) = leaves {
            waiting.outbox.close(close_as_full());
        }
        Ok(Place { seats: self.clone(), ticket: Some(ticket) })
    }

    /// Whether `wait` would find a place now. It takes none.
    pub(super) fn check_wait(&self, address: Option<IpAddr>) -> Result<(), NoPlace> {
        self.who_gives_way(&self.lock(), address, Instant::now()).map(drop)
    }

    /// The ticket of the connection that has to leave the waiting room for another one from this address; none if there is
    /// a free place.
    fn who_gives_way(
        &self,
        state: &State,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Result<Option<u64>, NoPlace> {
        if state.seated >= self.seats {
            return Err(NoPlace::Full);
        }
        let of_address = address.and_then(|address| state.by_address.get(&address));
        let free = self.waiting.saturating_sub(state.waiting.len());
        let (why, longest) = match of_address {
            Some(tickets) if tickets.len() >= free.min(self.waiting / SHARE) => {
                (NoPlace::Share, tickets.first())
            }
            _ if free == 0 => (NoPlace::Full, state.waiting.keys().next()),
            _ => return Ok(None),
        };
        let Some(ticket) = longest else { return Err(why) };
        let has_waited = state.waiting.get(ticket).is_some_and(|waiting| now - waiting.since >= GRACE);
        // A connection that had to leave has its file open until its socket is closed.
        if has_waited && state.leaving < self.waiting / 2 { Ok(Some(*ticket)) } else { Err(why) }
    }
}

impl State {
    fn insert(&mut self, waiting: Waiting) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if let Some(address) = waiting.address {
            self.by_address.entry(address).or_default().insert(ticket);
        }
        self.waiting.insert(ticket, waiting);
        gauge!(names::CONNECTIONS_WAITING).increment(1.0);
        ticket
    }

    fn remove(&mut self, ticket: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&ticket)?;
        gauge!(names::CONNECTIONS_WAITING).decrement(1.0);
        if let Some(address) = waiting.address
            && let Some(tickets) = self.by_address.get_mut(&address)
        {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.by_address.remove(&address);
            }
        }
        Some(waiting)
    }
}

impl Place {
    /// Changes a waiting place to a seat. False if no seat is free, or the connection had to leave meanwhile.
    pub(super) fn take_seat(&mut self) -> bool {
        let Some(ticket) = self.ticket else { return true };
        let mut state = self.seats.lock();
        if state.seated >= self.seats.seats || state.remove(ticket).is_none() {
            return false;
        }
        state.seated += 1;
        self.ticket = None;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.seats.lock();
        match self.ticket {
            None => state.seated -= 1,
            Some(ticket) if state.remove(ticket).is_none() => state.leaving -= 1,
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::protocol::ConnectionId;

    struct Client {
        outbox: Arc<Outbox>,
        place: Place,
    }

    impl Client {
        fn has_to_leave(&self) -> bool {
            self.outbox.closing().now_or_never().is_some_and(|close| close.reason == CloseReason::Full)
        }
    }

    fn wait(seats: &Arc<Seats>, address: Option<u8>) -> Result<Client, NoPlace> {
        let outbox = Arc::new(Outbox::new(ConnectionId::generate(), 1 << 10, Arc::default()));
        let address = address.map(|last| IpAddr::from([10, 0, 0, last]));
        Ok(Client { place: seats.wait(address, outbox.clone())?, outbox })
    }

    fn refusal(seats: &Arc<Seats>, address: Option<u8>) -> Option<NoPlace> {
        wait(seats, address).err()
    }

    #[tokio::test(start_paused = true)]
    async fn longest_waiting_leaves_a_full_room_after_its_grace() {
        let seats = Seats::new(1);
        let mut clients = Vec::new();
        for _ in 0..64 {
            clients.push(wait(&seats, None).unwrap());
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert_eq!(refusal(&seats, None), Some(NoPlace::Full), "all have their grace");
        tokio::time::advance(GRACE).await;
        let newcomers: Vec<Client> = (0..32).map(|_| wait(&seats, None).unwrap()).collect();
        let leaving: Vec<bool> = clients.iter().map(Client::has_to_leave).collect();
        assert_eq!(leaving, [[true; 32], [false; 32]].concat());
        // Half of the room is being closed, and keeps its files until then.
        assert_eq!(refusal(&seats, None), Some(NoPlace::Full));
        assert!(!clients[0].place.take_seat(), "it has to leave");
        clients.remove(0);
        assert!(wait(&seats, None).is_ok());
        assert!(!newcomers[31].has_to_leave());
    }

    #[tokio::test(start_paused = true)]
    async fn address_has_its_share_and_takes_only_its_own_places() {
        let seats = Seats::new(1);
        let bob = wait(&seats, Some(2)).unwrap();
        tokio::time::advance(Duration::from_millis(10)).await;
        let greedy: Vec<Client> = (0..16).map(|_| wait(&seats, Some(1)).unwrap()).collect();
        assert_eq!(refusal(&seats, Some(1)), Some(NoPlace::Share));
        assert!(wait(&seats, Some(2)).is_ok());
        let foreseen = |last: u8| seats.check_wait(Some(IpAddr::from([10, 0, 0, last]))).err();
        assert_eq!((foreseen(1), foreseen(2)), (Some(NoPlace::Share), None));
        tokio::time::advance(GRACE).await;
        assert_eq!(foreseen(1), None, "one of its own can leave");
        assert!(greedy.iter().all(|client| !client.has_to_leave()), "nobody leaves for a question");
        let newest = wait(&seats, Some(1)).unwrap();
        assert!(greedy[0].has_to_leave() && !bob.has_to_leave());
        drop((greedy, newest, bob));
        let state = seats.lock();
        assert!(state.by_address.is_empty() && state.waiting.is_empty());
        assert_eq!((state.leaving, state.seated), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn few_addresses_leave_places_free() {
        for addresses in [4_u32, 8, 20] {
            let seats = Seats::new(1);
            let mut open = Vec::new();
            for turn in 0..64 * 20 {
                open.extend(wait(&seats, Some((turn % addresses) as u8)));
            }
            assert!(open.len() < 64, "{addresses} addresses fill the room");
            assert!(open.len() > 64 / 2);
            let victim = wait(&seats, Some(200));
            assert!(victim.is_ok(), "another address finds no place beside {addresses}");
            assert!(open.iter().all(|client| !client.has_to_leave()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn seats_are_taken_and_freed() {
        let seats = Seats::new(2);
        let (mut first, mut second) = (wait(&seats, None).unwrap(), wait(&seats, None).unwrap());
        assert!(first.place.take_seat() && first.place.take_seat(), "a second time changes nothing");
        let third = seats.seat().unwrap();
        assert!(seats.seat().is_none() && !seats.has_free());
        assert!(!second.place.take_seat());
        assert_eq!(refusal(&seats, None), Some(NoPlace::Full), "it would wait for nothing");
        drop(third);
        assert!(second.place.take_seat());
        drop((first, second));
        assert!(seats.has_free());
        assert_eq!(seats.lock().seated, 0);
    }

    #[test]
    fn seats_fit_a_number_of_sockets() {
        for sockets in (97..3_000).chain(12_000..12_200) {
            let seats = Seats::within(sockets);
            assert!(Seats::sockets(seats) <= sockets, "{sockets}: {seats}");
            assert!(Seats::sockets(seats + 3) > sockets, "{sockets}: {seats}");
        }
        assert_eq!(Seats::within(96), 0);
        assert_eq!(Seats::sockets(10_000), 11_875);
    }
}
