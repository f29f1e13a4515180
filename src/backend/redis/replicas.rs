//! Replicas that must have a publish before it is acknowledged. Owns the command that asks for them, and what their number means for
//! the outcome; sends nothing. Used by the publish queue.

use std::time::Duration;

use metrics::counter;
use redis::{Cmd, Value};

use crate::backend::BackendError;
use crate::metrics::PUBLISH_REPLICAS_SHORT;

/// How long Redis waits for its replicas behind a call. Everything on the connection waits with it.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// How many replicas must have a publish before it is acknowledged.
#[derive(Clone)]
pub(super) struct Replicas {
    count: usize,
    wait: Cmd,
}

impl Replicas {
    /// `None` where the master's own answer is enough.
    pub(super) fn new(count: usize, timeout: Duration) -> Option<Self> {
        let mut wait = redis::cmd("WAIT");
        wait.arg(count).arg(MAX_WAIT.min(timeout / 4).as_millis() as u64);
        (count > 0).then_some(Self { count, wait })
    }

    /// How many there must be.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The command behind each call. It returns how many there are.
    pub(super) fn command(&self) -> &Cmd {
        &self.wait
    }
}

/// The result of one publish that so many replicas have. The master has stored it in any case.
pub(super) fn checked(
    result: Result<Value, BackendError>,
    had: usize,
    wanted: usize,
) -> Result<Value, BackendError> {
    if result.is_err() || had >= wanted {
        return result;
    }
    counter!(PUBLISH_REPLICAS_SHORT).increment(1);
    Err(BackendError::Unknown(format!("{had} of {wanted} replicas have the message")))
}
