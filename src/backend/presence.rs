//! Who is where. Owns the seam to the cluster's presence: a room maps users to the node incarnations that hold them,
//! and a node's lease vouches for its incarnation. Called by `chat::presence`, which decides when.

use async_trait::async_trait;
use bytes::Bytes;

use super::error::BackendError;
use crate::protocol::{RoomName, UserName};

/// One life of one node, as presence knows it: a node that lost its lease goes on under a new incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Incarnation(pub String);

/// What became of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// All that this node entered stands.
    Kept,
    /// The lease had been given up for lost (or the store came back empty): call `reincarnate`, then enter all again.
    Lost,
}

/// One page of a room's members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersPage {
    /// Names, sorted by their bytes.
    pub members: Vec<UserName>,
    /// All of the room's, cluster-wide.
    pub count: u64,
    /// Another page follows.
    pub more: bool,
}

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NodeInfo {
    /// Its configured or generated name.
    pub name: String,
    /// Its present incarnation.
    pub incarnation: String,
    /// How long its lease still runs, ms; 0 where it has ended.
    pub lease_remaining_ms: u64,
}

/// Presence in the whole cluster. Adding and removing are idempotent. Where one changes the cluster's view (the user's
/// first node, or the last), it publishes the event on the room's channel in the same step, unless the room has more
/// than `quiet_above` members.
#[async_trait]
pub trait Presence: Send + Sync + 'static {
    /// This node holds the user in the room. True if no node did before.
    async fn add(&self, room: &RoomName, user: &UserName, entered: Bytes) -> Result<bool, BackendError>;

    /// This node no longer does. True if no node does now.
    async fn remove(&self, room: &RoomName, user: &UserName, left: Bytes) -> Result<bool, BackendError>;

    /// Enters many at once under the present incarnation, without events: after `reincarnate`.
    async fn restore_members(&self, members: &[(RoomName, UserName)]) -> Result<(), BackendError>;

    /// A page of the room's members after a name; users held only by incarnations without a lease are left out.
    async fn members(
        &self,
        room: &RoomName,
        after: Option<&UserName>,
        limit: u32,
    ) -> Result<MembersPage, BackendError>;

    /// Renews this node's lease; the first call takes it.
    async fn renew(&self) -> Result<Lease, BackendError>;

    /// Takes a new incarnation with a new lease; the old one is left to be reaped.
    async fn reincarnate(&self) -> Result<(), BackendError>;

    /// Gives the lease up at the end of a drain, when all members are removed.
    async fn release(&self) -> Result<(), BackendError>;

    /// Claims an incarnation whose lease has ended, for this node alone to reap; the claim ends by itself after 30 s.
    async fn claim_expired(&self) -> Result<Option<Incarnation>, BackendError>;

    /// Some of the members that a dead incarnation left behind (one room's, at most 500); none when all are removed.
    async fn stale_members(
        &self,
        dead: &Incarnation,
    ) -> Result<Option<(RoomName, Vec<UserName>)>, BackendError>;

    /// Removes one of them, as `remove` does for the own node.
    async fn remove_stale_member(
        &self,
        dead: &Incarnation,
        room: &RoomName,
        user: &UserName,
        left: Bytes,
    ) -> Result<bool, BackendError>;

    /// Forgets a dead incarnation that has no orphans any more.
    async fn forget(&self, dead: &Incarnation) -> Result<(), BackendError>;

    /// The cluster's nodes.
    async fn nodes(&self) -> Result<Vec<NodeInfo>, BackendError>;
}
