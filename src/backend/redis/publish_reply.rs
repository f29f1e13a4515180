//! What the publish script says of one item. Owns the text form of its replies; what follows from them is the broker's business.
//! Called by the broker.

use bytes::Bytes;
use redis::Value;

use super::codec;
use crate::backend::{BackendError, ChangeRefusal, Stored};
use crate::protocol::{MessageId, Position};

/// Where a message is, and its body if another one is stored than was given.
pub(super) struct PublishReply {
    pub(super) stored: Stored,
    pub(super) body: Option<Bytes>,
}

impl PublishReply {
    /// Parses `<epoch> <seq> <message id> <sent_at> <duplicate> <begun>`, and what follows a newline; or `!` and why nothing was
    /// stored. `None` if the script did not write it. `target` is the message that a change is about.
    pub(super) fn parse(
        reply: Value,
        target: Option<MessageId>,
        sent_at: u64,
    ) -> Option<Result<Self, BackendError>> {
        let Value::BulkString(reply) = reply else { return None };
        let reply = Bytes::from(reply);
        let end = reply.iter().position(|byte| *byte == b'\n');
        let mut words = std::str::from_utf8(&reply[..end.unwrap_or(reply.len())]).ok()?.split(' ');
        let rest = || end.map(|end| reply.slice(end + 1..));
        let first = words.next()?;
        let refusal = match first.strip_prefix('!') {
            None => {
                let position = codec::position(first, words.next()?.parse().ok()?, words.next()?)?;
                let sent_at = words.next()?.parse().ok()?;
                let duplicate = words.next()? == "1";
                let logs_begun = words.next()?.parse().ok()?;
                let stored = Stored { position, sent_at, duplicate, logs_begun, is_unchanged: false };
                return Some(Ok(Self { stored, body: rest() }));
            }
            Some("unchanged") => {
                let position = Position { epoch: words.next()?.parse().ok()?, seq: 0, message_id: target? };
                let stored =
                    Stored { position, sent_at, duplicate: false, logs_begun: 0, is_unchanged: true };
                return Some(Ok(Self { stored, body: None }));
            }
            Some("notfound") => ChangeRefusal::NotFound,
            Some("author") => ChangeRefusal::NotAuthor,
            Some("gone") => ChangeRefusal::Gone,
            Some("late") => ChangeRefusal::TooLate,
            Some("large") => ChangeRefusal::TooLarge,
            Some("many") => ChangeRefusal::TooMany,
            Some("conflict") => {
                ChangeRefusal::Conflict { version: words.next()?.parse().ok()?, text: rest()? }
            }
            Some(_) => return None,
        };
        Some(Err(refusal.into()))
    }
}
