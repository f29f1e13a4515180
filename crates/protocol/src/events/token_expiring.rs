//! The token of a connection is about to end. Owns the event; when it is sent is the node's business.

use serde::{Deserialize, Serialize};

use super::Event;

/// The token that the connection relies on ends soon. A new token of the same user, in any request, takes its place; without one,
/// the connection is closed with code 4001 at that time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokenExpiring {
    /// When, in Unix milliseconds by the node's clock.
    pub expires_at: u64,
}

impl Event for TokenExpiring {
    const KIND: &'static str = "TokenExpiring";
}
