//! A stored chat message, as clients see it. Owns its JSON; nodes do not build it from this type but splice it from the
//! stored body (see `encode`), and a test holds the two to each other.

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, MessageId, RequestId};
use crate::name::UserName;
use crate::position::Position;
use crate::topic::Topic;

/// A message to a room (`GroupChat`) or to a user (`PrivateChat`), live or from a page of history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChatMessage {
    /// The user that sent it.
    pub sender_username: UserName,
    /// The room or the user that it was sent to.
    #[serde(flatten)]
    pub topic: Topic,
    /// The text.
    pub content: String,
    /// The message's id.
    pub message_id: MessageId,
    /// The `id` of the request that published it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<RequestId>,
    /// When the node accepted it, in Unix milliseconds.
    pub sent_at: u64,
    /// The epoch of the log that it was read from: the room's, or the private log of the connection's user.
    pub epoch: Epoch,
    /// Its place in that log.
    pub seq: u64,
}

impl ChatMessage {
    /// The position just after this message.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, seq: self.seq, message_id: self.message_id }
    }
}
