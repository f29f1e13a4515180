//! `Read`: the user has read up to a message. Owns the request; its `Ack` is empty.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;

use super::{Done, Request, topic};
use crate::id::MessageId;
use crate::name::{RoomName, UserName};
use crate::position::{self, MAX_SEQ};
use crate::topic::Topic;

/// Moves the user's read marker forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Read {
    /// The user that has read.
    pub sender_username: UserName,
    /// What it has read.
    #[serde(flatten)]
    pub up_to: ReadUpTo,
    /// The marker may also go back: what follows it is unread again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub set: bool,
}

/// What a `Read` marks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ReadUpTo {
    /// All of a room up to a `seq`.
    Room {
        /// The room; without one, the connection's current room.
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<RoomName>,
        /// The last message that was read.
        seq: u64,
    },
    /// All private messages with a user up to this one.
    User {
        /// The other user.
        target_username: UserName,
        /// The last message that was read.
        message_id: MessageId,
    },
}

impl Request for Read {
    const KIND: &'static str = "Read";
    const FEATURE: Option<&'static str> = Some("read");
    type Ack = Done;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

/// Moves the user's read marker forward: in a room with `seq`, in the conversation with a user with `target_username`
/// and `message_id`. `room` and `target_username` exclude each other; without either, the connection's current room is
/// meant.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Body {
    /// The user that has read.
    sender_username: UserName,
    /// A room.
    #[serde(default)]
    room: Option<RoomName>,
    /// Or a user.
    #[serde(default)]
    target_username: Option<UserName>,
    /// In a room: the last message that was read. Not looked at with `target_username`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>", range(max = MAX_SEQ)))]
    seq: Option<Box<RawValue>>,
    /// With `target_username`: the last message that was read. Not looked at without.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<MessageId>"))]
    message_id: Option<Box<RawValue>>,
    /// True: the marker may also go back.
    #[serde(default)]
    set: Option<bool>,
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Body { sender_username, room, target_username, seq, message_id, set } =
            Body::deserialize(deserializer)?;
        let up_to = match topic(room, target_username).map_err(de::Error::custom)? {
            Some(Topic::User(target_username)) => {
                let message_id = message_id.ok_or_else(|| de::Error::missing_field("message_id"))?;
                let message_id = message(&message_id)
                    .ok_or_else(|| de::Error::custom("`message_id` must be the UUID of a message"))?;
                ReadUpTo::User { target_username, message_id }
            }
            room => {
                let seq = seq.ok_or_else(|| de::Error::missing_field("seq"))?;
                let seq =
                    position::seq(&mut serde_json::Deserializer::from_str(seq.get())).map_err(|_| {
                        de::Error::custom(format_args!("`seq` must be a whole number from 0 to {MAX_SEQ}"))
                    })?;
                ReadUpTo::Room { room: room.and_then(|topic| topic.room().cloned()), seq }
            }
        };
        Ok(Self { sender_username, up_to, set: set.unwrap_or_default() })
    }
}

/// Markers move forward by time: an id of another kind could stand before or behind all messages for ever.
fn message(json: &RawValue) -> Option<MessageId> {
    serde_json::from_str::<MessageId>(json.get()).ok().filter(MessageId::is_time_ordered)
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Read {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ReadRequest".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Body::json_schema(generator)
    }
}
