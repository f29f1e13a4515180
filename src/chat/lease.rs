//! A node's lease on its members. Owns the heartbeat: renewing, entering all again after a doubt, reaping nodes whose lease
//! has ended; who is in which room is presence's. A background task of the node.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::presence::{Key, LocalMembership, LocalPresence};
use crate::backend::{BackendError, Incarnation, Lease};
use crate::protocol::server_message;

/// Members entered again in one call: few enough that even in as many rooms, far from the store, it ends within a lease.
const ASSERT_AT_ONCE: usize = 100;
/// Members of a dead node removed at a time: others wait for the same connections.
const REAP_AT_ONCE: usize = 4;

impl LocalPresence {
    /// Renews the lease every `heartbeat`; with it, makes up for departures that the store did not hear of, enters all
    /// members again after a lost lease, and reaps nodes whose lease has ended. Ends when the node stops.
    pub(super) async fn keep_lease(&self, heartbeat: Duration, lease: Duration, stop: CancellationToken) {
        let mut tick = interval(heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed_at = Instant::now();
        let mut steady_since = Instant::now();
        let (mut unsure, mut reaping) = (Vec::new(), None);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            // This node may itself have stood still for longer than a lease, and so may the store: then every lease has
            // ended, and nobody is dead.
            if renewed_at.elapsed() > lease {
                steady_since = Instant::now();
            }
            match self.renew().await {
                Ok(Lease::Kept) => renewed_at = Instant::now(),
                Ok(Lease::Lost) => {
                    renewed_at = Instant::now();
                    steady_since = Instant::now();
                }
                Err(error) => {
                    tracing::debug!(%error, "the lease could not be renewed");
                    steady_since = Instant::now();
                    continue;
                }
            }
            // Between two renewals, however much there is to do and however slow the store: a node that forgot its own
            // lease over it would be the next to be reaped.
            let until = Instant::now() + heartbeat / 2;
            if let Err(error) = self.enter_again(&mut unsure, until).await {
                tracing::debug!(%error, "the members could not be entered again yet");
                steady_since = Instant::now();
                continue;
            }
            self.requeue();
            if steady_since.elapsed() >= lease
                && let Err(error) = self.reap(&mut reaping, until).await
            {
                tracing::debug!(%error, "dead nodes could not be reaped yet");
            }
        }
    }

    async fn renew(&self) -> Result<Lease, BackendError> {
        let lease = self.backend.renew().await.inspect_err(|_| self.doubt())?;
        if lease == Lease::Lost {
            tracing::warn!("the presence lease was lost; this node goes on under a new one");
            self.doubt();
            self.backend.reincarnate().await?;
        }
        Ok(lease)
    }

    /// The store may have lost members that it had acknowledged (it was away, and may be another one now): the next
    /// heartbeat enters all again.
    fn doubt(&self) {
        self.needs_reassert.store(true, Ordering::Release);
    }

    /// After a doubt, enters all members again, until that is done or the time is up; `unsure` are those still to come.
    async fn enter_again(
        &self,
        unsure: &mut Vec<Arc<LocalMembership>>,
        until: Instant,
    ) -> Result<(), BackendError> {
        if self.needs_reassert.swap(false, Ordering::AcqRel) {
            *unsure = self.memberships().values().cloned().collect();
        }
        while !unsure.is_empty() && Instant::now() < until {
            let memberships = unsure.split_off(unsure.len().saturating_sub(ASSERT_AT_ONCE));
            if let Err(error) = self.assert(&memberships).await {
                unsure.extend(memberships);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn assert(&self, memberships: &[Arc<LocalMembership>]) -> Result<(), BackendError> {
        let is_here = |membership: &LocalMembership| membership.connections.load(Ordering::Acquire) > 0;
        let keys: Vec<Key> =
            memberships.iter().filter(|s| is_here(s)).map(|membership| membership.key.clone()).collect();
        self.backend.restore_members(&keys).await?;
        // Somebody may have left while it was written, and the store have heard of it before it heard of this.
        for membership in memberships.iter().filter(|membership| !is_here(membership)) {
            self.settle_as_entered(&membership.key).await?;
        }
        Ok(())
    }

    /// Removes what dead nodes hold, until there is none or the time is up; `reaping` is who is not done with. Where the
    /// claim ends meanwhile, another node helps: each user is removed, and told of, once all the same.
    async fn reap(&self, reaping: &mut Option<Incarnation>, until: Instant) -> Result<(), BackendError> {
        while Instant::now() < until {
            let dead = match reaping {
                Some(dead) => dead,
                None => match self.backend.claim_expired().await? {
                    Some(dead) => {
                        tracing::info!(
                            incarnation = dead.0,
                            "removing the members of a node whose lease has ended"
                        );
                        reaping.insert(dead)
                    }
                    None => return Ok(()),
                },
            };
            let Some((room, users)) = self.backend.stale_members(dead).await? else {
                self.backend.forget(dead).await?;
                *reaping = None;
                continue;
            };
            for users in users.chunks(REAP_AT_ONCE) {
                if Instant::now() >= until {
                    return Ok(());
                }
                let removals = users.iter().map(|user| {
                    let left = server_message::left(&room, user);
                    self.backend.remove_stale_member(dead, &room, user, left)
                });
                try_join_all(removals).await?;
            }
        }
        Ok(())
    }
}
