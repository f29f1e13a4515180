//! `Members`: the users in a room. Owns the request and its `Ack`.

use serde::{Deserialize, Serialize};

use super::Request;
use super::page;
use crate::name::{RoomName, UserName};

/// The most names that `limit` of `Members` may ask for.
pub const MAX_MEMBERS: u32 = 1_000;

/// Asks for the users in a room, on all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "MembersRequest"))]
pub struct Members {
    /// The user that asks.
    pub sender_username: UserName,
    /// The room; without one, the connection's current room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    /// The last name of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<UserName>,
    /// The most names wanted, from 1 to 1,000.
    #[serde(default = "page::most::<MAX_MEMBERS>", deserialize_with = "page::limit::<_, MAX_MEMBERS>")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u32>", range(min = 1, max = MAX_MEMBERS)))]
    pub limit: u32,
    /// The largest frame wanted, in bytes, from 4,096 to 262,144; without it, the node's own limit counts. A page has at least
    /// one name.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "page::max_bytes")]
    #[cfg_attr(feature = "schema", schemars(range(min = page::MIN_PAGE_BYTES, max = page::MAX_PAGE_BYTES)))]
    pub max_bytes: Option<u32>,
}

impl Request for Members {
    const KIND: &'static str = "Members";
    const COST: u32 = 5;
    const FEATURE: Option<&'static str> = Some("members");
    type Ack = MembersAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

/// The `Ack` of `Members`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MembersAck {
    /// The room.
    pub room: RoomName,
    /// One page of names, sorted by their bytes.
    pub members: Vec<UserName>,
    /// The number of users in the room, on all nodes.
    pub count: u64,
    /// Another page follows.
    pub more: bool,
}
