//! Positions from clients and from Redis, and the decision whether a client can resume.
//!
//! Checks: a parsed value is the same after it is written and parsed again; a resume is proved if and only if the log is
//! the one that the client read and it still holds all later messages; a live message is accepted if and only if it
//! follows the last one.
#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use arbitrary::Arbitrary;
use bytes::Bytes;
use chatnode::chat::{Cursor, CursorId, Verdict, continuity, judge};
use chatnode::protocol::{
    AnyRequest, ClientMessage, Epoch, GapReason, MAX_SEQ, MessageId, Position, Rejected, Since,
};
use chatnode::{backend, protocol};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

// The source file itself: the format on channels stays private to the Redis backend.
#[path = "../../src/backend/redis/codec.rs"]
#[expect(dead_code, reason = "only publications are tested")]
mod codec;

use backend::{Entry, Page, Publication};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    /// Payload on a channel.
    payload: &'a [u8],
    /// A client's `since`, and its fields as texts.
    since: &'a str,
    epoch: &'a str,
    message_id: &'a str,
    seq: u64,
    scenario: Scenario,
}

/// A log that a client read up to a position, and later changes of the log.
#[derive(Debug, Arbitrary)]
struct Scenario {
    before: u8,
    at: u8,
    lost: u8,
    after: u8,
    trimmed: u8,
    is_new_epoch: bool,
    claim: Claim,
    arrival: u8,
}

/// The client's claim about its position.
#[derive(Debug, Arbitrary)]
enum Claim {
    Correct,
    AnotherId,
    NoId,
    AnotherEpoch,
    NoEpoch,
    TooFar(u8),
    SeqOnly,
}

fuzz_target!(|input: Input<'_>| {
    round_trips::<Epoch>(input.epoch);
    round_trips::<MessageId>(input.message_id);
    published(input.payload);
    claimed(input.since);
    claimed(&json!({ "epoch": input.epoch, "seq": input.seq, "message_id": input.message_id }).to_string());
    resumed(&input.scenario);
});

/// Checks that a parsed value is the same after it is written and parsed again.
fn round_trips<T: FromStr + Display + PartialEq + std::fmt::Debug>(text: &str) -> Option<T> {
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

/// Checks the claim in the two requests that contain it.
fn claimed(since: &str) {
    let request = |kind: &str, since: &str| {
        let text = format!(
            r#"{{"message_type":"{kind}","message_body":{{"sender_username":"a","since":{since}}},"id":"i"}}"#
        );
        match ClientMessage::decode(&text, 16) {
            Ok(ClientMessage { request: AnyRequest::Enter(enter), .. }) => Ok(enter.since),
            Ok(ClientMessage { request: AnyRequest::Auth(auth), .. }) => Ok(auth.since),
            // A `since` with a quote and a brace can turn the text into another request.
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
        // An empty log proves no invented position, except its start.
        let page = Page {
            top: Position::start(claim.epoch.unwrap_or_else(Epoch::generate)),
            entries: Vec::new(),
            more: false,
            has_changes: false,
            has_rights: false,
        };
        let is_start = claim.epoch.is_some() && claim.seq == 0;
        assert_eq!(continuity(&Cursor::from(claim), &page).is_none(), is_start);
    }
}

/// Ids and epochs depend only on the input, so that every finding can be reproduced.
fn id(number: usize, branch: u8) -> MessageId {
    format!("00000000-0000-7000-8000-{branch:02x}{number:010x}").parse().unwrap()
}

fn epoch(number: u8) -> Epoch {
    format!("{number:016x}").parse().unwrap()
}

struct Log {
    epoch: Epoch,
    /// Message ids, starting with `seq` 1.
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
        Page { top: self.at(self.ids.len()), entries, more: false, has_changes: false, has_rights: false }
    }
}

fn resumed(scenario: &Scenario) {
    let before = usize::from(scenario.before % 40);
    let mut log = Log { epoch: epoch(1), ids: (1..=before).map(|seq| id(seq, 1)).collect(), first_held: 0 };
    let place = log.at(usize::from(scenario.at) % (before + 1));
    let newest = log.at(before).message_id;
    log.ids.truncate(before - usize::from(scenario.lost) % (before + 1));
    if scenario.is_new_epoch {
        log.epoch = epoch(2);
        log.ids.clear();
    }
    let start = log.ids.len();
    log.ids.extend((start + 1..=start + usize::from(scenario.after % 40)).map(|seq| id(seq, 2)));
    log.first_held = usize::from(scenario.trimmed) % (log.ids.len() + 1);

    let mut claim = Since::from(place);
    match scenario.claim {
        Claim::Correct | Claim::SeqOnly => {}
        Claim::AnotherId => claim.message_id = Some(id(usize::from(scenario.at), 3)),
        Claim::NoId => claim.message_id = None,
        Claim::AnotherEpoch => claim.epoch = Some(epoch(3)),
        Claim::NoEpoch => claim.epoch = None,
        Claim::TooFar(by) => claim.seq += u64::from(by),
    }
    let mut cursor = Cursor::from(claim);
    if matches!(scenario.claim, Claim::SeqOnly) {
        cursor.id = CursorId::Unproven(newest);
    }
    let verdict = continuity(&cursor, &log.page(cursor.seq));

    let seq = usize::try_from(cursor.seq).unwrap();
    let is_this_log = cursor.epoch == Some(log.epoch) && seq <= log.ids.len();
    let is_that_message = is_this_log
        && match cursor.id {
            CursorId::Known(id) => id == log.at(seq).message_id,
            CursorId::Invalid => false,
            CursorId::Unproven(newest) | CursorId::Newest(newest) => log.at(seq).message_id <= newest,
        };
    if cursor.epoch != Some(log.epoch) {
        assert_eq!(verdict, Some(GapReason::Epoch));
    } else if !is_this_log {
        assert_eq!(verdict, Some(GapReason::Rollback));
    } else if log.first_held > seq {
        // The entry at this position was trimmed, so the log can't prove that it was this message.
        assert_eq!(verdict, Some(GapReason::Trimmed));
    } else {
        assert_eq!(verdict, (!is_that_message).then_some(GapReason::Rollback));
    }

    if !log.ids.is_empty() {
        let arrived = log.entry(usize::from(scenario.arrival) % log.ids.len() + 1);
        let verdict = judge(&place, log.epoch, &arrived, None);
        let follows =
            log.epoch == place.epoch && arrived.seq == place.seq + 1 && arrived.prev == place.message_id;
        assert_eq!(verdict == Verdict::Next, follows, "{arrived:?} after {place:?}");
        if verdict == Verdict::Repeat {
            assert_eq!((log.epoch, arrived.message_id), (place.epoch, place.message_id));
        }
    }
}
