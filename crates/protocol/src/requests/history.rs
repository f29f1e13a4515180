//! `History`: a page of a log. Owns the request and its `Ack`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;

use super::page;
use super::{Request, topic};
use crate::events::ChatMessage;
use crate::id::Epoch;
use crate::name::{RoomName, UserName};
use crate::number;
use crate::position::{MAX_SEQ, NO_ID};
use crate::topic::Topic;

/// The most messages that `limit` of `History` and `history` of `Enter` may ask for.
pub const MAX_HISTORY: u32 = 200;

const DEFAULT_LIMIT: u32 = 50;

/// Asks for a page of a log, backwards from `before`.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The user that asks.
    pub sender_username: UserName,
    /// A room, or the conversation with a user; without one, the connection's current room.
    pub topic: Option<Topic>,
    /// Where the page ends; without it, at the newest message.
    pub before: Option<Before>,
    /// The most messages wanted, from 1 to 200.
    pub limit: u32,
    /// The largest frame wanted, in bytes, from 4,096 to 262,144; without it, the node's own limit counts.
    pub max_bytes: Option<u32>,
}

/// Where a page of history ends, exclusively.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// The log that `seq` belongs to; `None` for a text that can't be an epoch of this protocol.
    pub epoch: Option<Epoch>,
    /// The first `seq` that is not wanted.
    pub seq: u64,
}

impl Request for History {
    const KIND: &'static str = "History";
    const COST: u32 = 5;
    const FEATURE: Option<&'static str> = Some("history");
    type Ack = HistoryAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

/// Asks for a page of a log, backwards from `before`. `room` and `target_username` exclude each other; without either,
/// the connection's current room is meant.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Body {
    /// The user that asks.
    sender_username: UserName,
    /// A room.
    #[serde(default)]
    room: Option<RoomName>,
    /// Or the conversation with a user.
    #[serde(default)]
    target_username: Option<UserName>,
    /// The first `seq` that is not wanted.
    #[serde(default, deserialize_with = "before")]
    #[cfg_attr(feature = "schema", schemars(range(max = MAX_SEQ)))]
    before: Option<u64>,
    /// The log that `before` belongs to. Not looked at without `before`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    epoch: Option<Box<RawValue>>,
    /// The most messages wanted.
    #[serde(default, deserialize_with = "limit")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = MAX_HISTORY)))]
    limit: Option<u32>,
    /// The largest frame wanted, in bytes. A page has at least one message, of any size.
    #[serde(default, deserialize_with = "page::max_bytes")]
    #[cfg_attr(feature = "schema", schemars(range(min = page::MIN_PAGE_BYTES, max = page::MAX_PAGE_BYTES)))]
    max_bytes: Option<u32>,
}

fn before<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number::read_optional(deserializer, 0, MAX_SEQ)
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Ok(number::read_optional(deserializer, 1, MAX_HISTORY.into())?.map(|limit| limit as u32))
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Body { sender_username, room, target_username, before, epoch, limit, max_bytes } =
            Body::deserialize(deserializer)?;
        let topic = topic(room, target_username).map_err(de::Error::custom)?;
        let before = match (before, epoch) {
            (None, _) => None,
            (Some(_), None) => {
                return Err(de::Error::custom("`epoch` must be given together with `before`"));
            }
            (Some(seq), Some(epoch)) => {
                let epoch: String = serde_json::from_str(epoch.get())
                    .map_err(|_| de::Error::custom("`epoch` must be a string"))?;
                Some(Before { epoch: epoch.parse().ok(), seq })
            }
        };
        Ok(Self { sender_username, topic, before, limit: limit.unwrap_or(DEFAULT_LIMIT), max_bytes })
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            sender_username: &'a UserName,
            #[serde(flatten)]
            topic: &'a Option<Topic>,
            #[serde(skip_serializing_if = "Option::is_none")]
            before: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            epoch: Option<String>,
            limit: u32,
            #[serde(skip_serializing_if = "Option::is_none")]
            max_bytes: Option<u32>,
        }
        let epoch = |before: Before| before.epoch.map_or_else(|| NO_ID.to_owned(), |epoch| epoch.to_string());
        Body {
            sender_username: &self.sender_username,
            topic: &self.topic,
            before: self.before.map(|before| before.seq),
            epoch: self.before.map(epoch),
            limit: self.limit,
            max_bytes: self.max_bytes,
        }
        .serialize(serializer)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for History {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HistoryRequest".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Body::json_schema(generator)
    }
}

/// The `Ack` of `History`. Nodes build it from stored bodies, with [`encode::history`](crate::encode::history).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HistoryAck {
    /// The messages, oldest first.
    pub messages: Vec<ChatMessage>,
    /// The log's epoch.
    pub epoch: Epoch,
    /// There are older messages.
    pub more: bool,
}
