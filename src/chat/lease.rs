//! A node's lease on its members. Owns the heartbeat: renewing the lease, adding all members again where the store may
//! have lost them, and removing the members of nodes whose lease has expired. Which users are in which rooms is
//! `presence`'s. A background task of the node.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::lease_health::LeaseHealth;
use super::presence::{Key, LocalMembership, LocalPresence};
use crate::backend::{BackendError, Incarnation, Lease, Presence};
use crate::protocol::events::{Enter, Leave};
use crate::protocol::{RoomName, UserName, encode};

/// Members added again in one call: few enough that even in as many rooms, far from the store, it ends within a lease.
const RESTORE_AT_ONCE: usize = 100;
/// Members of an expired node removed at a time: others wait for the same connections.
const REAP_AT_ONCE: usize = 4;

/// Renews the lease. Holds the state between two heartbeats.
pub(super) struct LeaseKeeper {
    presence: Arc<LocalPresence>,
    backend: Arc<dyn Presence>,
    heartbeat: Duration,
    lease: Duration,
    health: Arc<LeaseHealth>,
    /// Memberships still to be added again.
    to_restore: Vec<Arc<LocalMembership>>,
    /// Other nodes have removed members and published their `Leave`: each one that is added again enters again.
    announces_restored: bool,
    /// The expired incarnation whose members are being removed.
    reaping: Option<Incarnation>,
}

impl LeaseKeeper {
    /// Renews a lease of length `lease` once per `heartbeat`.
    pub(super) fn new(
        presence: Arc<LocalPresence>,
        backend: Arc<dyn Presence>,
        heartbeat: Duration,
        lease: Duration,
        health: Arc<LeaseHealth>,
    ) -> Self {
        Self {
            presence,
            backend,
            heartbeat,
            lease,
            health,
            to_restore: Vec::new(),
            announces_restored: false,
            reaping: None,
        }
    }

    /// Renews the lease until the node stops. With each renewal it also tells the store of departures that it does not
    /// know of, adds all members again after a lost lease, and reaps nodes whose lease has expired.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut tick = interval(self.heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed_at = Instant::now();
        let mut steady_since = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            // This node may itself have stood still for longer than a lease, and so may the store: then every lease has
            // expired, and no node is dead.
            if renewed_at.elapsed() > self.lease {
                steady_since = Instant::now();
            }
            let renewed = match self.renew().await {
                Ok(renewed) => renewed,
                Err(error) => {
                    tracing::debug!(%error, "the presence lease could not be renewed");
                    steady_since = Instant::now();
                    // Soon: until every node has renewed its lease again, presence is unknown.
                    tick.reset_after(self.heartbeat / 5);
                    continue;
                }
            };
            renewed_at = Instant::now();
            if renewed != Lease::Kept {
                steady_since = Instant::now();
            }
            self.health.record(renewed);
            // Between two renewals, however much there is to do and however slow the store is: a node that forgot its
            // own lease over it would be the next to be reaped.
            let until = Instant::now() + self.heartbeat / 2;
            if let Err(error) = self.backend.observe_leases(Instant::now()).await {
                tracing::debug!(%error, "the leases of other nodes could not be read");
                steady_since = Instant::now();
                continue;
            }
            if let Err(error) = self.restore(until).await {
                tracing::debug!(%error, "the members could not be added again yet");
                steady_since = Instant::now();
                continue;
            }
            if renewed != Lease::Kept {
                self.health.record_restored();
            }
            self.presence.requeue_departures();
            if steady_since.elapsed() >= self.lease
                && let Err(error) = self.reap(until).await
            {
                tracing::debug!(%error, "the members of expired nodes could not be removed yet");
            }
        }
    }

    async fn renew(&mut self) -> Result<Lease, BackendError> {
        let lease = self.backend.renew().await.inspect_err(|_| self.presence.mark_for_restore())?;
        self.announces_restored |= lease == Lease::Claimed;
        if lease != Lease::Kept {
            tracing::warn!("the presence lease was lost; this node continues under a new one");
            self.presence.mark_for_restore();
            self.backend.reincarnate().await?;
        }
        Ok(lease)
    }

    /// Where the store may have lost members, adds all of them again, until that is done or the time is up.
    async fn restore(&mut self, until: Instant) -> Result<(), BackendError> {
        let lost_rooms = self.backend.take_lost_rooms();
        if self.presence.take_restore() {
            self.to_restore = self.presence.all();
        } else if let Some(is_lost) = lost_rooms {
            let all = self.presence.all().into_iter();
            self.to_restore.extend(all.filter(|membership| is_lost(&membership.key.0)));
        }
        while !self.to_restore.is_empty() && Instant::now() < until {
            let start = self.to_restore.len().saturating_sub(RESTORE_AT_ONCE);
            let memberships = self.to_restore.split_off(start);
            if let Err(error) = self.restore_batch(&memberships).await {
                self.to_restore.extend(memberships);
                return Err(error);
            }
        }
        self.announces_restored &= !self.to_restore.is_empty();
        Ok(())
    }

    async fn restore_batch(&self, memberships: &[Arc<LocalMembership>]) -> Result<(), BackendError> {
        let here = memberships.iter().filter(|membership| membership.is_here());
        let restored: Vec<(RoomName, UserName, Option<Bytes>)> =
            here.map(|membership| self.restored(&membership.key)).collect();
        self.backend.restore_members(&restored).await?;
        // A user may have left while this was written, and the store may have heard of that first.
        for membership in memberships.iter().filter(|membership| !membership.is_here()) {
            self.presence.settle_unsure(&membership.key).await?;
        }
        Ok(())
    }

    /// A member that is added again, with the event for the others.
    fn restored(&self, (room, user): &Key) -> (RoomName, UserName, Option<Bytes>) {
        let entered = || encode::event_json(&Enter { sender_username: user.clone(), room: room.clone() });
        (room.clone(), user.clone(), self.announces_restored.then(entered))
    }

    /// Removes what expired nodes hold, until there is nothing left or the time is up. If this node's claim expires
    /// meanwhile, another node helps: each user is still removed and announced once.
    async fn reap(&mut self, until: Instant) -> Result<(), BackendError> {
        while Instant::now() < until {
            let expired = match &self.reaping {
                Some(expired) => expired,
                None => match self.backend.claim_expired().await? {
                    Some(expired) => {
                        tracing::info!(
                            incarnation = expired.0,
                            "removing the members of a node whose lease has expired"
                        );
                        self.reaping.insert(expired)
                    }
                    None => return Ok(()),
                },
            };
            let Some((room, users)) = self.backend.stale_members(expired).await? else {
                self.backend.forget(expired).await?;
                self.reaping = None;
                continue;
            };
            for users in users.chunks(REAP_AT_ONCE) {
                if Instant::now() >= until {
                    return Ok(());
                }
                let removals = users.iter().map(|user| {
                    let left = Leave { sender_username: user.clone(), room: room.clone() };
                    self.backend.remove_stale_member(expired, &room, user, encode::event_json(&left))
                });
                try_join_all(removals).await?;
            }
        }
        Ok(())
    }
}
