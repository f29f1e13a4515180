//! `PrivateChat`: sends a message to a user. Owns the request; its `Ack` is that of every publish.

use serde::{Deserialize, Serialize};

use super::Request;
use super::group_chat::PublishAck;
use crate::name::UserName;

/// Sends a message to all connections of a user, and to the sender's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "PrivateChatRequest"))]
pub struct PrivateChat {
    /// The user that sends it.
    pub sender_username: UserName,
    /// The user that gets it.
    pub target_username: UserName,
    /// The text.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub content: String,
}

impl Request for PrivateChat {
    const KIND: &'static str = "PrivateChat";
    const FEATURE: Option<&'static str> = None;
    type Ack = PublishAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }

    fn content(&self) -> Option<&str> {
        Some(&self.content)
    }
}
