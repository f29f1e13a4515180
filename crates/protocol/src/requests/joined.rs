//! What the `Ack`s of `Enter` and `Auth` share: where the log is, whether the client's position was proved, and what the
//! node knows. Owns the words of `features`; the node fills the rest in.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{AnyRequest, Request};
use crate::events::GapReason;
use crate::position::Position;
use crate::word::Word;

/// The word in `features` for `since`, the resuming after a position.
pub const RESUME: &str = "resume";

/// The word in `features` for `received`, the position in the envelope of a request.
pub const RECEIVED: &str = "received";

/// The words in `features` for the optional fields of a message.
const FIELDS: [&str; 5] = ["reply_to", "thread", "mentions", "attachments", "data"];

/// The part of an `Ack` that `Enter` and `Auth` have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Joined {
    /// The newest message at this moment.
    #[serde(flatten)]
    pub position: Position,
    /// For how long the node recognises a repeated publish, in milliseconds.
    pub dedupe_ms: u64,
    /// How long the client may send nothing at all, pongs included, in milliseconds. Older nodes do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
    /// Whether everything after `since` follows. Only where the request had `since`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// Why it does not. Only where `recovered` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word<GapReason>>,
    /// The first `seq` that follows. Only where `recovered` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_seq: Option<u64>,
    /// The connection had entered the room, or was bound to the user, before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub already: bool,
    /// What the node knows beyond the four requests that every node knows.
    #[serde(default)]
    pub features: Features,
}

/// What a node knows, one word each. A client ignores the words that it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Features(Vec<Cow<'static, str>>);

impl Features {
    /// Everything that this version knows.
    pub fn all() -> Self {
        let requests = AnyRequest::FEATURES.iter().flatten();
        Self(requests.chain([&RESUME, &RECEIVED]).chain(&FIELDS).map(|word| Cow::Borrowed(*word)).collect())
    }

    /// What a node knows that sends no list, since it is older than the list: no changes of messages, and no fields beside the text.
    pub fn before_list() -> Self {
        let words = ["auth", "typing", "history", "members", "read", "ping", "markers", RESUME, RECEIVED];
        Self(words.map(Cow::Borrowed).into())
    }

    /// Whether the node knows this request.
    pub fn has_request<R: Request>(&self) -> bool {
        R::FEATURE.is_none_or(|word| self.has(word))
    }

    /// Whether this word is among them.
    pub fn has(&self, word: &str) -> bool {
        self.0.iter().any(|feature| feature == word)
    }

    /// The words.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Cow::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::{GroupChat, Typing};

    #[test]
    fn features_name_the_requests_beyond_the_four() {
        let features = Features::all();
        let words: Vec<&str> = features.iter().collect();
        assert_eq!(
            words,
            [
                "auth",
                "typing",
                "history",
                "members",
                "read",
                "ping",
                "markers",
                "edit",
                "retract",
                "react",
                "rooms",
                "unread",
                "room",
                "moderate",
                "block",
                "blocked",
                "resume",
                "received",
                "reply_to",
                "thread",
                "mentions",
                "attachments",
                "data"
            ]
        );
        assert!(features.has_request::<Typing>());
        assert!(Features::before_list().iter().all(|word| features.has(word)));
        assert!(!Features::before_list().has("edit"));
        // A node of an earlier version lists none.
        let features = Features::default();
        assert!(features.has_request::<GroupChat>() && !features.has_request::<Typing>());
    }
}
