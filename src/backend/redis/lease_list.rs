//! All leases, as a reader of members needs them in a Redis Cluster, where they are on another server than the room. Owns how long a
//! reading counts; decides nothing. Used by presence.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::router::Router;
use super::server::Lane;
use crate::backend::BackendError;

/// How long a reading counts: at most one a second and node, however many members are asked for.
const FRESH: Duration = Duration::from_secs(1);

/// Incarnation and beat of each lease; a beat of 0 has ended for every node.
pub(super) type Leases = Arc<Vec<(String, String)>>;

/// Reads the leases.
pub(super) struct LeaseList {
    router: Router,
    key: String,
    last: Mutex<Option<(Instant, Leases)>>,
}

impl LeaseList {
    /// Nothing is read yet. `key` is that of the leases.
    pub(super) fn new(router: Router, key: String) -> Self {
        Self { router, key, last: Mutex::new(None) }
    }

    /// The leases, at most a second old.
    pub(super) async fn recent(&self) -> Result<Leases, BackendError> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match last.filter(|(at, _)| at.elapsed() < FRESH) {
            Some((_, leases)) => Ok(leases),
            None => self.now().await,
        }
    }

    /// The leases as they are now.
    pub(super) async fn now(&self) -> Result<Leases, BackendError> {
        let asked_at = Instant::now();
        let mut range = redis::cmd("ZRANGE");
        range.arg(&self.key).arg(0).arg(-1).arg("WITHSCORES");
        let leases: Leases = Arc::new(self.router.command((Lane::Short, &self.key), &range).await?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked_at, leases.clone()));
        Ok(leases)
    }
}
