//! Reading the rooms of a cluster page by page. Owns the merge of what the nodes hold: no key lists all rooms, and no call looks at
//! more than a page of each node. Called by the presence store.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use redis::Pipeline;

use super::error::ConnectionRole;
use super::keys::Keys;
use super::pool::Pool;
use super::script::ROOMS;
use crate::backend::{BackendError, Incarnation, RoomSize, RoomsPage};
use crate::protocol::RoomName;

/// Maximum of concurrent calls, one for each node.
const CONCURRENT_CALLS: usize = 4;

/// Reads the rooms that these incarnations hold.
pub(super) struct RoomsPager<'a> {
    pub(super) pool: &'a Pool,
    pub(super) keys: &'a Keys,
    /// The incarnations whose leases run.
    pub(super) live: Vec<Incarnation>,
}

impl RoomsPager<'_> {
    /// Reads one page after a room. `is_complete` is the caller's to decide.
    pub(super) async fn page(
        &self,
        after: Option<&RoomName>,
        limit: usize,
        is_complete: bool,
    ) -> Result<RoomsPage, BackendError> {
        let of_each: Vec<Vec<String>> = stream::iter(self.live.clone())
            .map(|incarnation| self.held(incarnation, after, limit + 1))
            .buffer_unordered(CONCURRENT_CALLS)
            .try_collect()
            .await?;
        let names: BTreeSet<String> = of_each.into_iter().flatten().collect();
        let more = names.len() > limit;
        let names = names.into_iter().take(limit).map(|name| RoomName::parse(&name));
        let names: Vec<RoomName> =
            names.collect::<Result<_, _>>().map_err(|_| ConnectionRole::Pool.malformed_reply())?;
        let sizes = self.sizes(&names).await?;
        let rooms = names.into_iter().zip(sizes).map(|(room, count)| RoomSize { room, count }).collect();
        Ok(RoomsPage { rooms, more, is_complete })
    }

    async fn held(
        &self,
        incarnation: Incarnation,
        after: Option<&RoomName>,
        limit: usize,
    ) -> Result<Vec<String>, BackendError> {
        let after = after.map_or("", RoomName::as_str);
        self.pool
            .script(&ROOMS, 1, |cmd| {
                cmd.arg(self.keys.held(&incarnation)).arg(after).arg(limit);
            })
            .await
    }

    async fn sizes(&self, rooms: &[RoomName]) -> Result<Vec<u64>, BackendError> {
        // An empty pipeline is an error.
        if rooms.is_empty() {
            return Ok(Vec::new());
        }
        let mut sizes = Pipeline::with_capacity(rooms.len());
        for room in rooms {
            sizes.cmd("ZCARD").arg(self.keys.members(room));
        }
        self.pool.pipeline(&sizes).await
    }
}
