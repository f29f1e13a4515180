//! Format of publications and notices on Redis channels, and of log entries; and the letters of roles. Owns their text form, a short
//! header line and an opaque body; knows no connections. `append.lua` writes the header of messages, this file that of events and of messages
//! that are published once more; the dispatcher parses all.
//!
//! `M <epoch> <seq> <message_id> <prev or -> <stored_at>\n<body>` is a message, `E <origin or ->\n<body>` an event.

use bytes::Bytes;
use redis::Value;

use crate::backend::{Entry, Fold, Notice, Publication, TokenHash};
use crate::protocol::{ConnectionId, Epoch, MAX_SEQ, MessageId, Position, Role, UserName};

/// Stands for a missing value.
const NONE: &str = "-";

/// Upper bound of a header: two UUIDs, two numbers and an epoch.
const MAX_HEADER_BYTES: usize = 160;

/// Parses a publication. The body is a slice of the payload, not a copy. `None` if no node wrote it.
pub(super) fn parse(payload: Vec<u8>) -> Option<Publication> {
    let payload = Bytes::from(payload);
    let end = payload.iter().take(MAX_HEADER_BYTES).position(|byte| *byte == b'\n')?;
    let header = std::str::from_utf8(&payload[..end]).ok()?;
    let mut words = header.split(' ');
    match words.next()? {
        "M" => {
            let epoch = words.next()?.parse().ok()?;
            let seq = seq(words.next()?.parse().ok()?)?;
            let message_id = words.next()?.parse().ok()?;
            let prev = match words.next()? {
                NONE => MessageId::NONE,
                id => id.parse().ok()?,
            };
            let stored_at = words.next()?.parse().ok()?;
            let body = payload.slice(end + 1..);
            Some(Publication::Message { epoch, entry: Entry { seq, message_id, prev, stored_at, body } })
        }
        "E" => {
            let origin = match words.next()? {
                NONE => None,
                id => Some(id.parse().ok()?),
            };
            Some(Publication::Event { origin, body: payload.slice(end + 1..) })
        }
        _ => None,
    }
}

/// Checks that a `seq` is one that a node may have written: larger ones are not exact in scripts and in clients.
fn seq(seq: u64) -> Option<u64> {
    (seq <= MAX_SEQ).then_some(seq)
}

/// Parses a position. `None` if no node wrote it.
pub(super) fn position(epoch: &str, seq: u64, message_id: &str) -> Option<Position> {
    Some(Position { epoch: epoch.parse().ok()?, seq: self::seq(seq)?, message_id: message_id.parse().ok()? })
}

/// Formats a stored message for publishing, as `append.lua` does.
pub(super) fn message(epoch: &Epoch, entry: &Entry) -> Vec<u8> {
    let Entry { seq, message_id, prev, stored_at, body } = entry;
    let prev = if prev.is_none() { NONE.to_owned() } else { prev.to_string() };
    let mut payload = format!("M {epoch} {seq} {message_id} {prev} {stored_at}\n").into_bytes();
    payload.extend_from_slice(body);
    payload
}

/// Formats an event for publishing.
pub(super) fn event(origin: Option<ConnectionId>, body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(body.len() + 20);
    payload.extend_from_slice(b"E ");
    match origin {
        Some(id) => payload.extend_from_slice(id.to_string().as_bytes()),
        None => payload.extend_from_slice(NONE.as_bytes()),
    }
    payload.push(b'\n');
    payload.extend_from_slice(body);
    payload
}

/// Formats a notice for publishing.
pub(super) fn notice(notice: &Notice) -> String {
    match notice {
        Notice::TokenRevoked(hash) => format!("T {hash}"),
        Notice::UserTokensRevoked(user) => format!("U {user}"),
        Notice::Disconnect(user) => format!("D {user}"),
        Notice::UserBanned(user) => format!("B {user}"),
    }
}

/// Parses a notice. `None` if no node wrote it.
pub(super) fn parse_notice(payload: &[u8]) -> Option<Notice> {
    let (kind, rest) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
    match kind {
        "T" => TokenHash::parse(rest).map(Notice::TokenRevoked),
        "U" => UserName::parse(rest).ok().map(Notice::UserTokensRevoked),
        "D" => UserName::parse(rest).ok().map(Notice::Disconnect),
        "B" => UserName::parse(rest).ok().map(Notice::UserBanned),
        _ => None,
    }
}

/// Parses an entry of a stream in the format of `XRANGE`: `[<seq>-0, [i, id, p, prev, t, stored_at, b, body]]`.
pub(super) fn parse_entry(value: Value) -> Option<Entry> {
    let [Value::BulkString(id), Value::Array(fields)] = array(value)? else { return None };
    let seq = seq(text(&id)?.strip_suffix("-0")?.parse().ok()?)?;
    let [_, message_id, _, prev, _, stored_at, _, body]: [Value; 8] = fields.try_into().ok()?;
    let Value::BulkString(body) = body else { return None };
    Some(Entry {
        seq,
        message_id: text(bulk(&message_id)?)?.parse().ok()?,
        prev: text(bulk(&prev)?)?.parse().ok()?,
        stored_at: text(bulk(&stored_at)?)?.parse().ok()?,
        body: body.into(),
    })
}

/// Parses what `history.lua` says of the changes of one message.
pub(super) fn parse_fold(value: Value) -> Option<Fold> {
    let Value::Array(parts) = value else { return None };
    let mut parts = parts.into_iter();
    let (version, edit, retracted, answers) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let version = text(bulk(&version)?)?.to_owned();
    let (Value::BulkString(edit), Value::Int(answers)) = (edit, answers) else { return None };
    let answers = u32::try_from(answers).ok()?;
    let mut fold = Fold { is_retracted: retracted == Value::Int(1), answers, ..Fold::default() };
    if !version.is_empty() {
        fold.edit = Some((version.parse().ok()?, edit.into()));
    }
    while let Some(reaction) = parts.next() {
        let (Value::Int(count), Value::Int(is_mine)) = (parts.next()?, parts.next()?) else { return None };
        fold.reactions.push((text(bulk(&reaction)?)?.to_owned(), u32::try_from(count).ok()?, is_mine == 1));
    }
    Some(fold)
}

/// A role as `rights.lua` has it.
pub(super) fn role_letter(role: Role) -> &'static str {
    match role {
        Role::Owner => "o",
        Role::Moderator => "m",
        Role::Member => "b",
        Role::Invited => "i",
    }
}

/// The role of a letter of [`role_letter`]. `None` if no node wrote it.
pub(super) fn role(letter: &str) -> Option<Role> {
    let roles = [Role::Owner, Role::Moderator, Role::Member, Role::Invited];
    roles.into_iter().find(|role| role_letter(*role) == letter)
}

fn array<const N: usize>(value: Value) -> Option<[Value; N]> {
    let Value::Array(values) = value else { return None };
    values.try_into().ok()
}

fn bulk(value: &Value) -> Option<&[u8]> {
    let Value::BulkString(bytes) = value else { return None };
    Some(bytes)
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_accepts_messages_with_any_body() {
        let (epoch, id, prev) = (Epoch::generate(), MessageId::generate(), MessageId::generate());
        for body in [&b"{\"a\":\n1}"[..], b"", b"\n\n", &[0xff, 0, b' ']] {
            let mut payload = format!("M {epoch} 7 {id} {prev} 1700\n").into_bytes();
            payload.extend_from_slice(body);
            let entry =
                Entry { seq: 7, message_id: id, prev, stored_at: 1700, body: Bytes::copy_from_slice(body) };
            assert_eq!(message(&epoch, &entry), payload);
            assert_eq!(parse(payload), Some(Publication::Message { epoch, entry }));
        }
        let first = parse(format!("M {epoch} 1 {id} - 1\nx").into_bytes());
        let Some(Publication::Message { entry, .. }) = first else { panic!("{first:?}") };
        assert!(entry.prev.is_none());
        assert_eq!(message(&epoch, &entry), format!("M {epoch} 1 {id} - 1\nx").as_bytes());
    }

    #[test]
    fn event_keeps_its_content() {
        for origin in [None, Some(ConnectionId::generate())] {
            let body = Bytes::from_static(b"{\"x\":1}\n");
            let read = parse(event(origin, &body));
            assert_eq!(read, Some(Publication::Event { origin, body }));
        }
    }

    #[test]
    fn notice_keeps_its_content() {
        let user = UserName::parse("a b 日本").unwrap();
        let hash = TokenHash::of(uuid::Uuid::from_u128(7));
        for sent in [
            Notice::TokenRevoked(hash),
            Notice::UserTokensRevoked(user.clone()),
            Notice::Disconnect(user.clone()),
            Notice::UserBanned(user),
        ] {
            assert_eq!(parse_notice(notice(&sent).as_bytes()), Some(sent));
        }
    }

    #[test]
    fn parse_rejects_foreign_payloads() {
        for garbage in ["", "M", "M x 1 2 3 4\n", "E\n", "X 1\nbody", "E zz\n", "no newline at all"] {
            assert_eq!(parse(garbage.as_bytes().to_vec()), None, "{garbage}");
        }
        for garbage in ["", "T", "T abc", "Q x", "U ", "D \n"] {
            assert_eq!(parse_notice(garbage.as_bytes()), None, "{garbage}");
        }
    }
}
