//! The state that all clients of a run share: the addresses of the nodes, the tokens, the current phase. Owns the sizes of the
//! workload; does not control a client. Built by the run, read by every client.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::api::Api;
use crate::history::Recorder;

/// The phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Clients connect and join their rooms.
    Join,
    /// Clients publish, disconnect and reconnect.
    Publish,
    /// Clients only repeat publishes with an unknown outcome.
    Settle,
    /// All clients resume once more and read to the top.
    Resume,
    /// All clients leave.
    Over,
}

/// The sizes of a workload.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub rooms: u16,
    /// How many of the rooms, the last ones, have little traffic.
    pub quiet_rooms: u16,
    pub publishers: u32,
    pub members: u32,
    /// Publishes per second of all publishers together.
    pub rate: f64,
    /// How many of a thousand publishes are private messages.
    pub private_permille: u32,
    /// How many of a thousand acknowledged publishes are sent again.
    pub repeat_permille: u32,
    /// The mean time between two irregular actions of a client.
    pub churn: Duration,
    /// How many of a thousand irregular actions are a forged position.
    pub forged_permille: u32,
    /// How many of a thousand connections start without stored positions.
    pub forgetful_permille: u32,
    /// How many of a thousand members stay away until the end after they lost their connection.
    pub stay_away_permille: u32,
    /// The mean time between two revocations.
    pub revoke_every: Duration,
    /// How many clients read nothing for a while, in a separate room with much traffic.
    pub never_readers: u32,
}

impl Sizes {
    pub const FULL: Self = Self {
        rooms: 20,
        quiet_rooms: 3,
        publishers: 30,
        members: 200,
        rate: 400.0,
        private_permille: 50,
        repeat_permille: 50,
        churn: Duration::from_secs(100),
        forged_permille: 50,
        forgetful_permille: 20,
        stay_away_permille: 50,
        revoke_every: Duration::from_millis(2_500),
        never_readers: 0,
    };

    /// For busy machines and for CI.
    pub const SMALL: Self = Self {
        rooms: 8,
        quiet_rooms: 2,
        publishers: 8,
        members: 40,
        rate: 120.0,
        churn: Duration::from_secs(30),
        ..Self::FULL
    };
}

pub struct RunContext {
    pub recorder: Arc<Recorder>,
    /// The address of each node for clients.
    pub nodes: Vec<SocketAddr>,
    /// The addresses without a proxy. The buffers of a proxy would take the data that a client does not read.
    pub direct: Vec<SocketAddr>,
    pub sizes: Sizes,
    pub phase: watch::Receiver<Phase>,
    /// Increases when every client has to drop its connection and reconnect at once.
    pub reconnect: watch::Receiver<u64>,
    /// True once the clients that read nothing may connect.
    pub non_readers_start: watch::Receiver<bool>,
    /// None if authentication is off.
    pub api: Option<Api>,
    pub tokens: Mutex<HashMap<u16, String>>,
}

impl Sizes {
    /// The numbers of all rooms, including the room of the clients that read nothing.
    pub fn all_rooms(&self) -> std::ops::Range<u16> {
        0..self.rooms + u16::from(self.never_readers > 0)
    }
}

impl RunContext {
    pub fn token(&self, user: u16) -> Option<String> {
        self.tokens.lock().expect("no task panics while it holds the lock").get(&user).cloned()
    }

    pub fn keep_token(&self, user: u16, token: String) {
        self.tokens.lock().expect("no task panics while it holds the lock").insert(user, token);
    }

    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }
}
