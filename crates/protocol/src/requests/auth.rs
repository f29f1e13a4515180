//! `Auth`: binds the connection to a user. Owns the request and its `Ack`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Request;
use super::joined::Joined;
use crate::id::MessageId;
use crate::name::UserName;
use crate::position::Since;

/// Binds the connection to the user without entering a room, and starts its private messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "AuthRequest"))]
pub struct Auth {
    /// The user.
    pub sender_username: UserName,
    /// The last position of the private log that the client has; without one, the user's cursor on the server counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

impl Request for Auth {
    const KIND: &'static str = "Auth";
    const FEATURE: Option<&'static str> = Some("auth");
    type Ack = AuthAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

/// The `Ack` of `Auth`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuthAck {
    /// Where the user's private log is.
    #[serde(flatten)]
    pub joined: Joined,
    /// How far the user has read, for each peer the last message: the peers whose messages were read last, as many as fit.
    pub read: BTreeMap<UserName, MessageId>,
    /// There are more: [`Markers`](super::Markers) lists all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_more: bool,
}
