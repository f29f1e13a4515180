//! `Ping`: asks whether the node is there. Owns the request and its `Ack`.

use serde::{Deserialize, Serialize};

use super::Request;
use crate::name::UserName;

/// Touches nothing and binds no user, so it may come before `Auth`. For clients that can't see WebSocket pings, and for
/// those that have a token and do not know its user.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "PingRequest"))]
pub struct Ping {
    /// The user that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_username: Option<UserName>,
}

impl Request for Ping {
    const KIND: &'static str = "Ping";
    const FEATURE: Option<&'static str> = Some("ping");
    type Ack = PingAck;

    fn sender(&self) -> Option<&UserName> {
        self.sender_username.as_ref()
    }
}

/// The `Ack` of `Ping`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PingAck {
    /// The user of the connection's token, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_username: Option<UserName>,
    /// How long the client may send nothing at all, pongs included, in milliseconds. Older nodes do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
}
