//! `Retract`: takes a message back. Owns the request; its `Ack` is that of every change.

use serde::{Deserialize, Deserializer, de};

use super::change::change_request;

/// The most bytes of a `reason`.
pub const MAX_REASON_BYTES: usize = 256;

change_request! {
    /// Takes a message back: its text is erased from the log. Only its author may.
    Retract as "RetractRequest", "retract",
    {
        /// Why, for people.
        #[serde(default, deserialize_with = "reason", skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schemars(length(min = 1, max = MAX_REASON_BYTES)))]
        reason: Option<String>,
    }
}

/// Reads the reason of a retraction.
///
/// # Errors
/// It is empty or too long.
pub fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        Some(reason) if reason.is_empty() || reason.len() > MAX_REASON_BYTES => {
            Err(de::Error::custom(format!("must have 1 to {MAX_REASON_BYTES} bytes")))
        }
        reason => Ok(reason),
    }
}
