//! What the publish script says of one item. Owns the text form of its replies; what follows from them is the broker's business.
//! Called by the broker.

use bytes::Bytes;
use redis::Value;

use super::codec;
use crate::backend::{BackendError, ChangeRefusal, RightsRefusal, Stored};
use crate::protocol::{MessageId, Position};

/// What the script says if the room has rights, and the item does not name their keys.
pub(super) const HAS_RIGHTS: &[u8] = b"!rights";

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
                let message_id = target.unwrap_or(MessageId::NONE);
                let position = Position { epoch: words.next()?.parse().ok()?, seq: 0, message_id };
                let stored = Stored::unchanged(position, sent_at);
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
            Some(word) => return Some(Err(rights_refusal(word, words.next())?.into())),
        };
        Some(Err(refusal.into()))
    }
}

/// Reads why the rights of a room forbid something (see `rights.lua`).
fn rights_refusal(word: &str, number: Option<&str>) -> Option<RightsRefusal> {
    let number = || number?.parse().ok();
    Some(match word {
        "banned" => RightsRefusal::Banned(number()?),
        "muted" => RightsRefusal::Muted(number()?),
        "slow" => RightsRefusal::Slow(number()?),
        "norole" => RightsRefusal::NoRole,
        "readonly" => RightsRefusal::ReadOnly,
        "rank" => RightsRefusal::Rank,
        "norights" => RightsRefusal::NoRights,
        "exists" => RightsRefusal::Exists,
        "kind" => RightsRefusal::NoKind,
        "lastowner" => RightsRefusal::LastOwner,
        "targetbanned" => RightsRefusal::TargetBanned,
        "past" => RightsRefusal::Past,
        "users" => RightsRefusal::TooManyUsers,
        _ => return None,
    })
}
