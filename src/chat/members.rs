//! Lists of rooms and of their members. Owns the rule that presence is unknown, and never empty, while leases can't be renewed; the
//! store has the lists. Called by `Members` and by the server API.

use std::sync::Arc;

use super::answer_size;
use super::error::RequestError;
use super::lease_health::LeaseHealth;
use super::listed_rooms::ListedRooms;
use super::read_slots::ReadSlots;
use super::send_budget::{ANSWER_BYTES, SendBudget};
use crate::backend::{MembersPage, Owner, Presence, RoomSize, RoomsPage};
use crate::protocol::requests::ListedRoom;
use crate::protocol::{Outcome, RoomName, UserName, encode};

/// A name of one letter in a list: its quotes, and the comma behind it.
const SHORTEST_NAME: usize = 4;

/// How many names are read at first: enough for most rooms. How long they are tells how many more fit.
const FIRST_NAMES: u32 = 128;

/// A page, and what it cost.
pub(super) struct ReadPage {
    /// The names.
    pub(super) page: MembersPage,
    /// Bytes of the names that were read for it, those included that did not fit.
    pub(super) bytes_read: usize,
}

/// Reads who is in a room, in the whole cluster.
pub struct MembersReader {
    presence: Arc<dyn Presence>,
    health: Arc<LeaseHealth>,
    slots: Arc<ReadSlots>,
    queued: Arc<SendBudget>,
}

impl MembersReader {
    pub(super) fn new(
        presence: Arc<dyn Presence>,
        health: Arc<LeaseHealth>,
        slots: Arc<ReadSlots>,
        queued: Arc<SendBudget>,
    ) -> Self {
        Self { presence, health, slots, queued }
    }

    /// A page of a room's members, of at most 256 KiB.
    ///
    /// # Errors
    /// As for [`MembersReader::read`].
    pub async fn page(
        &self,
        room: &RoomName,
        after: Option<&UserName>,
        limit: u32,
    ) -> Result<MembersPage, RequestError> {
        Ok(self.read(room, after, limit, ANSWER_BYTES, None).await?.page)
    }

    /// A page of the rooms that have members, in the whole cluster.
    ///
    /// # Errors
    /// As for [`MembersReader::read`].
    pub async fn rooms(&self, after: Option<&RoomName>, limit: u32) -> Result<RoomsPage, RequestError> {
        let unknown = || RequestError::unavailable(Outcome::Refused);
        if !self.health.knows_presence() {
            return Err(unknown());
        }
        let _slot = self.slots.take(None).await;
        let page = self.presence.rooms(after, limit).await?;
        if page.is_complete && self.health.knows_presence() { Ok(page) } else { Err(unknown()) }
    }

    /// A page of the rooms that users can find, with as many as fit into so many bytes of JSON, at least one. An owner reads one
    /// page at a time.
    ///
    /// # Errors
    /// As for [`MembersReader::read`].
    pub(super) async fn listed(
        &self,
        listed: &ListedRooms,
        after: Option<&RoomName>,
        limit: u32,
        bytes: usize,
        owner: Owner,
    ) -> Result<RoomsPage, RequestError> {
        if listed.is_empty() {
            return Ok(RoomsPage { rooms: Vec::new(), more: false, is_complete: true });
        }
        let unknown = || RequestError::unavailable(Outcome::Refused);
        if !self.health.knows_presence() {
            return Err(unknown());
        }
        let _slot = self.slots.take(Some(owner)).await;
        let mut page = listed.page(&*self.presence, after, limit).await?;
        if !page.is_complete || !self.health.knows_presence() {
            return Err(unknown());
        }
        let size = |size: &RoomSize| encode::string_bytes(size.room.as_str()) + ListedRoom::KEYS_BYTES;
        let count = answer_size::fitting(page.rooms.iter().map(size), bytes.min(self.queued.answer_bytes()));
        page.more |= count < page.rooms.len();
        page.rooms.truncate(count);
        Ok(page)
    }

    /// A page of a room's members, with as many names as fit into so many bytes of JSON, at least one. An owner reads one page
    /// at a time.
    ///
    /// # Errors
    /// The store does not answer, or presence is unknown: the leases may have expired because they can't be renewed, or the
    /// store may have been emptied. Then it lists users as absent that are present.
    pub(super) async fn read(
        &self,
        room: &RoomName,
        after: Option<&UserName>,
        limit: u32,
        bytes: usize,
        owner: Option<Owner>,
    ) -> Result<ReadPage, RequestError> {
        let unknown = || RequestError::unavailable(Outcome::Refused);
        if !self.health.knows_presence() {
            return Err(unknown());
        }
        let _slot = self.slots.take(owner).await;
        let bytes = bytes.min(self.queued.answer_bytes());
        let page = self.names(room, after, limit.min(most_names(bytes)), bytes).await?;
        // Again: the answer of a store that stood still is of a time when the leases had expired.
        if !page.is_complete || !self.health.knows_presence() {
            return Err(unknown());
        }
        let bytes_read = page.members.iter().map(|name| name.as_str().len()).sum();
        Ok(ReadPage { page: cut(page, bytes), bytes_read })
    }

    /// Up to `limit` names, and not many more than fit into so many bytes: longer names would be read only to be cut.
    async fn names(
        &self,
        room: &RoomName,
        after: Option<&UserName>,
        limit: u32,
        bytes: usize,
    ) -> Result<MembersPage, RequestError> {
        let mut page = self.presence.members(room, after, limit.min(FIRST_NAMES)).await?;
        while page.more
            && let Some(last) = page.members.last()
        {
            let taken: usize = page.members.iter().map(answer_size::name_bytes).sum();
            let left = limit as usize - page.members.len();
            let fitting = bytes.saturating_sub(taken) / (taken / page.members.len()).max(1);
            let next = u32::try_from(left.min(fitting)).unwrap_or(u32::MAX);
            if next == 0 {
                break;
            }
            let further = self.presence.members(room, Some(last), next).await?;
            page.members.extend(further.members);
            (page.count, page.more) = (further.count, further.more);
            page.is_complete &= further.is_complete;
        }
        Ok(page)
    }
}

/// How many names at most fit into so many bytes.
fn most_names(bytes: usize) -> u32 {
    u32::try_from(bytes / SHORTEST_NAME).unwrap_or(u32::MAX).max(1)
}

/// The page with as many of its first names as fit into so many bytes of JSON, at least one.
fn cut(mut page: MembersPage, bytes: usize) -> MembersPage {
    let count = answer_size::fitting(page.members.iter().map(answer_size::name_bytes), bytes);
    if count < page.members.len() {
        page.members.truncate(count);
        page.more = true;
    }
    page
}
