//! `GroupChat`: sends a message to a room. Owns the request; its `Ack` is that of every publish.

use super::publish::publish_request;
use crate::name::RoomName;

publish_request! {
    /// Sends a message to all members of a room, the sender's own connections included.
    GroupChat as "GroupChatRequest",
    {},
    {
        /// The room; without one, the connection's current room.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<RoomName>,
    }
}
