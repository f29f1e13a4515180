//! One run of a scenario, as all its threads see it: who connects where, the logs, the clock, and which time is measured. Owns
//! the plan and the few switches; does nothing by itself. Made by a scenario, used by sessions and connections.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) use chatnode_protocol::Topic as Name;
use chatnode_protocol::{Position, UserName};

use crate::secret::Secret;
use crate::target::Target;

/// A log of the run.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Name,
    /// Whoever joins has joined once this `seq` has come.
    pub(crate) goal: AtomicU64,
    /// Whoever joins for the first time comes back from here.
    pub(crate) start: OnceLock<Position>,
}

impl Topic {
    pub(crate) fn new(name: Name) -> Self {
        Self { name, goal: AtomicU64::new(0), start: OnceLock::new() }
    }

    pub(crate) fn is_room(&self) -> bool {
        matches!(self.name, Name::Room(_))
    }
}

/// One connection of the plan.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) user: UserName,
    pub(crate) token: Option<Secret>,
    /// The node, by its index; after a loss the next ones.
    pub(crate) target: usize,
    /// Its rooms, and the log of its user if it takes private messages.
    pub(crate) topics: Vec<u32>,
    /// To whom it writes, if it does: a room of its own, or the log of another user.
    pub(crate) writes_to: Option<u32>,
    /// To whom it writes privately from time to time.
    pub(crate) peer: Option<u32>,
    /// Comes back from the position that the log has, with its first connection.
    pub(crate) comes_back: bool,
    /// It gets commands.
    pub(crate) is_commanded: bool,
}

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Run {
    /// Random.
    pub(crate) id: u32,
    pub(crate) targets: Vec<Target>,
    /// The addresses of this machine that connections come from; none: the system chooses.
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) seats: Vec<Seat>,
    /// The text of every message.
    pub(crate) content: String,
    /// How long a connection may take to open, to join and to come back.
    pub(crate) timeout: Duration,
    /// How many messages a publisher in a closed loop has in flight.
    pub(crate) in_flight: usize,
    /// Publishers in a closed loop go on.
    pub(crate) is_sending: AtomicBool,
    mask: [u8; 4],
    clock: Instant,
    measured_from: AtomicU64,
    measured_to: AtomicU64,
}

impl Run {
    /// A run with these connections, to these nodes.
    pub(crate) fn new(id: u32, targets: Vec<Target>, topics: Vec<Topic>, seats: Vec<Seat>) -> Self {
        Self {
            id,
            targets,
            sources: Vec::new(),
            topics,
            seats,
            content: String::new(),
            timeout: Duration::from_secs(10),
            in_flight: 1,
            is_sending: AtomicBool::new(false),
            mask: rand::random(),
            clock: Instant::now(),
            measured_from: AtomicU64::new(u64::MAX),
            measured_to: AtomicU64::new(u64::MAX),
        }
    }

    /// The address of this machine from which a seat connects.
    pub(crate) fn source(&self, seat: u32) -> Option<IpAddr> {
        // Nodes take turns first, then addresses.
        let turn = seat as usize / self.targets.len().max(1);
        self.sources.get(turn % self.sources.len().max(1)).copied()
    }

    /// Nanoseconds since the start of the run.
    pub(crate) fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// The moment with this time.
    pub(crate) fn instant(&self, nanos: u64) -> Instant {
        self.clock + Duration::from_nanos(nanos)
    }

    pub(crate) fn mask(&self) -> [u8; 4] {
        self.mask
    }

    /// From now on it is measured.
    pub(crate) fn measure(&self) {
        self.measured_from.store(self.now(), Ordering::Relaxed);
    }

    /// From now on it is not measured any more.
    pub(crate) fn end_measuring(&self) {
        self.measured_to.store(self.now(), Ordering::Relaxed);
    }

    /// Whether what was intended for this time is measured.
    pub(crate) fn is_measured(&self, intended: u64) -> bool {
        (self.measured_from.load(Ordering::Relaxed)..self.measured_to.load(Ordering::Relaxed))
            .contains(&intended)
    }

    /// Whether publishers in a closed loop go on.
    pub(crate) fn is_sending(&self) -> bool {
        self.is_sending.load(Ordering::Relaxed)
    }
}
