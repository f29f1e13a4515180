//! Reading of the format levels. Owns when the leases of all nodes are read, and what a lease without a level means; what the node
//! then writes is decided by those who ask [`FormatLevel`]. A background task of the backend.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::format_level::{FormatLevel, LEVEL};
use super::router::Router;
use super::server::Lane;
use crate::backend::BackendError;

/// Interval between two readings.
const INTERVAL: Duration = Duration::from_secs(2);

/// Interval until the first reading succeeds.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);

/// Reads the levels regularly.
pub(super) struct FormatReader {
    router: Router,
    /// Key of the ZSET of leases, and key of the HASH of levels.
    keys: [String; 2],
    level: Arc<FormatLevel>,
}

impl FormatReader {
    /// Nothing is known until [`FormatReader::run`] has read the leases once. Updates `level`.
    pub(super) fn new(router: Router, keys: [String; 2], level: Arc<FormatLevel>) -> Self {
        Self { router, keys, level }
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
        let (running, levels): (Vec<String>, HashMap<String, u64>) =
            self.router.pipeline((Lane::Long, leases), &pipeline).await?;
        let lowest = running.iter().map(|incarnation| levels.get(incarnation).copied().unwrap_or(0)).min();
        // Without any lease, this node is the only one.
        let lowest = lowest.unwrap_or(LEVEL);
        let before = self.level.set(lowest);
        if before != Some(lowest) && lowest < LEVEL {
            tracing::info!("nodes of an earlier version run: this node writes in their format");
        }
        Ok(())
    }
}
