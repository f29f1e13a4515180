//! Errors of a backend. Owns the distinctions that callers act on: whether the operation may have happened, and whether
//! a retry can help. Returned by every backend, handled by `chat`.

use std::time::Duration;

use super::change::ChangeRefusal;
use super::rights::RightsRefusal;
use crate::protocol::Outcome;

/// The store did not confirm the operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The store rejected the operation or never received it: nothing has changed or will change.
    #[error("the store refused the operation: {0}")]
    Refused(String),
    /// The store has no memory left for messages: nothing was stored. A retry helps once there is memory again.
    #[error("the store is full: {0}")]
    Full(String),
    /// The owner of the message uses its whole share of the store: nothing was stored. Others are not affected. A retry may
    /// help after this time.
    #[error("the owner of the message has used its share of the store")]
    OverShare(Duration),
    /// The user of the first log has never connected, and this log holds as much as it may until then: nothing was stored.
    /// A retry helps once the user has connected.
    #[error("the user has never connected, and the inbox is full")]
    InboxFull,
    /// No log holds the message, and nothing new may be stored ([`Publish::is_repeat_only`](super::Publish::is_repeat_only)).
    #[error("no log holds the message, and it may not be stored")]
    NotARepeat,
    /// The change does not fit the message.
    #[error("the change was refused: {0:?}")]
    Change(Box<ChangeRefusal>),
    /// The rights of the room forbid it.
    #[error("the rights of the room forbid it: {0:?}")]
    Rights(RightsRefusal),
    /// A node of an earlier version runs, which does not know such entries: nothing was stored.
    #[error("a node of an earlier version runs")]
    OlderNodes,
    /// No answer arrived in time, or the connection was lost: the operation may have happened, or may still happen.
    #[error("the store did not answer: {0}")]
    Unknown(String),
    /// The store holds or returned data that no node wrote. A retry does not help: an operator has to look at the data.
    #[error("the store holds foreign data: {0}")]
    Corrupt(String),
}

impl From<ChangeRefusal> for BackendError {
    fn from(refusal: ChangeRefusal) -> Self {
        Self::Change(Box::new(refusal))
    }
}

impl From<RightsRefusal> for BackendError {
    fn from(refusal: RightsRefusal) -> Self {
        Self::Rights(refusal)
    }
}

impl BackendError {
    /// The outcome that the client receives.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(_)
            | Self::Full(_)
            | Self::OverShare(_)
            | Self::InboxFull
            | Self::NotARepeat
            | Self::Change(_)
            | Self::Rights(_)
            | Self::OlderNodes => Outcome::Refused,
            Self::Unknown(_) | Self::Corrupt(_) => Outcome::Unknown,
        }
    }
}
