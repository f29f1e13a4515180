//! `Markers`: how far the user has read with each peer. Owns the request and its `Ack`.

use serde::{Deserialize, Serialize};

use super::Request;
use super::page;
use crate::id::MessageId;
use crate::name::UserName;

/// The most markers that `limit` of `Markers` may ask for.
pub const MAX_MARKERS: u32 = 1_000;

/// Asks for the user's read markers in private conversations, page by page in the order of the peers' names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "MarkersRequest"))]
pub struct Markers {
    /// The user that asks.
    pub sender_username: UserName,
    /// The last peer of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<UserName>,
    /// The most markers wanted, from 1 to 1,000.
    #[serde(default = "page::most::<MAX_MARKERS>", deserialize_with = "page::limit::<_, MAX_MARKERS>")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u32>", range(min = 1, max = MAX_MARKERS)))]
    pub limit: u32,
}

impl Request for Markers {
    const KIND: &'static str = "Markers";
    const COST: u32 = 5;
    const FEATURE: Option<&'static str> = Some("markers");
    type Ack = MarkersAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

/// The `Ack` of `Markers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MarkersAck {
    /// One page of markers, sorted by the bytes of the peers' names.
    pub markers: Vec<Marker>,
    /// Another page follows.
    pub more: bool,
}

/// How far the user has read with one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "PrivateMarker"))]
pub struct Marker {
    /// The peer.
    pub target_username: UserName,
    /// The last message that was read.
    pub message_id: MessageId,
}

impl Marker {
    /// What the JSON of a marker has besides the name and the id, in bytes.
    pub const KEYS_BYTES: usize = r#"{"target_username":,"message_id":}"#.len();
}
