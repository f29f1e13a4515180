//! Lists of a room's members. Owns the rule that presence is unknown, and never empty, while leases can't be renewed; the
//! store has the lists. Called by `Members` and by the server API.

use std::sync::Arc;

use super::error::RequestError;
use super::lease_health::LeaseHealth;
use crate::backend::{MembersPage, Presence};
use crate::protocol::{Outcome, RoomName, UserName};

/// Reads who is in a room, in the whole cluster.
pub struct MembersReader {
    presence: Arc<dyn Presence>,
    health: Arc<LeaseHealth>,
}

impl MembersReader {
    pub(super) fn new(presence: Arc<dyn Presence>, health: Arc<LeaseHealth>) -> Self {
        Self { presence, health }
    }

    /// A page of a room's members.
    ///
    /// # Errors
    /// The store does not answer, or presence is unknown: the leases may have expired because they can't be renewed, and
    /// then the store lists users as absent that are present.
    pub async fn page(
        &self,
        room: &RoomName,
        after: Option<&UserName>,
        limit: u32,
    ) -> Result<MembersPage, RequestError> {
        let unknown = || RequestError::unavailable(Outcome::Refused);
        if !self.health.knows_presence() {
            return Err(unknown());
        }
        let page = self.presence.members(room, after, limit).await?;
        // Again: the answer of a store that stood still is of a time when the leases had expired.
        if self.health.knows_presence() { Ok(page) } else { Err(unknown()) }
    }
}
