//! What the connections of one thread share, behind one lock: the buffer, the account, and the logs of each connection. Owns the
//! lock, which only the progress line and the fleet contend for. Used by sessions, connections and shards.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::log::Log;
use crate::tally::Tally;

/// How much is read from a socket at once.
const BUFFER_BYTES: usize = 128 * 1024;

/// What the connections of a thread share.
pub(crate) struct State {
    /// What was just read.
    pub(crate) buffer: Box<[u8]>,
    pub(crate) tally: Tally,
    /// By the place of the connection on this thread.
    pub(crate) logs: Vec<Vec<Log>>,
    /// The CPU time of the thread so far.
    pub(crate) cpu_nanos: u64,
}

impl State {
    /// Before the first connection.
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; BUFFER_BYTES].into(), tally: Tally::new(), logs: Vec::new(), cpu_nanos: 0 }
    }
}

/// The state; a panic of another thread has been reported already.
pub(crate) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
