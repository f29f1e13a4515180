//! The format in which this node may write. Owns the level of each version and the knowledge whether a node of an earlier
//! version runs; what depends on it is the broker's. Each lease carries the level of its node (`lease.lua`).
//!
//! What older nodes can't read is written only while no such node has a lease. So two consecutive versions work together during
//! an upgrade, and after it each message costs less.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::pool::Pool;
use crate::backend::BackendError;

/// Level of this version. 2: dedupe records by the hash of their key, channels with the number of the database. Leases of nodes before that have no level.
pub(super) const LEVEL: u64 = 2;

/// Interval between two readings.
const INTERVAL: Duration = Duration::from_secs(2);

/// Interval until the first reading succeeds.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);

/// Which nodes run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Running {
    #[default]
    Unknown,
    /// Also nodes of an earlier version.
    Mixed,
    Current,
}

/// What this node knows of the levels of all nodes.
#[derive(Debug, Default)]
pub(super) struct FormatLevel(watch::Sender<Running>);

impl FormatLevel {
    /// True while a node of an earlier version may run.
    pub(super) fn has_older_nodes(&self) -> bool {
        *self.0.borrow() != Running::Current
    }

    /// True once the leases have been read.
    pub(super) fn is_known(&self) -> bool {
        *self.0.borrow() != Running::Unknown
    }

    /// Resolves once the leases have been read.
    pub(super) async fn known(&self) {
        self.until(|| self.is_known()).await;
    }

    /// Resolves once a condition holds that depends on the levels.
    pub(super) async fn until(&self, holds: impl Fn() -> bool) {
        let mut running = self.0.subscribe();
        while !holds() {
            // Never fails: the sender is `self`.
            let _ = running.changed().await;
        }
    }
}

/// Reads the levels regularly.
pub(super) struct FormatReader {
    pool: Pool,
    /// Key of the ZSET of leases, and key of the HASH of levels.
    keys: [String; 2],
    level: Arc<FormatLevel>,
}

impl FormatReader {
    /// Nothing is known until [`FormatReader::run`] has read the leases once. Updates `level`.
    pub(super) fn new(pool: Pool, keys: [String; 2], level: Arc<FormatLevel>) -> Self {
        Self { pool, keys, level }
    }

    /// Reads without end.
    pub(super) async fn run(self) {
        loop {
            if let Err(error) = self.read().await {
                tracing::debug!(%error, "the format levels of the nodes could not be read");
            }
            tokio::time::sleep(if self.level.is_known() { INTERVAL } else { FIRST_INTERVAL }).await;
        }
    }

    async fn read(&self) -> Result<(), BackendError> {
        let mut pipeline = redis::pipe();
        let [leases, levels] = &self.keys;
        pipeline.cmd("ZRANGEBYSCORE").arg(leases).arg("(0").arg("+inf");
        pipeline.cmd("HGETALL").arg(levels);
        let (running, levels): (Vec<String>, std::collections::HashMap<String, u64>) =
            self.pool.pipeline(&pipeline).await?;
        let is_older = |incarnation: &String| levels.get(incarnation).is_none_or(|level| *level < LEVEL);
        let state = if running.iter().any(is_older) { Running::Mixed } else { Running::Current };
        let before = self.level.0.send_replace(state);
        if before != state && state == Running::Mixed {
            tracing::info!("nodes of an earlier version run: this node writes in their format");
        }
        Ok(())
    }
}
