//! How far users have got. Owns the seam to two kinds of marker, each moving forward only: the delivery cursor of a
//! user's private log, and what a user has read. Called by `chat`.

use async_trait::async_trait;

use super::error::BackendError;
use crate::protocol::server_message::RoomMarker;
use crate::protocol::{MessageId, Position, RoomName, UserName};

/// The most conversations, and the most rooms, that a user's read markers are kept for; the oldest go first.
pub const MAX_READ_MARKERS: usize = 1_000;

/// Markers of all users. They end 30 days after their last use.
#[async_trait]
pub trait Markers: Send + Sync + 'static {
    /// How far the user's private log has been delivered to one of its connections.
    async fn cursor(&self, user: &UserName) -> Result<Option<Position>, BackendError>;

    /// Moves the cursor forward: a lower `seq` of the same epoch changes nothing, another epoch replaces it.
    async fn advance_cursor(&self, user: &UserName, position: Position) -> Result<(), BackendError>;

    /// How far the user has read in a room.
    async fn room_marker(&self, user: &UserName, room: &RoomName)
    -> Result<Option<RoomMarker>, BackendError>;

    /// Moves it forward, as a cursor is. True if it moved.
    async fn mark_room(
        &self,
        user: &UserName,
        room: &RoomName,
        marker: RoomMarker,
    ) -> Result<bool, BackendError>;

    /// How far the user has read its private conversations, by peer, at most [`MAX_READ_MARKERS`].
    async fn private_markers(&self, user: &UserName) -> Result<Vec<(UserName, MessageId)>, BackendError>;

    /// Moves one forward (message ids sort by time). True if it moved.
    async fn mark_private(
        &self,
        user: &UserName,
        peer: &UserName,
        id: MessageId,
    ) -> Result<bool, BackendError>;
}
