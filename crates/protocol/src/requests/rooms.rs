//! `Rooms`: the rooms that the settings of the node list. Owns the request and its `Ack`.

use serde::{Deserialize, Serialize};

use super::Request;
use super::page;
use crate::name::{RoomName, UserName};

/// The most rooms that `limit` of `Rooms` may ask for.
pub const MAX_ROOMS: u32 = 200;

/// Asks for the rooms that users can find, page by page in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "RoomsRequest"))]
pub struct Rooms {
    /// The user that asks.
    pub sender_username: UserName,
    /// The last room of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<RoomName>,
    /// The most rooms wanted, from 1 to 200.
    #[serde(default = "page::most::<MAX_ROOMS>", deserialize_with = "page::limit::<_, MAX_ROOMS>")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u32>", range(min = 1, max = MAX_ROOMS)))]
    pub limit: u32,
}

impl Request for Rooms {
    const KIND: &'static str = "Rooms";
    const COST: u32 = 5;
    const FEATURE: Option<&'static str> = Some("rooms");
    type Ack = RoomsAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

/// The `Ack` of `Rooms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoomsAck {
    /// One page of rooms, sorted by the bytes of their names.
    pub rooms: Vec<ListedRoom>,
    /// Another page follows.
    pub more: bool,
}

/// A room that users can find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListedRoom {
    /// Its name.
    pub room: RoomName,
    /// The number of its members, on all nodes.
    pub count: u64,
}

impl ListedRoom {
    /// The most that its JSON has besides the name, in bytes.
    pub const KEYS_BYTES: usize = r#"{"room":,"count":18446744073709551615},"#.len();
}
