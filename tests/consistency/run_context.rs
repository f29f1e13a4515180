//! What all clients of a run share: where the nodes are, who may sign in, what is to be done now. Owns the sizes of the
//! workload; the clients act by themselves. Built by the run, read by every client.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::api::Api;
use crate::history::Recorder;

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Connect and enter, no more.
    Gather,
    /// Publish, come and go.
    Talk,
    /// Only what is still undecided is repeated.
    Settle,
    /// Everybody resumes once more, and reads to the top.
    Resume,
    /// Everybody leaves.
    Over,
}

/// How much goes on.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub rooms: u16,
    /// Of which these, the last, are nearly quiet.
    pub quiet_rooms: u16,
    pub publishers: u32,
    pub members: u32,
    /// Publishes per second, all publishers together.
    pub rate: f64,
    /// How many of a thousand publishes are private messages.
    pub private_permille: u32,
    /// How many of a thousand acknowledged publishes are sent again.
    pub repeat_permille: u32,
    /// How often each client does something unusual, on average.
    pub churn: Duration,
    /// How many of a thousand unusual things are a forged position.
    pub forged_permille: u32,
    /// How many of a thousand connections begin with nothing remembered.
    pub forgetful_permille: u32,
    /// How many of a thousand members stay away until the end after they lost their connection.
    pub fickle_permille: u32,
    /// The mean time between two revocations of somebody's tokens.
    pub revoke_every: Duration,
    /// How many read nothing for a while, in a room of their own that has much traffic.
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
        fickle_permille: 50,
        revoke_every: Duration::from_millis(2_500),
        never_readers: 0,
    };

    /// For machines with other things to do, and for CI.
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
    /// Where clients reach each node.
    pub nodes: Vec<SocketAddr>,
    /// The same without a proxy between, whose buffers would take what a client does not.
    pub direct: Vec<SocketAddr>,
    pub sizes: Sizes,
    pub phase: watch::Receiver<Phase>,
    /// Counts up when every client has to drop its connection and come back at once.
    pub kick: watch::Receiver<u64>,
    /// True once those who read nothing are to come.
    pub non_readers_start: watch::Receiver<bool>,
    /// None where authentication is off.
    pub api: Option<Api>,
    pub tokens: Mutex<HashMap<u16, String>>,
}

impl Sizes {
    /// Every room's number, with that of those who don't read.
    pub fn all_rooms(&self) -> std::ops::Range<u16> {
        0..self.rooms + u16::from(self.never_readers > 0)
    }
}

impl RunContext {
    pub fn token(&self, user: u16) -> Option<String> {
        self.tokens.lock().expect("no one panics with the tokens").get(&user).cloned()
    }

    pub fn keep_token(&self, user: u16, token: String) {
        self.tokens.lock().expect("no one panics with the tokens").insert(user, token);
    }

    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }
}
