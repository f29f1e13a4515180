//! A hole in a log, as a member sees it. Owns the event and its reasons; finding the hole is the node's business.

use serde::{Deserialize, Serialize};

use super::Event;
use crate::id::Epoch;
use crate::name::RoomName;
use crate::word::{Word, words};

words! {
    /// Why the node can't prove that nothing is missing.
    pub enum GapReason {
        /// The log no longer holds what follows the position.
        Trimmed = "trimmed",
        /// The log started afresh.
        Epoch = "epoch",
        /// The log lost its end, and may have other messages there now.
        Rollback = "rollback",
        /// More was missed than is replayed.
        TooMany = "too_many",
    }
}

/// The messages before `next_seq` are lost, or can't be proved to be complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gap {
    /// The room; without one, it is the private log of the connection's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    /// What happened.
    pub reason: Word<GapReason>,
    /// The log's epoch from here on.
    pub epoch: Epoch,
    /// The `seq` of the next message.
    pub next_seq: u64,
}

impl Event for Gap {
    const KIND: &'static str = "Gap";
}
