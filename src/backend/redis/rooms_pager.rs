//! Reading the rooms of a cluster page by page. Owns the merge of what the nodes hold: no key lists all rooms, and no call looks at
//! more than a page of each node. Called by the presence store.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{Cmd, Pipeline, from_redis_value};

use super::error::ConnectionRole;
use super::keys::Keys;
use super::router::Router;
use super::script::ROOMS;
use super::server::Lane;
use crate::backend::{BackendError, Incarnation, RoomSize, RoomsPage};
use crate::protocol::RoomName;

/// Maximum of concurrent calls, one for each node.
const CONCURRENT_CALLS: usize = 4;

/// Reads the rooms that these incarnations hold.
pub(super) struct RoomsPager<'a> {
    pub(super) router: &'a Router,
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
        Ok(RoomsPage { rooms: self.sizes(names).await?, more, is_complete })
    }

    async fn held(
        &self,
        incarnation: Incarnation,
        after: Option<&RoomName>,
        limit: usize,
    ) -> Result<Vec<String>, BackendError> {
        let after = after.map_or("", RoomName::as_str);
        let held = self.keys.held(&incarnation);
        let fill = |cmd: &mut Cmd| {
            cmd.arg(&held).arg(after).arg(limit);
        };
        self.router.script((Lane::Long, &held), &ROOMS, 1, fill).await
    }

    /// Adds to each room how many members it has.
    pub(super) async fn sizes(&self, rooms: Vec<RoomName>) -> Result<Vec<RoomSize>, BackendError> {
        let keys: Vec<String> = rooms.iter().map(|room| self.keys.members(room)).collect();
        let count = |pipeline: &mut Pipeline, key: &str| {
            pipeline.cmd("ZCARD").arg(key);
        };
        let malformed = || ConnectionRole::Pool.malformed_reply();
        let sizes = self.router.for_each_key(Lane::Long, &keys, 1, count).await.into_iter();
        let counts =
            sizes.map(|size| from_redis_value(size?.pop().ok_or_else(malformed)?).map_err(|_| malformed()));
        rooms.into_iter().zip(counts).map(|(room, count)| Ok(RoomSize { room, count: count? })).collect()
    }
}
