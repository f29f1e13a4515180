//! Presence in the cluster. Owns the trait: a room maps each user to the node incarnations that hold it, and an
//! incarnation counts while its lease runs. Each node watches the leases of the others by its own monotonic clock. Implemented by every backend; `chat::presence` decides when to call it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::error::BackendError;
use crate::protocol::{RoomName, UserName};

/// How long one node alone may remove the members of an expired incarnation.
pub(super) const CLAIM_DURATION: Duration = Duration::from_secs(30);

/// Maximum of members that [`Presence::stale_members`] returns at a time.
pub(super) const STALE_MEMBERS_PER_PAGE: usize = 500;

/// Identity of a node from one lease to its loss. A node that lost its lease continues with a new incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Incarnation(pub String);

/// Result of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// The lease runs: all memberships of this node are valid.
    Kept,
    /// The lease was lost, or the store restarted: call `reincarnate`, then `restore_members` without events, because
    /// nobody was told that the members left.
    Lost,
    /// The lease expired and another node has claimed the incarnation: it removes the members and publishes that they
    /// left. Call `reincarnate`, then `restore_members` with events.
    Claimed,
}

/// One page of a room's members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersPage {
    /// User names, sorted by their bytes.
    pub members: Vec<UserName>,
    /// Number of all members of the room in the cluster.
    pub count: u64,
    /// True if another page follows.
    pub more: bool,
    /// False if the lease of the reader does not run: the store may have lost leases and members, and the page may lack
    /// users that are present.
    pub is_complete: bool,
}

/// A room with members.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RoomSize {
    /// Its name.
    pub room: RoomName,
    /// Number of its members in the cluster. Until the members of a lost node are removed, they may count.
    pub count: u64,
}

/// One page of the rooms that have members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomsPage {
    /// Rooms, sorted by the bytes of their names.
    pub rooms: Vec<RoomSize>,
    /// True if another page follows.
    pub more: bool,
    /// False if the lease of the reader does not run, as in [`MembersPage`].
    pub is_complete: bool,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NodeInfo {
    /// Configured or generated name.
    pub name: String,
    /// Current incarnation.
    pub incarnation: String,
    /// Remaining time of the lease, ms; 0 if it has expired.
    pub lease_remaining_ms: u64,
}

/// Tells whether the store may have lost members of a room.
pub type LostRooms = Box<dyn Fn(&RoomName) -> bool + Send>;

/// Presence in the whole cluster. `add` and `remove` are idempotent. If the user's first node is added or the last one
/// removed, they publish the event on the room's channel in the same atomic step, unless the room has more than
/// `quiet_above` members.
#[async_trait]
pub trait Presence: Send + Sync + 'static {
    /// Adds the user to the room for this node. True if no other node held the user.
    async fn add(&self, room: &RoomName, user: &UserName, entered: Bytes) -> Result<bool, BackendError>;

    /// Removes the user from the room for this node. True if no other node holds the user.
    async fn remove(&self, room: &RoomName, user: &UserName, left: Bytes) -> Result<bool, BackendError>;

    /// Adds many members at once for the current incarnation. If no node held a user, publishes the event that comes with
    /// the user, if any. Called after `reincarnate`.
    async fn restore_members(
        &self,
        members: &[(RoomName, UserName, Option<Bytes>)],
    ) -> Result<(), BackendError>;

    /// Reads a page of the room's members after a name. Users that only expired incarnations hold are left out.
    async fn members(
        &self,
        room: &RoomName,
        after: Option<&UserName>,
        limit: u32,
    ) -> Result<MembersPage, BackendError>;

    /// Reads a page of the rooms with members, after a room. Rooms that only expired incarnations hold are left out.
    async fn rooms(&self, after: Option<&RoomName>, limit: u32) -> Result<RoomsPage, BackendError>;

    /// Reads how many members each of these rooms has, counted as in `rooms`; 0 without members. In the given order.
    async fn sizes(&self, rooms: &[RoomName]) -> Result<RoomsPage, BackendError>;

    /// Renews this node's lease. The first call acquires it.
    async fn renew(&self) -> Result<Lease, BackendError>;

    /// The rooms of which the store may have lost members since the last call, though the lease was kept: a part of the store is
    /// on another server now. `None` if there are none.
    fn take_lost_rooms(&self) -> Option<LostRooms> {
        None
    }

    /// Looks at the leases of all nodes. A lease that was not renewed for its whole duration has then ended for this node:
    /// `members` leaves its users out, and `claim_expired` may claim it. Called after each renewal, with the current time.
    async fn observe_leases(&self, now: Instant) -> Result<(), BackendError>;

    /// Acquires a lease for a new incarnation. The members of the old one are removed after its lease.
    async fn reincarnate(&self) -> Result<(), BackendError>;

    /// Releases the lease at the end of a drain, after all members were removed.
    async fn release(&self) -> Result<(), BackendError>;

    /// Claims an expired incarnation: this node alone may remove its members. The claim ends after 30 s, or with the lease of
    /// this node.
    async fn claim_expired(&self) -> Result<Option<Incarnation>, BackendError>;

    /// Returns up to 500 remaining members of an expired incarnation, all in one room; `None` if no member is left.
    async fn stale_members(
        &self,
        expired: &Incarnation,
    ) -> Result<Option<(RoomName, Vec<UserName>)>, BackendError>;

    /// Removes one of these members, as `remove` does for this node.
    async fn remove_stale_member(
        &self,
        expired: &Incarnation,
        room: &RoomName,
        user: &UserName,
        left: Bytes,
    ) -> Result<bool, BackendError>;

    /// Deletes an expired incarnation. If it still holds members, it stays expired instead.
    async fn forget(&self, expired: &Incarnation) -> Result<(), BackendError>;

    /// Lists the nodes of the cluster.
    async fn nodes(&self) -> Result<Vec<NodeInfo>, BackendError>;
}
