//! `React`: adds a reaction to a message, or takes it away. Owns the request and what a reaction may be; its `Ack` is that of
//! every change.

use serde::{Deserialize, Deserializer, de};
use unicode_normalization::UnicodeNormalization;

use super::change::change_request;

/// The most bytes of a reaction, in Unicode NFC.
pub const MAX_REACTION_BYTES: usize = 64;

/// The most kinds of reactions on one message, and the most reactions of one user on it.
pub const MAX_REACTIONS: usize = 20;

change_request! {
    /// Adds a reaction to a message, or takes it away.
    React as "ReactRequest", "react",
    {
        /// An emoji, or any short text; normalised to Unicode NFC.
        #[serde(deserialize_with = "reaction")]
        #[cfg_attr(feature = "schema", schemars(length(min = 1, max = MAX_REACTION_BYTES)))]
        reaction: String,
        /// True to add it, false to take it away.
        on: bool,
    }
}

/// Reads a reaction.
///
/// # Errors
/// It is too long, or shows nothing, or has control characters.
pub fn reaction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    // NFC can make a text longer, but never three times as long.
    let normal: String = text.nfc().take(3 * MAX_REACTION_BYTES + 1).collect();
    let is_invisible = normal.chars().all(char::is_whitespace);
    if is_invisible || normal.len() > MAX_REACTION_BYTES || normal.chars().any(char::is_control) {
        let message = format!("must have 1 to {MAX_REACTION_BYTES} bytes and no control characters");
        return Err(de::Error::custom(message));
    }
    Ok(normal)
}
