//! Progress of users. Owns the trait for two kinds of markers: the delivery cursor of a user's private log, which only moves
//! forward, and read markers, which go back if the user says so. Implemented by every backend, called by `chat`.

use async_trait::async_trait;

use super::error::BackendError;
use crate::protocol::{MessageId, Position, RoomMarker, RoomName, UserName};

/// Maximum of read markers per user for private conversations, and again for rooms. Above it, the marker that moved
/// longest ago is deleted.
pub const MAX_READ_MARKERS: usize = 1_000;

/// Where a read marker may move to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Only forward.
    Forward,
    /// Anywhere: the user wants something to be unread again.
    Anywhere,
}

/// Markers of all users. They expire 30 days after their last use.
#[async_trait]
pub trait Markers: Send + Sync + 'static {
    /// Returns the position up to which the user's private log was delivered to one of the user's connections.
    async fn cursor(&self, user: &UserName) -> Result<Option<Position>, BackendError>;

    /// Moves the cursor forward. A lower `seq` of the same epoch changes nothing; another epoch replaces the cursor.
    async fn advance_cursor(&self, user: &UserName, position: Position) -> Result<(), BackendError>;

    /// Returns the user's read marker in a room.
    async fn room_marker(&self, user: &UserName, room: &RoomName)
    -> Result<Option<RoomMarker>, BackendError>;

    /// Moves the read marker: forward by the rules of the cursor. True if it moved.
    async fn mark_room(
        &self,
        user: &UserName,
        room: &RoomName,
        marker: RoomMarker,
        to: Move,
    ) -> Result<bool, BackendError>;

    /// Returns the user's read markers in private conversations, by peer, at most [`MAX_READ_MARKERS`]. The one that moved last
    /// comes first.
    async fn private_markers(&self, user: &UserName) -> Result<Vec<(UserName, MessageId)>, BackendError>;

    /// Moves a read marker (the message ids of a log sort by `seq`). True if it moved.
    async fn mark_private(
        &self,
        user: &UserName,
        peer: &UserName,
        id: MessageId,
        to: Move,
    ) -> Result<bool, BackendError>;
}
