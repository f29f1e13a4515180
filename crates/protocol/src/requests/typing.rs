//! `Typing`: the user is writing. Owns the request; its `Ack` is empty.

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{Done, Request, topic};
use crate::name::{RoomName, UserName};
use crate::topic::Topic;

/// Tells a room or a user that the sender is writing. It is passed on, and never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Typing {
    /// The user that is writing.
    pub sender_username: UserName,
    /// The room or the user; without one, the connection's current room.
    #[serde(flatten)]
    pub topic: Option<Topic>,
}

impl Request for Typing {
    const KIND: &'static str = "Typing";
    const FEATURE: Option<&'static str> = Some("typing");
    type Ack = Done;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

/// Tells a room or a user that the sender is writing. `room` and `target_username` exclude each other; without either,
/// the connection's current room is meant.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Body {
    /// The user that is writing.
    sender_username: UserName,
    /// A room.
    #[serde(default)]
    room: Option<RoomName>,
    /// Or a user.
    #[serde(default)]
    target_username: Option<UserName>,
}

impl<'de> Deserialize<'de> for Typing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Body { sender_username, room, target_username } = Body::deserialize(deserializer)?;
        Ok(Self { sender_username, topic: topic(room, target_username).map_err(de::Error::custom)? })
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Typing {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TypingRequest".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Body::json_schema(generator)
    }
}
