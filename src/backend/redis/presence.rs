//! Presence in Redis. Owns the incarnation of this node and the calls of the presence scripts; does not decide when to
//! renew a lease or to remove members. Called by `chat` through [`Presence`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{Cmd, FromRedisValue};
use tokio::time::Instant;

use super::codec;
use super::error::ConnectionRole;
use super::format_level;
use super::keys::{Keys, Layout};
use super::lease_list::LeaseList;
use super::lost_slots::LostSlots;
use super::member_writer::MemberWriter;
use super::members_pager::MembersPager;
use super::rooms_pager::RoomsPager;
use super::router::Router;
use super::script::LEASE;
use super::server::Lane;
use super::slot::Slot;
use crate::backend::lease_observer::{LeaseObserver, LeaseRecord};
use crate::backend::{
    BackendError, CLAIM_DURATION, Incarnation, Lease, LostRooms, MembersPage, NodeInfo, Presence, RoomsPage,
    STALE_MEMBERS_PER_PAGE,
};
use crate::protocol::{RoomName, UserName};

/// Maximum of users that one call of `add.lua` adds.
const USERS_PER_CALL: usize = 500;

/// Maximum of concurrent calls that restore members.
const CONCURRENT_CALLS: usize = 4;

/// Maximum of expired incarnations that a node tries to claim.
const CANDIDATES: usize = 16;

/// What presence needs of the backend.
pub(super) struct PresenceTerms {
    pub(super) router: Router,
    pub(super) keys: Keys,
    /// Name of the node.
    pub(super) node: String,
    /// Duration of the lease.
    pub(super) lease: Duration,
    pub(super) members: MemberWriter,
    /// Slots of a cluster whose master has changed.
    pub(super) lost: Arc<LostSlots>,
}

/// Presence, as one node uses it.
pub(super) struct RedisPresence {
    terms: PresenceTerms,
    incarnation: Mutex<Incarnation>,
    observer: Mutex<LeaseObserver>,
    leases: LeaseList,
    /// True once the first lease was acquired.
    has_lease: AtomicBool,
    /// What this node would store in place of the run id of a server that does not tell it.
    run_value: String,
    /// Run id of the server at the last renewal. It changes when the server restarts.
    run_id: Mutex<Option<String>>,
}

impl RedisPresence {
    /// Acquires no lease: the first `renew` does.
    pub(super) fn new(terms: PresenceTerms) -> Self {
        Self {
            incarnation: Mutex::new(new_incarnation()),
            observer: Mutex::new(LeaseObserver::new(terms.lease)),
            leases: LeaseList::new(terms.router.clone(), terms.keys.leases()),
            has_lease: AtomicBool::new(false),
            run_value: format!("{:032x}", rand::random::<u128>()),
            run_id: Mutex::new(None),
            terms,
        }
    }

    fn keys(&self) -> &Keys {
        &self.terms.keys
    }

    fn router(&self) -> &Router {
        &self.terms.router
    }

    fn is_cluster(&self) -> bool {
        self.keys().layout() == Layout::Cluster
    }

    fn own(&self) -> Incarnation {
        self.incarnation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn observer(&self) -> MutexGuard<'_, LeaseObserver> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rooms_pager(&self, live: Vec<Incarnation>) -> RoomsPager<'_> {
        RoomsPager { router: self.router(), keys: self.keys(), live }
    }

    /// The incarnations whose leases run, as far as the server and this node know.
    async fn live(&self) -> Result<Vec<Incarnation>, BackendError> {
        let ended = self.ended();
        let leases: Vec<(String, String, String)> =
            self.lease_action("list", &self.own(), &[], |_| {}).await?;
        let is_live = |incarnation: &str, beat: &str| {
            let has_ended =
                ended.iter().any(|(ended, at)| (ended.as_str(), at.as_str()) == (incarnation, beat));
            !has_ended && beat.parse().is_ok_and(|beat: f64| beat > 0.0)
        };
        let live = leases.into_iter().filter(|(incarnation, _, beat)| is_live(incarnation, beat));
        Ok(live.map(|(incarnation, ..)| Incarnation(incarnation)).collect())
    }

    /// The leases that have ended for this node: incarnation and beat.
    fn ended(&self) -> Vec<(String, String)> {
        let observer = self.observer();
        observer.ended().map(|(incarnation, beat)| (incarnation.to_owned(), beat.to_owned())).collect()
    }

    async fn lease_action<T: FromRedisValue>(
        &self,
        action: &str,
        incarnation: &Incarnation,
        keys: &[String],
        fill: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<T, BackendError> {
        let all = self.keys();
        let leases = all.leases();
        self.router()
            .script((Lane::Long, &leases), &LEASE, 4 + keys.len(), |cmd| {
                cmd.arg(&leases).arg(all.nodes()).arg(all.lease_durations()).arg(all.levels()).arg(keys);
                cmd.arg(action).arg(&incarnation.0);
                fill(cmd);
            })
            .await
    }
}

/// Creates an incarnation. It is hexadecimal, because `holders` lists incarnations with spaces in between.
fn new_incarnation() -> Incarnation {
    Incarnation(format!("{:032x}", rand::random::<u128>()))
}

#[async_trait]
impl Presence for RedisPresence {
    async fn add(&self, room: &RoomName, user: &UserName, entered: Bytes) -> Result<bool, BackendError> {
        self.terms.members.add(&self.own(), room, &[(user.clone(), codec::event(None, &entered))]).await
    }

    async fn remove(&self, room: &RoomName, user: &UserName, left: Bytes) -> Result<bool, BackendError> {
        self.terms.members.remove(&self.own(), room, user, &codec::event(None, &left)).await
    }

    async fn restore_members(
        &self,
        members: &[(RoomName, UserName, Option<Bytes>)],
    ) -> Result<(), BackendError> {
        let mut sorted: Vec<&(RoomName, UserName, Option<Bytes>)> = members.iter().collect();
        sorted.sort();
        let rooms = sorted.chunk_by(|(one, ..), (other, ..)| one == other);
        let with_event = |(_, user, entered): &&(RoomName, UserName, Option<Bytes>)| {
            let event = entered.as_ref().map(|entered| codec::event(None, entered));
            (user.clone(), event.unwrap_or_default())
        };
        let batches: Vec<(RoomName, Vec<(UserName, Vec<u8>)>)> = rooms
            .flat_map(|room| room.chunks(USERS_PER_CALL))
            .map(|batch| (batch[0].0.clone(), batch.iter().map(with_event).collect()))
            .collect();
        let own = &self.own();
        stream::iter(batches)
            .map(|(room, users)| async move { self.terms.members.add(own, &room, &users).await })
            .buffer_unordered(CONCURRENT_CALLS)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    async fn members(
        &self,
        room: &RoomName,
        after: Option<&UserName>,
        limit: u32,
    ) -> Result<MembersPage, BackendError> {
        let (own, ended) = (self.own(), self.ended());
        let leases = self.is_cluster().then_some(&self.leases);
        let mut pager = MembersPager {
            router: self.router(),
            keys: self.keys(),
            own: &own,
            ended: &ended,
            leases,
            room,
            strays: Vec::new(),
        };
        let page = pager.page(after, limit as usize).await?;
        // Their incarnation has no lease: it was forgotten before the last of its entries was written.
        for (user, holder) in pager.strays {
            self.terms.members.remove(&holder, room, &user, b"").await?;
        }
        Ok(page)
    }

    async fn rooms(&self, after: Option<&RoomName>, limit: u32) -> Result<RoomsPage, BackendError> {
        let live = self.live().await?;
        let is_complete = live.contains(&self.own());
        self.rooms_pager(live).page(after, limit as usize, is_complete).await
    }

    async fn sizes(&self, rooms: &[RoomName]) -> Result<RoomsPage, BackendError> {
        let is_complete = self.live().await?.contains(&self.own());
        let rooms = self.rooms_pager(Vec::new()).sizes(rooms.to_vec()).await?;
        Ok(RoomsPage { rooms, more: false, is_complete })
    }

    async fn renew(&self) -> Result<Lease, BackendError> {
        let acquire = !self.has_lease.load(Ordering::Relaxed);
        let lease = self.terms.lease.as_millis() as u64;
        let (is_kept, run_id, was_claimed): (bool, String, bool) = self
            .lease_action("renew", &self.own(), &[self.keys().claimed(), self.keys().run()], |cmd| {
                cmd.arg(lease).arg(&self.terms.node).arg(u8::from(acquire)).arg(format_level::LEVEL);
                cmd.arg(&self.run_value);
            })
            .await?;
        self.has_lease.store(true, Ordering::Relaxed);
        // A restarted server, or another one, may have lost data, including this node's members. Restoring all members
        // costs little; a missing member would stay missing.
        let mut known = self.run_id.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same_run = known.replace(run_id.clone()).is_none_or(|known| known == run_id);
        Ok(match (is_kept && is_same_run, was_claimed) {
            (true, _) => Lease::Kept,
            (false, true) => Lease::Claimed,
            (false, false) => Lease::Lost,
        })
    }

    fn take_lost_rooms(&self) -> Option<LostRooms> {
        let (slots, keys) = (self.terms.lost.take()?, self.keys().clone());
        Some(Box::new(move |room| slots.contains(Slot::of(&keys.members(room)))))
    }

    async fn observe_leases(&self, now: Instant) -> Result<(), BackendError> {
        let leases: Vec<(String, String, String)> =
            self.lease_action("observe", &self.own(), &[], |_| {}).await?;
        let record = |(incarnation, beat, duration): (String, String, String)| LeaseRecord {
            incarnation,
            beat,
            duration: duration.parse().ok().map(Duration::from_millis),
        };
        self.observer().observe(leases.into_iter().map(record), now);
        Ok(())
    }

    async fn reincarnate(&self) -> Result<(), BackendError> {
        let lease = self.terms.lease.as_millis() as u64;
        let next = new_incarnation();
        let _: (bool, String, bool) = self
            .lease_action("renew", &next, &[self.keys().claimed(), self.keys().run()], |cmd| {
                cmd.arg(lease).arg(&self.terms.node).arg(1).arg(format_level::LEVEL).arg(&self.run_value);
            })
            .await?;
        let old = {
            let mut own = self.incarnation.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *own, next)
        };
        // If this fails, the old incarnation keeps the rest of its lease or is expired. Only an emptied Redis does not
        // know it, and then it holds no members.
        let _: bool = self
            .lease_action("retire", &old, &[], |cmd| {
                cmd.arg(lease).arg(format_level::LEVEL);
            })
            .await?;
        Ok(())
    }

    async fn release(&self) -> Result<(), BackendError> {
        self.forget(&self.own()).await
    }

    async fn claim_expired(&self) -> Result<Option<Incarnation>, BackendError> {
        let own = self.own();
        let expired: Vec<String> = self
            .lease_action("expired", &own, &[], |cmd| {
                cmd.arg(CANDIDATES);
            })
            .await?;
        let for_all = expired.into_iter().map(|incarnation| (incarnation, String::new()));
        let candidates = for_all.chain(self.ended()).take(CANDIDATES);
        for (expired, beat) in candidates.filter(|(expired, _)| *expired != own.0) {
            let expired = Incarnation(expired);
            let keys = [self.keys().claim(&expired), self.keys().claimed()];
            let claimed: bool = self
                .lease_action("claim", &expired, &keys, |cmd| {
                    cmd.arg(CLAIM_DURATION.as_millis() as u64).arg(&own.0).arg(&beat);
                })
                .await?;
            if claimed {
                return Ok(Some(expired));
            }
        }
        Ok(None)
    }

    async fn stale_members(
        &self,
        expired: &Incarnation,
    ) -> Result<Option<(RoomName, Vec<UserName>)>, BackendError> {
        let mut range = redis::cmd("ZRANGE");
        let held = self.keys().held(expired);
        range.arg(&held).arg(0).arg(STALE_MEMBERS_PER_PAGE - 1);
        let held: Vec<String> = self.router().command((Lane::Long, &held), &range).await?;
        let mut stale: Option<(RoomName, Vec<UserName>)> = None;
        for pair in held {
            let (room, user) = pair.split_once('\n').ok_or_else(|| ConnectionRole::Pool.malformed_reply())?;
            let (Ok(room), Ok(user)) = (RoomName::parse(room), UserName::parse(user)) else {
                return Err(ConnectionRole::Pool.malformed_reply());
            };
            let (first, users) = stale.get_or_insert_with(|| (room.clone(), Vec::new()));
            if *first == room {
                users.push(user);
            }
        }
        Ok(stale)
    }

    async fn remove_stale_member(
        &self,
        expired: &Incarnation,
        room: &RoomName,
        user: &UserName,
        left: Bytes,
    ) -> Result<bool, BackendError> {
        self.terms.members.remove(expired, room, user, &codec::event(None, &left)).await
    }

    async fn forget(&self, expired: &Incarnation) -> Result<(), BackendError> {
        let (held, mut keys) = (self.keys().held(expired), vec![self.keys().claim(expired)]);
        let mut count = redis::cmd("ZCARD");
        count.arg(&held);
        let holds_members =
            async || self.router().command::<u64>((Lane::Short, &held), &count).await.map(|count| count > 0);
        let is_cluster = self.is_cluster();
        let known = if is_cluster { holds_members().await? } else { false };
        if !is_cluster {
            keys.push(held.clone());
        }
        let forget = |cmd: &mut Cmd| {
            cmd.arg(u8::from(known));
        };
        let _: bool = self.lease_action("forget", expired, &keys, forget).await?;
        // A member that came in between must be found.
        if is_cluster && !known && holds_members().await? {
            let leases = self.keys().leases();
            let mut expire = redis::cmd("ZADD");
            expire.arg(&leases).arg("NX").arg(0).arg(&expired.0);
            self.router().command::<()>((Lane::Short, &leases), &expire).await?;
        }
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, BackendError> {
        let list: Vec<(String, String, String)> = self.lease_action("list", &self.own(), &[], |_| {}).await?;
        let (observer, now) = (self.observer(), Instant::now());
        let node = |(incarnation, name, beat): (String, String, String)| {
            let is_running = beat.parse().is_ok_and(|beat: f64| beat > 0.0);
            let remaining = observer.remaining(&incarnation, &beat, now);
            let lease_remaining_ms = if is_running { remaining.as_millis() as u64 } else { 0 };
            NodeInfo { name, incarnation, lease_remaining_ms }
        };
        Ok(list.into_iter().map(node).collect())
    }
}
