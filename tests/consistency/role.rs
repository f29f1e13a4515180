//! Who a client is and what it does. The module `roles` draws it from a seed, the client acts by it.

use std::time::Duration;

/// Who a client is and what it does.
#[derive(Debug, Clone)]
pub struct Role {
    pub client: u32,
    pub user: u16,
    pub rooms: Vec<u16>,
    /// Rooms that it publishes to, and the mean pause between two publishes; empty: it only listens.
    pub publishes: Vec<(u16, Duration)>,
    /// Users that it writes private messages to, one in so many publishes.
    pub peers: Vec<u16>,
    /// Keeps its own position of its private log, and gives it in `Auth`.
    pub keeps_inbox: bool,
    /// Whether it comes and goes.
    pub churns: bool,
    /// After losing its connection it stays away until everybody resumes.
    pub fickle: bool,
    /// Tries to publish under this user's name now and then.
    pub poses_as: Option<u16>,
    /// Uses only this node, and asks it for the members of its rooms.
    pub observes: Option<usize>,
    /// Bytes of padding in each message; 0: a few.
    pub bulk: usize,
    /// It comes late, and after it has entered it reads nothing for this long.
    pub reads_after: Option<Duration>,
    pub seed: u64,
}
