//! The format in which this node may write. Owns the level of each version and the knowledge whether a node of an earlier
//! version runs; what depends on it is the broker's. Each lease carries the level of its node (`lease.lua`).
//!
//! What older nodes can't read is written only while no such node has a lease. So two consecutive versions work together during
//! an upgrade, and after it each message costs less.

use tokio::sync::watch;

/// Level of this version. 2: dedupe records by the hash of their key, channels with the number of the database. Leases of nodes before that have no level.
pub(super) const LEVEL: u64 = 2;

/// Which nodes run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Running {
    /// The leases were not read yet.
    #[default]
    Unknown,
    /// Also nodes of an earlier version.
    Mixed,
    /// Only nodes of this version, or later ones.
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

    /// Notes which nodes run. Returns what was known before.
    pub(super) fn set(&self, running: Running) -> Running {
        self.0.send_replace(running)
    }
}
