//! `Block` and `Blocked`: the users whose private messages a user does not want. Owns both requests and the `Ack` of the second; the `Ack` of
//! the first is that of `Room`.

use serde::{Deserialize, Serialize};

use super::page;
use super::{Request, RightsAck};
use crate::name::UserName;

/// The most names that `limit` of `Blocked` may ask for.
pub const MAX_BLOCKED: u32 = 1_000;

/// Blocks another user, or ends that. Who is blocked can't send the user private messages, nor invitations to rooms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "BlockRequest"))]
pub struct Block {
    /// The user that asks for it.
    pub sender_username: UserName,
    /// The other user.
    pub target_username: UserName,
    /// True to block, false to end it.
    pub on: bool,
}

impl Request for Block {
    const KIND: &'static str = "Block";
    const COST: u32 = 2;
    const FEATURE: Option<&'static str> = Some("block");
    type Ack = RightsAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

/// Asks whom the user has blocked, page by page in the order of the names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "BlockedRequest"))]
pub struct Blocked {
    /// The user that asks.
    pub sender_username: UserName,
    /// The last name of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<UserName>,
    /// The most names wanted, from 1 to 1,000.
    #[serde(default = "page::most::<MAX_BLOCKED>", deserialize_with = "page::limit::<_, MAX_BLOCKED>")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u32>", range(min = 1, max = MAX_BLOCKED)))]
    pub limit: u32,
}

impl Request for Blocked {
    const KIND: &'static str = "Blocked";
    const COST: u32 = 5;
    const FEATURE: Option<&'static str> = Some("blocked");
    type Ack = BlockedAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

/// The `Ack` of `Blocked`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BlockedAck {
    /// One page of names, sorted by their bytes.
    pub users: Vec<UserName>,
    /// Another page follows.
    pub more: bool,
}
