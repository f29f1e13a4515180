//! Somebody is writing, to a room or to the connection's user. Owns the event.

use serde::{Deserialize, Serialize};

use super::Event;
use crate::name::UserName;
use crate::topic::Topic;

/// A user is writing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "TypingEvent"))]
pub struct Typing {
    /// The user that is writing.
    pub sender_username: UserName,
    /// The room or the user that it writes to.
    #[serde(flatten)]
    pub topic: Topic,
}

impl Event for Typing {
    const KIND: &'static str = "Typing";
}
