//! The role of a client: its user, its rooms and its behaviour. Owns no logic. `roles` draws the roles from a seed, and the
//! clients act on them.

use std::time::Duration;

/// The role of one client.
#[derive(Debug, Clone)]
pub struct Role {
    pub client: u32,
    pub user: u16,
    pub rooms: Vec<u16>,
    /// The rooms that it publishes to, and the mean pause between two publishes. Empty: it only reads.
    pub publishes: Vec<(u16, Duration)>,
    /// The users that it sends private messages to.
    pub peers: Vec<u16>,
    /// Keeps a position of its private log and sends it in `Auth`.
    pub keeps_inbox: bool,
    /// Disconnects, reconnects, leaves and joins from time to time.
    pub churns: bool,
    /// Stays away after it lost its connection, until all clients resume.
    pub stays_away: bool,
    /// Tries to publish under the name of this user from time to time.
    pub impersonates: Option<u16>,
    /// Uses only this node and asks it for the members of its rooms.
    pub observes: Option<usize>,
    /// Bytes of padding in each message; 0: a random small number.
    pub padding: usize,
    /// Connects late and, after it has joined its rooms, reads nothing for this long.
    pub reads_after: Option<Duration>,
    pub seed: u64,
}
