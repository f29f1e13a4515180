//! Presence over Redis. Owns this node's incarnation and the calls of the presence scripts; decides nothing about when
//! to renew, reap or assert. Called by `chat` through [`Presence`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{Cmd, FromRedisValue};

use super::codec;
use super::error::ConnectionRole;
use super::keys::Keys;
use super::pool::Pool;
use super::script::{ADD, LEASE, MEMBERS, REMOVE};
use crate::backend::{BackendError, Incarnation, Lease, MembersPage, NodeInfo, Presence};
use crate::failpoints::{self, Failpoint};
use crate::protocol::{RoomName, Topic, UserName};

/// How long a claim on a dead incarnation lasts.
const CLAIM: Duration = Duration::from_secs(30);

/// The most orphans at a time, users entered by one script, and rooms entered at a time.
const ORPHANS: usize = 500;
const USERS_PER_SCRIPT: usize = 500;
const ROOMS_AT_ONCE: usize = 4;

/// Names that one script looks at: a room of any size blocks nobody for long.
const NAMES_PER_SCRIPT: usize = 1_000;

/// Dead incarnations that are looked at for one to claim.
const CANDIDATES: usize = 16;

/// The presence of one node.
pub(super) struct RedisPresence {
    pool: Pool,
    keys: Keys,
    node: String,
    lease: Duration,
    quiet_above: usize,
    incarnation: Mutex<Incarnation>,
    /// The first lease has been taken.
    taken: AtomicBool,
    /// The run of the server at the last renewal.
    run: Mutex<Option<String>>,
}

impl RedisPresence {
    /// Takes no lease yet: that is the first `renew`.
    pub(super) fn new(pool: Pool, keys: Keys, node: String, lease: Duration, quiet_above: usize) -> Self {
        let lease = if failpoints::is(Failpoint::NoLease) { lease * 1_000 } else { lease };
        Self {
            pool,
            keys,
            node,
            lease,
            quiet_above,
            incarnation: Mutex::new(new_incarnation()),
            taken: AtomicBool::new(false),
            run: Mutex::new(None),
        }
    }

    fn own(&self) -> Incarnation {
        self.incarnation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn lease_action<T: FromRedisValue>(
        &self,
        action: &str,
        incarnation: &Incarnation,
        keys: &[String],
        fill: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<T, BackendError> {
        self.pool
            .script(&LEASE, 2 + keys.len(), |cmd| {
                cmd.arg(self.keys.leases()).arg(self.keys.nodes()).arg(keys);
                cmd.arg(action).arg(&incarnation.0);
                fill(cmd);
            })
            .await
    }

    async fn enter(&self, room: &RoomName, users: &[UserName], event: &[u8]) -> Result<bool, BackendError> {
        let own = self.own();
        let channel = self.keys.channel(&Topic::Room(room.clone()));
        self.pool
            .script(&ADD, 4, |cmd| {
                cmd.arg(self.keys.members(room)).arg(self.keys.holders(room));
                cmd.arg(self.keys.held(&own)).arg(self.keys.leases());
                cmd.arg(&own.0).arg(room.as_str()).arg(&channel).arg(event).arg(self.quiet_above);
                for user in users {
                    cmd.arg(user.as_str());
                }
            })
            .await
    }

    async fn take_out(
        &self,
        holder: &Incarnation,
        room: &RoomName,
        user: &UserName,
        left: &[u8],
    ) -> Result<bool, BackendError> {
        let event = codec::event(None, left);
        let channel = self.keys.channel(&Topic::Room(room.clone()));
        self.pool
            .script(&REMOVE, 3, |cmd| {
                cmd.arg(self.keys.members(room)).arg(self.keys.holders(room)).arg(self.keys.held(holder));
                cmd.arg(&holder.0).arg(room.as_str()).arg(&channel).arg(&event).arg(self.quiet_above);
                cmd.arg(user.as_str());
            })
            .await
    }
}

/// Hexadecimal, so that it can stand in a list with spaces between.
fn new_incarnation() -> Incarnation {
    Incarnation(format!("{:032x}", rand::random::<u128>()))
}

#[async_trait]
impl Presence for RedisPresence {
    async fn add(&self, room: &RoomName, user: &UserName, entered: Bytes) -> Result<bool, BackendError> {
        self.enter(room, std::slice::from_ref(user), &codec::event(None, &entered)).await
    }

    async fn remove(&self, room: &RoomName, user: &UserName, left: Bytes) -> Result<bool, BackendError> {
        self.take_out(&self.own(), room, user, &left).await
    }

    async fn restore_members(&self, members: &[(RoomName, UserName)]) -> Result<(), BackendError> {
        let mut sorted: Vec<&(RoomName, UserName)> = members.iter().collect();
        sorted.sort();
        let rooms = sorted.chunk_by(|(one, _), (other, _)| one == other);
        let batches: Vec<(RoomName, Vec<UserName>)> = rooms
            .flat_map(|room| room.chunks(USERS_PER_SCRIPT))
            .map(|batch| (batch[0].0.clone(), batch.iter().map(|(_, user)| user.clone()).collect()))
            .collect();
        stream::iter(batches)
            .map(|(room, users)| async move { self.enter(&room, &users, b"").await })
            .buffer_unordered(ROOMS_AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    async fn members(
        &self,
        room: &RoomName,
        after: Option<&UserName>,
        limit: u32,
    ) -> Result<MembersPage, BackendError> {
        let own = self.own();
        let limit = limit as usize;
        let mut page = MembersPage { members: Vec::new(), count: 0, more: false };
        let start = after.map_or_else(|| "-".to_owned(), |name| format!("({name}"));
        let (mut counted, mut bound) = (0, start.clone());
        loop {
            let look_at = NAMES_PER_SCRIPT.min((limit + 1).max(1));
            let piece: (bool, u64, String, usize, Vec<String>) = self
                .pool
                .script(&MEMBERS, 4, |cmd| {
                    cmd.arg(self.keys.members(room)).arg(self.keys.holders(room));
                    cmd.arg(self.keys.leases()).arg(self.keys.nodes());
                    cmd.arg(&own.0).arg(&bound).arg(look_at);
                })
                .await?;
            let (all_alive, size, last, looked_at, names) = piece;
            counted += names.len() as u64;
            page.members.extend(names.iter().filter_map(|name| UserName::parse(name).ok()));
            let ended = looked_at < look_at;
            page.count = size;
            if page.members.len() > limit || ended {
                page.more = page.members.len() > limit;
                page.members.truncate(limit);
                if all_alive {
                    return Ok(page);
                }
                // Somebody is dead: what counts has to be looked at, name by name.
                let before = if after.is_some() { self.count(&own, room, "-", after).await? } else { 0 };
                let rest = if ended { 0 } else { self.count(&own, room, &format!("({last}"), None).await? };
                page.count = before + counted + rest;
                return Ok(page);
            }
            bound = format!("({last}");
        }
    }

    async fn renew(&self) -> Result<Lease, BackendError> {
        let take = !self.taken.load(Ordering::Relaxed);
        let lease = self.lease.as_millis() as u64;
        let (stands, run): (bool, String) = self
            .lease_action("renew", &self.own(), &[], |cmd| {
                cmd.arg(lease).arg(&self.node).arg(u8::from(take));
            })
            .await?;
        self.taken.store(true, Ordering::Relaxed);
        // Another run of the server, or another server, may have come back with less than it had, this node's lease
        // included: to enter all again costs little, to miss a user would last.
        let mut known = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        let same = known.replace(run.clone()).is_none_or(|known| known == run);
        Ok(if stands && same { Lease::Kept } else { Lease::Lost })
    }

    async fn reincarnate(&self) -> Result<(), BackendError> {
        let lease = self.lease.as_millis() as u64;
        let next = new_incarnation();
        let _: (bool, String) = self
            .lease_action("renew", &next, &[], |cmd| {
                cmd.arg(lease).arg(&self.node).arg(1);
            })
            .await?;
        let old = {
            let mut own = self.incarnation.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *own, next)
        };
        // If this fails, the old one is still there with what is left of its lease, or dead; only where Redis came
        // back empty it is not, and then it holds nobody.
        let _: bool = self
            .lease_action("retire", &old, &[], |cmd| {
                cmd.arg(lease);
            })
            .await?;
        Ok(())
    }

    async fn release(&self) -> Result<(), BackendError> {
        self.forget(&self.own()).await
    }

    async fn claim_expired(&self) -> Result<Option<Incarnation>, BackendError> {
        let own = self.own();
        let ended: Vec<String> = self
            .lease_action("ended", &own, &[], |cmd| {
                cmd.arg(CANDIDATES);
            })
            .await?;
        for dead in ended.into_iter().map(Incarnation).filter(|dead| *dead != own) {
            let claimed: bool = self
                .lease_action("claim", &dead, &[self.keys.claim(&dead)], |cmd| {
                    cmd.arg(CLAIM.as_millis() as u64).arg(&own.0);
                })
                .await?;
            if claimed {
                return Ok(Some(dead));
            }
        }
        Ok(None)
    }

    async fn stale_members(
        &self,
        dead: &Incarnation,
    ) -> Result<Option<(RoomName, Vec<UserName>)>, BackendError> {
        let mut range = redis::cmd("ZRANGE");
        range.arg(self.keys.held(dead)).arg(0).arg(ORPHANS - 1);
        let held: Vec<String> = self.pool.command(&range).await?;
        let mut orphans: Option<(RoomName, Vec<UserName>)> = None;
        for pair in held {
            let (room, user) = pair.split_once('\n').ok_or_else(|| ConnectionRole::Pool.malformed_reply())?;
            let (Ok(room), Ok(user)) = (RoomName::parse(room), UserName::parse(user)) else {
                return Err(ConnectionRole::Pool.malformed_reply());
            };
            // Sorted by room: the first room's are the first.
            let (first, users) = orphans.get_or_insert_with(|| (room.clone(), Vec::new()));
            if *first != room {
                break;
            }
            users.push(user);
        }
        Ok(orphans)
    }

    async fn remove_stale_member(
        &self,
        dead: &Incarnation,
        room: &RoomName,
        user: &UserName,
        left: Bytes,
    ) -> Result<bool, BackendError> {
        self.take_out(dead, room, user, &left).await
    }

    async fn forget(&self, dead: &Incarnation) -> Result<(), BackendError> {
        let keys = [self.keys.held(dead), self.keys.claim(dead)];
        let _: bool = self.lease_action("bury", dead, &keys, |_| {}).await?;
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeInfo>, BackendError> {
        let list: Vec<(String, String, u64)> = self.lease_action("list", &self.own(), &[], |_| {}).await?;
        let node =
            |(incarnation, name, lease_remaining_ms)| NodeInfo { name, incarnation, lease_remaining_ms };
        Ok(list.into_iter().map(node).collect())
    }
}

impl RedisPresence {
    /// The members that count, from a bound on, up to a name and with it.
    async fn count(
        &self,
        own: &Incarnation,
        room: &RoomName,
        from: &str,
        to: Option<&UserName>,
    ) -> Result<u64, BackendError> {
        let (mut bound, mut count) = (from.to_owned(), 0);
        loop {
            let piece: (bool, u64, String, usize, Vec<String>) = self
                .pool
                .script(&MEMBERS, 4, |cmd| {
                    cmd.arg(self.keys.members(room)).arg(self.keys.holders(room));
                    cmd.arg(self.keys.leases()).arg(self.keys.nodes());
                    cmd.arg(&own.0).arg(&bound).arg(NAMES_PER_SCRIPT);
                })
                .await?;
            let (_, _, last, looked_at, names) = piece;
            let within = |name: &&String| to.is_none_or(|to| name.as_str() <= to.as_str());
            count += names.iter().filter(within).count() as u64;
            if looked_at < NAMES_PER_SCRIPT || to.is_some_and(|to| last.as_str() >= to.as_str()) {
                return Ok(count);
            }
            bound = format!("({last}");
        }
    }
}
