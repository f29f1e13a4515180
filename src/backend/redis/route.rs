//! The way of one call through a Redis Cluster. Owns which server is asked next after a redirect, how long the pauses are, and when
//! to give up; sends nothing. Used by the router.
//!
//! Only what was surely not executed is asked again. After a lost connection or a late reply the caller is told that the outcome is
//! unknown.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::time::{Instant, timeout_at};

use super::error::ConnectionRole;
use super::redirect::{Failure, Redirect};
use super::server::Server;
use super::slot::Slot;
use super::slot_reader::RefreshSignal;
use super::topology::TopologyWatch;
use crate::backend::BackendError;
use crate::metrics::REDIS_REDIRECTS;

/// How often a call follows `MOVED`.
const MAX_MOVES: u32 = 5;

/// First pause while a slot is moving. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Longest pause while a slot is moving.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// Pause while a server can't serve a slot.
const DOWN_PAUSE: Duration = Duration::from_millis(100);

/// Where a call goes.
pub(super) struct Route<'a> {
    topology: TopologyWatch,
    refresh: &'a RefreshSignal,
    slot: Slot,
    deadline: Instant,
    moves: u32,
    pause: Duration,
    /// The server that the last reply named, and whether it has to be asked for a slot that is only moving there.
    named: Option<(Arc<Server>, bool)>,
    /// The server that the slot is leaving, if the last reply said that it is moving and the keys are gone.
    source: Option<Arc<Server>>,
}

impl<'a> Route<'a> {
    /// The way of a call for keys of this slot.
    pub(super) fn new(
        topology: &TopologyWatch,
        refresh: &'a RefreshSignal,
        slot: Slot,
        deadline: Instant,
    ) -> Self {
        let topology = topology.newer();
        Self { topology, refresh, slot, deadline, moves: 0, pause: FIRST_PAUSE, named: None, source: None }
    }

    /// The server to ask, and whether to ask it for a slot that is only moving there.
    pub(super) async fn next(&mut self) -> Result<(Arc<Server>, bool), BackendError> {
        if let Some(named) = self.named.take() {
            return Ok(named);
        }
        self.source = None;
        loop {
            if let Some(owner) = self.topology.now().owner(self.slot) {
                return Ok((owner.clone(), false));
            }
            self.refresh.raise(None);
            if timeout_at(self.deadline, self.topology.changed()).await.is_err() {
                return Err(ConnectionRole::Command.nobody());
            }
        }
    }

    /// After a call for a slot that is only moving to the server that answered: the server which it leaves.
    pub(super) fn into_source(self) -> Option<Arc<Server>> {
        self.source
    }

    /// Decides what follows the failure of a call to `asked`. Returns an error if the caller is to be told.
    pub(super) async fn after(&mut self, failure: Failure, asked: &Arc<Server>) -> Result<(), BackendError> {
        let Some(redirect) = failure.redirect else {
            // A failover begins with lost connections and late replies.
            if matches!(failure.error, BackendError::Unknown(_)) {
                self.refresh.raise(None);
            }
            return Err(failure.error);
        };
        counter!(REDIS_REDIRECTS, "kind" => redirect.kind()).increment(1);
        let goes_on = match redirect {
            Redirect::Moved(host, port) => self.follow(asked, &host, port, false).await,
            Redirect::Ask(host, port) => self.follow(asked, &host, port, true).await,
            Redirect::TryAgain => {
                let pause = self.pause.mul_f64(rand::random_range(0.5..=1.0));
                self.pause = (self.pause * 2).min(MAX_PAUSE);
                self.wait(pause).await
            }
            Redirect::Down => {
                self.refresh.raise(None);
                self.wait(DOWN_PAUSE).await
            }
            Redirect::Unconnected => {
                self.refresh.raise(None);
                self.until_owner_differs(asked).await
            }
        };
        if goes_on { Ok(()) } else { Err(failure.error) }
    }

    /// Asks the server at this address next.
    async fn follow(&mut self, asked: &Arc<Server>, host: &str, port: u16, asking: bool) -> bool {
        self.moves += 1;
        if self.moves > MAX_MOVES {
            return false;
        }
        let address = asked.connector.named_by_server(host, port);
        let topology = self.topology.now();
        let named = topology.masters().iter().find(|master| *master.connector.redis_address() == address);
        if !asking || named.is_none() {
            self.refresh.raise(Some(address.clone()));
        }
        match named {
            Some(master) => {
                self.named = Some((master.clone(), asking));
                self.source = asking.then(|| asked.clone());
            }
            // The server is new, or has become a master.
            None => {
                let changed = timeout_at(self.deadline, self.topology.changed()).await;
                return changed.is_ok();
            }
        }
        Instant::now() < self.deadline
    }

    /// Waits. False if the time of the call is over then.
    async fn wait(&self, pause: Duration) -> bool {
        tokio::time::sleep_until((Instant::now() + pause).min(self.deadline)).await;
        Instant::now() < self.deadline
    }

    /// Waits until another server than this one has the slot. False if that takes too long.
    async fn until_owner_differs(&mut self, asked: &Arc<Server>) -> bool {
        loop {
            if self.topology.now().owner(self.slot).is_some_and(|owner| !Arc::ptr_eq(owner, asked)) {
                return Instant::now() < self.deadline;
            }
            if timeout_at(self.deadline, self.topology.changed()).await.is_err() {
                return false;
            }
        }
    }
}
