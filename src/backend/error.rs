//! Errors of a backend. Owns the distinctions that callers act on: whether the operation may have happened, and whether
//! a retry can help. Returned by every backend, handled by `chat`.

use crate::protocol::Outcome;

/// The store did not confirm the operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The store rejected the operation or never received it: nothing has changed or will change.
    #[error("the store refused the operation: {0}")]
    Refused(String),
    /// No answer arrived in time, or the connection was lost: the operation may have happened, or may still happen.
    #[error("the store did not answer: {0}")]
    Unknown(String),
    /// The store holds or returned data that no node wrote. A retry does not help: an operator has to look at the data.
    #[error("the store holds foreign data: {0}")]
    Corrupt(String),
}

impl BackendError {
    /// The outcome that the client receives.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(_) => Outcome::Refused,
            Self::Unknown(_) | Self::Corrupt(_) => Outcome::Unknown,
        }
    }
}
