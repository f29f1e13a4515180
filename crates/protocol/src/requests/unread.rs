//! `Unread`: how many messages the user has not read. Owns the request and its `Ack`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::Request;
use crate::id::Epoch;
use crate::name::{RoomName, UserName};

/// The most rooms that `Unread` may name.
pub const MAX_UNREAD_ROOMS: usize = 100;

/// Counts the messages that the user has not read: in rooms, and in each private conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "UnreadRequest"))]
pub struct Unread {
    /// The user that asks.
    pub sender_username: UserName,
    /// The rooms, at most 100, entered or not; without them, those that the connection has entered.
    #[serde(default, deserialize_with = "rooms", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = MAX_UNREAD_ROOMS)))]
    pub rooms: Option<Vec<RoomName>>,
}

impl Request for Unread {
    const KIND: &'static str = "Unread";
    const COST: u32 = 5;
    const FEATURE: Option<&'static str> = Some("unread");
    type Ack = UnreadAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

fn rooms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<RoomName>>, D::Error> {
    let rooms = Option::<Vec<RoomName>>::deserialize(deserializer)?;
    if rooms.as_ref().is_some_and(|rooms| rooms.len() > MAX_UNREAD_ROOMS) {
        return Err(de::Error::custom(format_args!("`rooms` has at most {MAX_UNREAD_ROOMS} names")));
    }
    Ok(rooms)
}

/// The `Ack` of `Unread`. Messages that were trimmed or taken back do not count, and changes of messages never do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnreadAck {
    /// By room.
    pub rooms: BTreeMap<RoomName, UnreadInRoom>,
    /// By peer; only those with unread messages.
    pub users: BTreeMap<UserName, UnreadOfPeer>,
    /// Not all fitted: of the rooms, the first ones are there; of the peers, those who wrote last.
    pub more: bool,
}

/// What the user has not read of a room.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnreadInRoom {
    /// Messages after the read marker; all that the room holds if there is none.
    pub unread: u64,
    /// Those of them that mention the user, as far as they are among the newest 100 of the room that do.
    pub mentions: u64,
    /// Up to where was counted: the epoch of the room's log. Not if nobody ever wrote there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// And the `seq` there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// What the user has not read of a private conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnreadOfPeer {
    /// Messages of the peer after the read marker.
    pub unread: u64,
}
