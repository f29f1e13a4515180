//! Properties of the pure parts, checked with random inputs. The default is a thousand cases of each;
//! `PROPTEST_CASES=1000000 cargo test --profile soak --lib --test properties` runs a million.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use chatnode::backend::{Entry, Page};
use chatnode::chat::{Cursor, TokenBucket, Verdict, continuity, judge};
use chatnode::protocol::{ClientMessage, Epoch, GapReason, MessageId, Position, RoomName, Since, UserName};
use proptest::prelude::*;
use support::{frame_model, lease_model, leases};
use tokio::time::Instant;

fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1_000);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Fewer cases, for a property whose case is a node with a connection.
fn some_cases() -> ProptestConfig {
    let all = cases();
    ProptestConfig { cases: all.cases.div_ceil(25), ..all }
}

/// A log as in the store: it can be appended to, trimmed, rolled back and replaced.
#[derive(Debug, Clone)]
struct Log {
    epoch: Epoch,
    entries: Vec<Entry>,
    first_held: usize,
}

impl Log {
    fn new() -> Self {
        Self { epoch: Epoch::generate(), entries: Vec::new(), first_held: 0 }
    }

    fn top(&self) -> Position {
        let message_id = self.entries.last().map_or(MessageId::NONE, |entry| entry.message_id);
        Position { epoch: self.epoch, seq: self.entries.len() as u64, message_id }
    }

    fn append(&mut self) -> Entry {
        let top = self.top();
        let message_id = MessageId::generate();
        let entry =
            Entry { seq: top.seq + 1, message_id, prev: top.message_id, stored_at: 0, body: Bytes::new() };
        self.entries.push(entry.clone());
        entry
    }

    fn page(&self, after: u64) -> Page {
        let start = usize::try_from(after).unwrap_or(usize::MAX).max(self.first_held).min(self.entries.len());
        Page {
            top: self.top(),
            entries: self.entries[start..].to_vec(),
            more: false,
            has_changes: false,
            has_rights: false,
        }
    }

    fn position(&self, seq: usize) -> Position {
        let message_id = if seq == 0 { MessageId::NONE } else { self.entries[seq - 1].message_id };
        Position { epoch: self.epoch, seq: seq as u64, message_id }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// A message is appended, and the channel delivers it so many times: never, once or twice.
    Append(u8),
    /// An earlier message is delivered again.
    Again(prop::sample::Index),
    /// The store lost its newest messages.
    RollBack(prop::sample::Index),
    /// The store lost the log.
    StartAfresh,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0_u8..3).prop_map(Step::Append),
        2 => any::<prop::sample::Index>().prop_map(Step::Again),
        1 => any::<prop::sample::Index>().prop_map(Step::RollBack),
        1 => Just(Step::StartAfresh),
    ]
}

proptest! {
    #![proptest_config(cases())]

    /// Whatever the channel loses or repeats and the store rolls back: each accepted message follows the last accepted one in the
    /// same log, and no other message is accepted.
    #[test]
    fn sequencer_accepts_only_the_next_entry(steps in prop::collection::vec(step(), 1..80)) {
        let mut log = Log::new();
        let mut last = log.top();
        let mut taken: Vec<MessageId> = Vec::new();
        let mut arrived: Vec<(Epoch, Entry)> = Vec::new();
        for step in steps {
            let mut arrivals = Vec::new();
            match step {
                Step::Append(copies) => {
                    let entry = log.append();
                    arrivals.extend((0..copies).map(|_| (log.epoch, entry.clone())));
                }
                Step::Again(which) if !arrived.is_empty() => arrivals.push(which.get(&arrived).clone()),
                Step::RollBack(to) => log.entries.truncate(to.index(log.entries.len() + 1)),
                Step::StartAfresh => log = Log::new(),
                Step::Again(_) => {}
            }
            for (epoch, entry) in arrivals {
                match judge(&last, epoch, &entry, None) {
                    Verdict::Next => {
                        prop_assert_eq!((epoch, entry.seq, entry.prev), (last.epoch, last.seq + 1, last.message_id));
                        prop_assert!(!taken.contains(&entry.message_id));
                        taken.push(entry.message_id);
                        last = Position { epoch, seq: entry.seq, message_id: entry.message_id };
                    }
                    Verdict::Repeat => prop_assert_eq!(entry.message_id, last.message_id),
                    // The node would read the log; the test continues at its top.
                    Verdict::Gap | Verdict::Conflict => {
                        last = log.top();
                        taken.clear();
                    }
                }
                arrived.push((epoch, entry));
            }
        }
    }

    /// A position is recovered exactly if the log still holds its message and all messages after it.
    #[test]
    fn resume_is_proved_exactly_if_nothing_is_missing(
        before in 0_usize..40, at in any::<prop::sample::Index>(), lost in 0_usize..40, after in 0_usize..40,
        trimmed in any::<prop::sample::Index>(), afresh in prop::bool::weighted(0.1),
    ) {
        let mut log = Log::new();
        (0..before).for_each(|_| drop(log.append()));
        let position = log.position(at.index(before + 1));
        log.entries.truncate(before.saturating_sub(lost));
        (0..after).for_each(|_| drop(log.append()));
        if afresh {
            let length = log.entries.len();
            log = Log::new();
            (0..length).for_each(|_| drop(log.append()));
        }
        log.first_held = trimmed.index(log.entries.len() + 1);
        let seq = usize::try_from(position.seq).unwrap();
        let is_same_log = log.epoch == position.epoch && seq <= log.entries.len() && log.position(seq) == position;
        let verdict = continuity(&Cursor::from(position), &log.page(position.seq));
        if !is_same_log {
            prop_assert!(verdict.is_some(), "recovered across a rollback");
        } else if log.first_held > seq {
            prop_assert_eq!(verdict, Some(GapReason::Trimmed));
        } else {
            prop_assert_eq!(verdict, None);
        }
    }

    /// A forged position is never recovered.
    #[test]
    fn forged_position_is_never_proved(messages in 0_usize..20, seq in 1_u64..40, has_epoch: bool, has_id: bool) {
        let mut log = Log::new();
        (0..messages).for_each(|_| drop(log.append()));
        let claim = Since {
            epoch: has_epoch.then_some(log.epoch),
            seq,
            message_id: has_id.then(MessageId::generate),
        };
        prop_assert!(continuity(&Cursor::from(claim), &log.page(seq)).is_some());
    }

    /// A place that the node chose by number is one as long as the log has what it had up to there.
    #[test]
    fn place_by_number_is_below_what_the_log_lost(
        messages in 0_usize..20, lost in 0_usize..20, after in 0_usize..20, seq in 0_u64..40,
    ) {
        let mut log = Log::new();
        (0..messages).for_each(|_| drop(log.append()));
        let cursor = Cursor::unproven(&log.top(), seq);
        let kept = messages.saturating_sub(lost);
        log.entries.truncate(kept);
        (0..after).for_each(|_| drop(log.append()));
        prop_assert_eq!(continuity(&cursor, &log.page(seq)).is_none(), seq <= kept as u64);
    }

    /// In any period, no more passes than the burst and what the rate adds; and a request waits only if that is used up.
    #[test]
    fn bucket_keeps_its_rate(
        rate in 1_u32..200, burst in 1_u32..200, costs in prop::collection::vec((1_u32..6, 0_u64..200), 1..60),
    ) {
        let start = Instant::now();
        let mut now = start;
        // The cost that was spent since each request began.
        let mut since: Vec<(Instant, u32)> = Vec::new();
        let mut bucket = TokenBucket::new(rate, burst, start);
        for (cost, pause_ms) in costs {
            now += Duration::from_millis(pause_ms);
            since.push((now, 0));
            let wait = bucket.take(cost, now);
            // Like the session: a request over the rate waits before the next one is read.
            now += wait;
            let mut most = f64::NEG_INFINITY;
            for (begun, spent) in &mut since {
                *spent += cost;
                let allowed = f64::from(burst) + f64::from(rate) * (now - *begun).as_secs_f64();
                most = most.max(f64::from(*spent) - allowed);
            }
            prop_assert!(most <= 1e-3, "{most} too much");
            prop_assert!(wait.is_zero() || most >= -1e-3, "{wait:?} with {} left", -most);
        }
    }

    /// Nodes enter and leave users, renew, stall, crash, recover and clean up in any order. The members are the users that a
    /// node with a running lease holds, each change is published once, and in the end all live nodes have all their members.
    #[test]
    fn presence_follows_the_leases(steps in lease_model::steps()) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(leases::run(&leases::TestStore::Embedded(OnceLock::new()), steps));
    }

    /// An accepted name is accepted again without a change.
    #[test]
    fn name_normalisation_is_idempotent(text in "\\PC{0,80}") {
        if let Ok(name) = UserName::parse(&text) {
            prop_assert_eq!(UserName::parse(name.as_str()), Ok(name.clone()));
            prop_assert!((1..=64).contains(&name.as_str().chars().count()));
            let room = RoomName::parse(&text).unwrap();
            prop_assert_eq!(room.as_str(), name.as_str());
        }
    }

    /// The decoder accepts or refuses any text.
    #[test]
    fn any_text_is_decoded_or_refused(text in "\\PC{0,200}") {
        if let Err(rejected) = ClientMessage::decode(&text, 16_384) {
            prop_assert!(!rejected.message.is_empty());
        }
    }

    /// The decoder accepts or refuses requests that are almost valid.
    #[test]
    fn near_valid_requests_are_decoded_or_refused(
        kind in "Enter|Leave|GroupChat|PrivateChat|Auth|Typing|History|Members|Read|Ping|Shout",
        field in "room|content|since|history|before|epoch|limit|after|seq|message_id|target_username|sender_username",
        value in r#"null|true|-1|0|201|1e3|""|"x"|\{\}|\[\]|\{"epoch":"x","seq":1,"message_id":"y"\}"#,
        id in r#"null|""|"i"|7"#,
    ) {
        let text = format!(
            r#"{{"message_type":"{kind}","id":{id},"message_body":{{"sender_username":"a","content":"c","{field}":{value}}}}}"#
        );
        if let Err(rejected) = ClientMessage::decode(&text, 16_384) {
            prop_assert!(!rejected.message.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(some_cases())]

    /// Whatever clients send and the node holds: no text frame is larger than `limits.max_delivery_bytes`, or than the request
    /// asked for.
    #[test]
    fn frames_keep_to_the_bound(start in frame_model::start(), steps in frame_model::steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(frame_model::run(start, steps));
    }
}
