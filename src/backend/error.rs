//! How a backend fails. Owns the distinctions that callers act on: whether something may have happened, and whether
//! trying again can help.

use crate::protocol::Outcome;

/// The store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// It said no, or was never asked: nothing was or will be done.
    #[error("the store refused: {0}")]
    Refused(String),
    /// It did not answer in time, or the connection was lost on the way: it may have been done, or may yet be.
    #[error("the store did not answer: {0}")]
    Unknown(String),
    /// It holds, or answered, what no node ever wrote. Trying again changes nothing: somebody has to look.
    #[error("the store holds what is not ours: {0}")]
    Corrupt(String),
}

impl BackendError {
    /// What the client is told.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(_) => Outcome::Refused,
            Self::Unknown(_) | Self::Corrupt(_) => Outcome::Unknown,
        }
    }
}
