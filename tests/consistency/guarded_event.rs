//! What is recorded of the room with rights. Part of the history.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::history::{Micros, Place};

/// What the moderator does.
pub const ACTIONS: [&str; 8] = ["ban", "unban", "role", "mute", "unmute", "kick", "remove", "role"];

/// Something that happened to the room with rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuardedEvent {
    /// The moderator is about to act on a user.
    Asked { user: u16, action: String },
    /// The action that was asked for at `asked` was acknowledged: this is its entry.
    Acted { user: u16, action: String, asked: Micros, message_id: Uuid },
    /// The `Enter` that was sent at `asked` was acknowledged.
    Joined { user: u16, conn: u64, asked: Micros },
    /// An entry was received.
    Received { user: u16, conn: u64, at: Place, message_id: Uuid },
    /// The log, read from Redis at the end of the run.
    Log { epoch: u64, entries: Vec<GuardedEntry> },
}

/// An entry of its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardedEntry {
    pub seq: u64,
    pub message_id: Uuid,
    pub what: GuardedKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuardedKind {
    /// A message of a user.
    Message { user: u16 },
    /// The room has this kind from now on; without one, another thing was changed.
    Room { kind: Option<String> },
    /// The moderator acted on a user.
    Action { user: u16, action: String },
}
