//! Positions, as clients claim them and as Redis sends them, and the decision to resume.
//!
//! Holds: what was read is the same when written and read again; a resume is proved exactly if the log is the one that was
//! read and holds all that follows; a live message is taken exactly if it follows the last one.
#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use arbitrary::Arbitrary;
use bytes::Bytes;
use chatnode::chat::{Cursor, CursorId, Verdict, continuity, judge};
use chatnode::protocol::{
    ClientMessage, Epoch, GapReason, MAX_SEQ, MessageId, Position, Rejected, Request, Since,
};
use chatnode::{backend, protocol};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

// The source itself: what goes over channels is the Redis backend's affair, and stays private there.
#[path = "../../src/backend/redis/codec.rs"]
#[expect(dead_code, reason = "of what is read, only publications are tried")]
mod codec;

use backend::{Entry, Page, Publication};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    /// A channel's payload.
    payload: &'a [u8],
    /// What a client sends as `since`, and its parts as texts.
    since: &'a str,
    epoch: &'a str,
    message_id: &'a str,
    seq: u64,
    scene: Scene,
}

/// A log that was read up to a place, and what then became of it.
#[derive(Debug, Arbitrary)]
struct Scene {
    before: u8,
    at: u8,
    lost: u8,
    after: u8,
    trimmed: u8,
    is_afresh: bool,
    claim: Claim,
    arrival: u8,
}

/// What the client says of the place.
#[derive(Debug, Arbitrary)]
enum Claim {
    TheTruth,
    AnotherId,
    NoId,
    AnotherEpoch,
    NoEpoch,
    FurtherOn(u8),
    ByNumber,
}

fuzz_target!(|input: Input<'_>| {
    survives::<Epoch>(input.epoch);
    survives::<MessageId>(input.message_id);
    published(input.payload);
    claimed(input.since);
    claimed(&json!({ "epoch": input.epoch, "seq": input.seq, "message_id": input.message_id }).to_string());
    resumed(&input.scene);
});

/// A text that is read is a value; the value's text is read as the same.
fn survives<T: FromStr + Display + PartialEq + std::fmt::Debug>(text: &str) -> Option<T> {
    let value: T = text.parse().ok()?;
    let written = value.to_string();
    assert!(written.len() <= 36);
    assert_eq!(written.parse().ok().as_ref(), Some(&value), "{text:?}");
    Some(value)
}

fn published(payload: &[u8]) {
    match codec::parse(payload.to_vec()) {
        None => {}
        Some(Publication::Message { epoch, entry }) => {
            let prev = if entry.prev.is_none() { "-".to_owned() } else { entry.prev.to_string() };
            let Entry { seq, message_id, stored_at, .. } = &entry;
            let mut written = format!("M {epoch} {seq} {message_id} {prev} {stored_at}\n").into_bytes();
            written.extend_from_slice(&entry.body);
            assert!(payload.ends_with(&entry.body));
            assert_eq!(codec::parse(written), Some(Publication::Message { epoch, entry }));
        }
        Some(Publication::Event { origin, body }) => {
            assert!(payload.ends_with(&body));
            assert_eq!(codec::parse(codec::event(origin, &body)), Some(Publication::Event { origin, body }));
        }
    }
}

/// The claim within the two requests that bear it.
fn claimed(since: &str) {
    let request = |kind: &str, since: &str| {
        let text = format!(
            r#"{{"message_type":"{kind}","message_body":{{"sender_username":"a","since":{since}}},"id":"i"}}"#
        );
        match ClientMessage::decode(&text, 16) {
            Ok(ClientMessage {
                request: Request::Enter { since, .. } | Request::Auth { since, .. }, ..
            }) => Ok(since),
            // A `since` with a quote and a brace may make another request of it.
            Ok(_) => Ok(None),
            Err(Rejected { code, message, .. }) => {
                assert!(!message.is_empty() && message.len() < 300, "{message}");
                Err(code)
            }
        }
    };
    let entered = request("Enter", since);
    assert_eq!(entered, request("Auth", since));
    if let Ok(Some(claim)) = entered {
        assert!(claim.seq <= MAX_SEQ);
        let written = json!({
            "epoch": claim.epoch.map_or("no epoch".into(), |epoch| epoch.to_string()),
            "seq": claim.seq,
            "message_id": claim.message_id.map_or("no id".into(), |id| id.to_string()),
        });
        assert_eq!(request("Enter", &written.to_string()), Ok(Some(claim)));
        if let (Some(epoch), Some(message_id)) = (claim.epoch, claim.message_id) {
            let position = Position { epoch, seq: claim.seq, message_id };
            assert_eq!(Since::from(position), claim);
        }
        // Nothing that was made up is proved by an empty log, but its start.
        let page = Page {
            top: Position::start(claim.epoch.unwrap_or_else(Epoch::generate)),
            entries: Vec::new(),
            more: false,
        };
        let is_start = claim.epoch.is_some() && claim.seq == 0;
        assert_eq!(continuity(&Cursor::from(claim), &page).is_none(), is_start);
    }
}

/// Ids and epochs that depend on the input alone: a finding must come again.
fn id(number: usize, life: u8) -> MessageId {
    format!("00000000-0000-7000-8000-{life:02x}{number:010x}").parse().unwrap()
}

fn epoch(number: u8) -> Epoch {
    format!("{number:016x}").parse().unwrap()
}

struct Log {
    epoch: Epoch,
    /// The messages' ids, from `seq` 1 on.
    ids: Vec<MessageId>,
    first_held: usize,
}

impl Log {
    fn at(&self, seq: usize) -> Position {
        let message_id = if seq == 0 { MessageId::NONE } else { self.ids[seq - 1] };
        Position { epoch: self.epoch, seq: seq as u64, message_id }
    }

    fn entry(&self, seq: usize) -> Entry {
        let prev = self.at(seq - 1).message_id;
        Entry { seq: seq as u64, message_id: self.ids[seq - 1], prev, stored_at: 0, body: Bytes::new() }
    }

    fn page(&self, after: u64) -> Page {
        let start = usize::try_from(after).unwrap_or(usize::MAX).max(self.first_held).min(self.ids.len());
        let entries = (start + 1..=self.ids.len()).map(|seq| self.entry(seq)).collect();
        Page { top: self.at(self.ids.len()), entries, more: false }
    }
}

fn resumed(scene: &Scene) {
    let before = usize::from(scene.before % 40);
    let mut log = Log { epoch: epoch(1), ids: (1..=before).map(|seq| id(seq, 1)).collect(), first_held: 0 };
    let place = log.at(usize::from(scene.at) % (before + 1));
    log.ids.truncate(before - usize::from(scene.lost) % (before + 1));
    if scene.is_afresh {
        log.epoch = epoch(2);
        log.ids.clear();
    }
    let start = log.ids.len();
    log.ids.extend((start + 1..=start + usize::from(scene.after % 40)).map(|seq| id(seq, 2)));
    log.first_held = usize::from(scene.trimmed) % (log.ids.len() + 1);

    let mut claim = Since::from(place);
    match scene.claim {
        Claim::TheTruth | Claim::ByNumber => {}
        Claim::AnotherId => claim.message_id = Some(id(usize::from(scene.at), 3)),
        Claim::NoId => claim.message_id = None,
        Claim::AnotherEpoch => claim.epoch = Some(epoch(3)),
        Claim::NoEpoch => claim.epoch = None,
        Claim::FurtherOn(by) => claim.seq += u64::from(by),
    }
    let mut cursor = Cursor::from(claim);
    if matches!(scene.claim, Claim::ByNumber) {
        cursor.id = CursorId::Unproven;
    }
    let verdict = continuity(&cursor, &log.page(cursor.seq));

    let seq = usize::try_from(cursor.seq).unwrap();
    let is_this_log = cursor.epoch == Some(log.epoch) && seq <= log.ids.len();
    let is_that_message = is_this_log
        && match cursor.id {
            CursorId::Known(id) => id == log.at(seq).message_id,
            CursorId::Garbage => false,
            CursorId::Unproven | CursorId::Newest => true,
        };
    if cursor.epoch != Some(log.epoch) {
        assert_eq!(verdict, Some(GapReason::Epoch));
    } else if !is_this_log {
        assert_eq!(verdict, Some(GapReason::Rollback));
    } else if log.first_held > seq {
        // What stood there is gone: whether it was that message can't be told, so nothing is proved.
        assert_eq!(verdict, Some(GapReason::Trimmed));
    } else {
        assert_eq!(verdict, (!is_that_message).then_some(GapReason::Rollback));
    }

    if !log.ids.is_empty() {
        let arrived = log.entry(usize::from(scene.arrival) % log.ids.len() + 1);
        let verdict = judge(&place, log.epoch, &arrived, None);
        let follows =
            log.epoch == place.epoch && arrived.seq == place.seq + 1 && arrived.prev == place.message_id;
        assert_eq!(verdict == Verdict::Next, follows, "{arrived:?} after {place:?}");
        if verdict == Verdict::Repeat {
            assert_eq!((log.epoch, arrived.message_id), (place.epoch, place.message_id));
        }
    }
}
