//! What an `Error` says. Owns its codes, its outcomes and its body; does not decide when they apply. Built by nodes, read
//! by clients; the codes are also values of a metric's label.

use serde::{Deserialize, Serialize};

use crate::id::MessageId;
use crate::word::{Word, words};

words! {
    /// The `code` of an `Error`.
    pub enum ErrorCode {
        /// The frame is not JSON.
        InvalidJson = "invalid_json",
        /// The frame is JSON, but not a request of this protocol; the message names the field.
        InvalidMessage = "invalid_message",
        /// The node does not know this `message_type`.
        UnknownType = "unknown_type",
        /// The frame is binary.
        UnsupportedFrame = "unsupported_frame",
        /// The content or the frame is over its limit.
        MessageTooLarge = "message_too_large",
        /// There is no valid token.
        Unauthorized = "unauthorized",
        /// The name differs from that of the connection or the token.
        IdentityMismatch = "identity_mismatch",
        /// This user may not do this, whatever its token: only the server API writes to a read-only room.
        Forbidden = "forbidden",
        /// The log does not hold the message, or it is not one that can be changed.
        NotFound = "not_found",
        /// The message was taken back.
        Gone = "gone",
        /// The message has a newer edit than `if_version`; `current` has its text.
        Conflict = "conflict",
        /// The message is too old to be edited.
        TooLate = "too_late",
        /// The message has as many changes of this kind as it may have.
        TooManyChanges = "too_many_changes",
        /// The connection has not entered the room.
        NotInRoom = "not_in_room",
        /// The connection is in as many rooms as it may be.
        TooManyRooms = "too_many_rooms",
        /// The client sends faster than the node allows.
        RateLimited = "rate_limited",
        /// The node can't reach the cluster's store.
        Unavailable = "unavailable",
        /// The node failed, or its store holds invalid data.
        Internal = "internal",
    }
}

words! {
    /// Whether a publish that failed may have been stored.
    pub enum Outcome {
        /// Nothing was stored, and nothing will be.
        Refused = "refused",
        /// The message may have been stored: repeat the request with the same `id`.
        Unknown = "unknown",
    }
}

/// The body of an `Error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Error"))]
pub struct ErrorBody {
    /// What went wrong, for programs.
    pub code: Word<ErrorCode>,
    /// What went wrong and what to do, for people.
    pub message: String,
    /// When to try again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// For a publish that failed: whether it may have been stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Word<Outcome>>,
    /// For a `conflict`: the message as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Box<Current>>,
}

/// The text of a message, for who wanted to replace an older one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Current {
    /// The last edit; the message itself if there is none.
    pub version: MessageId,
    /// The text.
    pub content: String,
}
