//! Why a request failed, and why a client could not be closed cleanly. Owns the errors and their texts for people. Returned by
//! the client's handle.

use chatnode_protocol::{ErrorCode, NameError, Word};

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The name of the room or the user is invalid. Nothing was sent.
    #[error("the name {name:?} {error}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// The token contains characters that no token has. Nothing was sent.
    #[error("the token contains characters that no token has")]
    Token,
    /// The node refused the request.
    #[error("{message}")]
    Refused {
        /// What went wrong, for programs.
        code: Word<ErrorCode>,
        /// What went wrong, for people.
        message: String,
    },
    /// The node does not know this request.
    #[error("the node does not support this")]
    Unsupported,
    /// There is no connection now, or it was lost before the answer came. The client reconnects by itself: ask again.
    #[error("there is no connection to the node now")]
    Disconnected,
    /// The room was left before it was entered.
    #[error("the room was left")]
    Left,
    /// The answer of the node can't be read.
    #[error("the answer of the node can't be read")]
    Unreadable,
    /// The client has ended.
    #[error("the client has ended")]
    Closed,
}

/// Messages were on their way when the client was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{unsent} messages are not known to be stored")]
#[non_exhaustive]
pub struct CloseError {
    /// How many.
    pub unsent: usize,
}
