//! Why a connection was lost, and why a client ended. Owns the reasons and their texts for people; decides nothing. Made by
//! the link and the model, read by programs and by the terminal client.

use chatnode_protocol::{CloseReason, ErrorCode, Word};

/// Why a connection was lost, or could not be opened. The client tries again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LostReason {
    /// No connection could be opened.
    #[error("can't connect: {0}")]
    CantConnect(String),
    /// The answer to the WebSocket handshake was an error that can pass.
    #[error("the node answered with HTTP status {0}")]
    Status(u16),
    /// The node closed the connection.
    #[error("{}", describe(*.0))]
    Closed(CloseReason),
    /// The node closed the connection with a code that this version does not know, or without one.
    #[error("the node closed the connection: {code} {text}")]
    ClosedWith {
        /// The WebSocket close code; 1005 if there was none.
        code: u16,
        /// The text of the close frame.
        text: String,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The node did not answer a ping.
    #[error("the node does not answer")]
    NoAnswer,
    /// The node can't sign in users now.
    #[error("the node can't sign you in now: {message}")]
    Unavailable {
        /// What went wrong, for programs.
        code: Word<ErrorCode>,
        /// What went wrong, for people.
        message: String,
    },
}

fn describe(reason: CloseReason) -> String {
    match reason {
        CloseReason::GoingAway | CloseReason::Restarting => "the node is restarting".into(),
        CloseReason::Full => "the node is full".into(),
        CloseReason::Slow => "this client read too slowly".into(),
        CloseReason::UnfinishedMessage => "a message of this client arrived too slowly".into(),
        other => format!("the node closed the connection: {} {}", other.code(), other.as_str()),
    }
}

/// Why a client ended for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClosedReason {
    /// The token was revoked, or it has expired.
    #[error("the token was revoked or has expired: get a new one")]
    TokenRevoked,
    /// The node does not accept the token.
    #[error("the node does not accept the token")]
    TokenRejected,
    /// An administrator removed the user.
    #[error("removed by an administrator")]
    Removed,
    /// The node does not sign this user in, or no longer serves them.
    #[error("the node refused the user: {message}")]
    Refused {
        /// What went wrong, for programs.
        code: Word<ErrorCode>,
        /// What went wrong, for people.
        message: String,
    },
    /// The server at this address is not a chat node.
    #[error("no chat node at this address: it answered with HTTP status {status}")]
    NotANode {
        /// The HTTP status of its answer.
        status: u16,
    },
    /// The node sent an answer that this version can't read.
    #[error("the node sent an answer that this version can't read")]
    Unreadable,
    /// The program closed the client.
    #[error("the client was closed")]
    ByClient,
}
