//! The format in which this node may write. Owns the level of each version and the knowledge whether a node of an earlier
//! version runs; what depends on it is the broker's. Each lease carries the level of its node (`lease.lua`).
//!
//! What older nodes can't read is written only while no such node has a lease. So two consecutive versions work together during
//! an upgrade, and after it each message costs less.

use tokio::sync::watch;

/// Level of this version.
pub(super) const LEVEL: u64 = RIGHTS;

/// Level of nodes that know dedupe records by the hash of their key, and channels with the number of the database. Leases of
/// nodes before that have no level.
const HASHED_RECORDS: u64 = 2;

/// Level of nodes that know changes of messages.
const CHANGES: u64 = 3;

/// Level of nodes that know rights of rooms.
const RIGHTS: u64 = 4;

/// What this node knows of the levels of all nodes: the lowest of them, once the leases have been read.
#[derive(Debug, Default)]
pub(super) struct FormatLevel(watch::Sender<Option<u64>>);

impl FormatLevel {
    fn has(&self, level: u64) -> bool {
        self.0.borrow().is_some_and(|lowest| lowest >= level)
    }

    /// True while a node may run that writes and reads dedupe records by their whole key.
    pub(super) fn has_older_nodes(&self) -> bool {
        !self.has(HASHED_RECORDS)
    }

    /// True if every node knows changes of messages.
    pub(super) fn has_changes(&self) -> bool {
        self.has(CHANGES)
    }

    /// True if every node knows rights of rooms.
    pub(super) fn has_rights(&self) -> bool {
        self.has(RIGHTS)
    }

    /// True once the leases have been read.
    pub(super) fn is_known(&self) -> bool {
        self.0.borrow().is_some()
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

    /// Notes the lowest level. Returns the one that was known before.
    pub(super) fn set(&self, lowest: u64) -> Option<u64> {
        self.0.send_replace(Some(lowest))
    }
}
