//! Log of one topic in memory. Owns sequence, deduplication and retention, by the rules of the Redis scripts; does not
//! know the listeners. Called by the embedded broker under the topic's lock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::budget::{Budget, Usage};
use super::folds::Folds;
use crate::backend::body::with_id;
use crate::backend::{
    Change, ChangeKind, ChangeRefusal, Entry, MessagePage, Owner, Page, PageLimit, Range, UNOPENED_INBOX,
};
use crate::protocol::stored::is_message;
use crate::protocol::{Epoch, MessageId, Position, UserName};

/// Estimated sizes, bytes, with the slack of the collections, which may be half empty: a log without its name, a message
/// without its body, a dedupe record.
const LOG_COST: usize = 1_024;
const ENTRY_COST: usize = 192;
const RECORD_COST: usize = 160;

/// What an entry with this body is charged. A change counts twice: its message keeps what it comes to.
fn entry_cost(body: &[u8]) -> usize {
    let cost = ENTRY_COST + body.len();
    if is_message(body) { cost } else { 2 * cost }
}

/// Limits of what a log keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    pub(super) max_messages: u64,
    pub(super) max_age: Duration,
    pub(super) max_bytes: u64,
    pub(super) dedupe_window: Duration,
}

/// Dedupe record: the first publish with a dedupe key.
#[derive(Debug, Clone)]
pub(super) struct First {
    pub(super) message_id: MessageId,
    pub(super) seq: u64,
    pub(super) sent_at: u64,
}

/// A dedupe key as a part of its SHA-256: a client chooses how long its keys are, and a record must not be longer for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RecordKey([u8; 16]);

impl RecordKey {
    pub(super) fn of(dedupe_key: &str) -> Self {
        let hash = Sha256::digest(dedupe_key.as_bytes());
        Self(std::array::from_fn(|index| hash[index]))
    }
}

/// Something that a log holds, and whom it is charged to.
struct Charged<T> {
    held: T,
    owner: Option<Owner>,
}

/// An entry with the time at which it was stored, by a clock that can't be set.
struct Aged {
    entry: Entry,
    since: u64,
}

/// What a publish adds to a log.
pub(super) struct Addition {
    /// `None` if nobody can repeat the publish.
    pub(super) key: Option<RecordKey>,
    pub(super) message_id: MessageId,
    pub(super) sent_at: u64,
    /// Unix ms.
    pub(super) stored_at: u64,
    pub(super) body: Bytes,
    pub(super) owner: Option<Owner>,
}

pub(super) struct Log {
    pub(super) top: Position,
    entries: VecDeque<Charged<Aged>>,
    bytes: u64,
    folds: Folds,
    /// Records of the current window and of the previous one. So a record lives for one to two windows.
    records: [HashMap<RecordKey, Charged<First>>; 2],
    window: u64,
    pub(super) used_at: u64,
    /// Whether anyone has read it or listened to it.
    pub(super) is_opened: bool,
    budget: Arc<Budget>,
    /// Estimated size of the log itself, and whom it is charged to: who publishes to a log that did not hold anything.
    cost: usize,
    creator: Option<Owner>,
}

impl Log {
    /// An empty log of a topic whose name has this length, bytes. It charges all that it holds to the budget.
    pub(super) fn new(now: u64, name_bytes: usize, budget: Arc<Budget>) -> Self {
        let cost = LOG_COST + name_bytes;
        budget.charge(None, Usage::of_records(cost));
        Self {
            top: Position::start(Epoch::generate()),
            entries: VecDeque::new(),
            bytes: 0,
            folds: Folds::default(),
            records: Default::default(),
            window: 0,
            used_at: now,
            is_opened: false,
            budget,
            cost,
            creator: None,
        }
    }

    /// Finds the first publish with this dedupe key. Without a key there is none.
    pub(super) fn first(
        &mut self,
        key: Option<&RecordKey>,
        now: u64,
        retention: &Retention,
    ) -> Option<First> {
        self.rotate(now, retention);
        let key = key?;
        self.records.iter().find_map(|records| records.get(key)).map(|record| record.held.clone())
    }

    /// Returns the body of a message that the log still holds.
    pub(super) fn body(&self, seq: u64) -> Option<Bytes> {
        let first = self.entries.front()?.held.entry.seq;
        let index = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.entries.get(index).map(|entry| entry.held.entry.body.clone())
    }

    /// Appends a message and its dedupe record.
    pub(super) fn append(&mut self, addition: Addition, now: u64, retention: &Retention) -> Entry {
        let Addition { key, message_id, sent_at, stored_at, body, owner } = addition;
        if self.is_unused(now, retention) {
            self.charge_log_to(owner);
        }
        self.used_at = now;
        let entry = Entry { seq: self.top.seq + 1, message_id, prev: self.top.message_id, stored_at, body };
        self.top = Position { seq: entry.seq, message_id, ..self.top };
        self.bytes += entry.body.len() as u64;
        let mut usage = Usage::of_messages(entry_cost(&entry.body));
        if let Some(key) = key {
            usage.records = RECORD_COST;
            let first = First { message_id, seq: entry.seq, sent_at };
            self.records[0].insert(key, Charged { held: first, owner });
        }
        self.budget.charge(owner, usage);
        self.entries.push_back(Charged { held: Aged { entry: entry.clone(), since: now }, owner });
        self.trim(now, retention);
        entry
    }

    /// True if the log takes one more message of this size: nothing unread is trimmed for its size in the private log of a user
    /// who has never connected.
    pub(super) fn takes(&mut self, bytes: usize, now: u64, retention: &Retention) -> bool {
        if self.is_opened {
            return true;
        }
        self.trim(now, retention);
        let max_messages = u64::from(UNOPENED_INBOX.messages).min(retention.max_messages);
        let max_bytes = (UNOPENED_INBOX.bytes as u64).min(retention.max_bytes);
        self.entries.is_empty()
            || ((self.entries.len() as u64) < max_messages && self.bytes + bytes as u64 <= max_bytes)
    }

    /// Where the entry with this id is.
    fn find(&self, id: MessageId) -> Option<usize> {
        self.entries.binary_search_by_key(&id, |entry| entry.held.entry.message_id).ok()
    }

    /// Checks a change of a message of this log. False if it would change nothing.
    pub(super) fn check_change(
        &mut self,
        change: &Change,
        now: u64,
        retention: &Retention,
    ) -> Result<bool, ChangeRefusal> {
        self.trim(now, retention);
        let index = self.find(change.target).ok_or(ChangeRefusal::NotFound)?;
        let Aged { entry, since } = &self.entries[index].held;
        self.folds.check(entry, Duration::from_millis(now.saturating_sub(*since)), change)
    }

    /// Applies a change, which is the newest entry. Erases what a retraction erases.
    pub(super) fn apply_change(&mut self, change: &Change) {
        let Some(index) = self.find(change.target) else { return };
        let seq = self.entries[index].held.entry.seq;
        let erased = self.folds.apply(seq, (self.top.seq, self.top.message_id), change);
        let ChangeKind::Retract { tombstone } = &change.kind else { return };
        for seq in erased {
            let first = self.entries.front().map_or(0, |entry| entry.held.entry.seq);
            let at = seq.checked_sub(first).and_then(|at| usize::try_from(at).ok());
            let Some(Charged { held, owner }) = at.and_then(|at| self.entries.get_mut(at)) else { continue };
            let body = with_id(tombstone.clone(), change.target, held.entry.message_id);
            self.budget.release(*owner, Usage::of_messages(entry_cost(&held.entry.body)));
            self.budget.charge(*owner, Usage::of_messages(entry_cost(&body)));
            self.bytes = self.bytes - held.entry.body.len() as u64 + body.len() as u64;
            held.entry.body = body;
        }
    }

    /// Reads messages below a `seq`, or the newest ones, with their changes.
    pub(super) fn messages(
        &mut self,
        before: Option<u64>,
        limit: PageLimit,
        reader: Option<&UserName>,
        (now, retention): (u64, &Retention),
    ) -> MessagePage {
        let top = self.page(Range::Top, limit, now, retention).top;
        let first = self.entries.front().map_or(top.seq + 1, |entry| entry.held.entry.seq);
        let below =
            before.map_or(usize::MAX, |seq| usize::try_from(seq.saturating_sub(first)).unwrap_or(usize::MAX));
        let mut entries = self.entries.range(..below.min(self.entries.len())).rev();
        let (mut messages, mut bytes, mut reached, mut more) = (Vec::new(), 0, top.seq + 1, false);
        for Charged { held: Aged { entry, .. }, .. } in &mut entries {
            let fold = self.folds.fold(entry.seq, reader);
            if is_message(&entry.body) || fold.is_retracted {
                bytes += entry.body.len();
                let is_full = messages.len() == limit.messages as usize || bytes > limit.bytes;
                if is_full && !messages.is_empty() {
                    more = true;
                    break;
                }
                messages.push((entry.clone(), fold));
            }
            reached = entry.seq;
        }
        messages.reverse();
        MessagePage { top, messages, reached, more }
    }

    fn charge_log_to(&mut self, owner: Option<Owner>) {
        self.budget.release(self.creator, Usage::of_records(self.cost));
        self.budget.charge(owner, Usage::of_records(self.cost));
        self.creator = owner;
    }

    /// Who has most of the bytes of this log; its creator if it has no messages.
    pub(super) fn main_owner(&self) -> Option<Owner> {
        let mut bytes: HashMap<Option<Owner>, usize> = HashMap::new();
        for entry in &self.entries {
            *bytes.entry(entry.owner).or_default() += entry_cost(&entry.held.entry.body);
        }
        bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map_or(self.creator, |(owner, _)| owner)
    }

    /// Deletes all messages, except the newest one if the log has listeners. Keeps the position and the dedupe records:
    /// a client that asks for these messages receives a gap with the reason `trimmed`.
    pub(super) fn evict(&mut self, has_listeners: bool) {
        let kept = usize::from(has_listeners);
        while self.entries.len() > kept {
            self.drop_oldest();
        }
        self.entries.shrink_to_fit();
    }

    /// True if no dedupe record keeps the log.
    pub(super) fn has_no_records(&mut self, now: u64, retention: &Retention) -> bool {
        self.rotate(now, retention);
        self.records.iter().all(HashMap::is_empty)
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        let entry = oldest.held.entry;
        self.bytes -= entry.body.len() as u64;
        self.folds.remove(entry.seq);
        self.budget.release(oldest.owner, Usage::of_messages(entry_cost(&entry.body)));
    }

    fn drop_records(&mut self, records: HashMap<RecordKey, Charged<First>>) {
        let cost = Usage::of_records(RECORD_COST);
        records.into_values().for_each(|record| self.budget.release(record.owner, cost));
    }

    fn trim(&mut self, now: u64, retention: &Retention) {
        let oldest = now.saturating_sub(retention.max_age.as_millis() as u64);
        while let Some(head) = self.entries.front() {
            // The newest message stays, whatever its size: subscribers have already received it.
            let is_newest = self.entries.len() == 1;
            let over = self.entries.len() as u64 > retention.max_messages
                || (self.bytes > retention.max_bytes && !is_newest);
            if !over && head.held.since > oldest {
                break;
            }
            self.drop_oldest();
        }
        // The estimate allows for a queue that is half empty.
        if self.entries.capacity() > 4 * self.entries.len().max(4) {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    fn rotate(&mut self, now: u64, retention: &Retention) {
        let window = now / (retention.dedupe_window.as_millis() as u64).max(1);
        if window != self.window {
            let newer = std::mem::take(&mut self.records[0]);
            let older = std::mem::take(&mut self.records[1]);
            self.drop_records(older);
            if window == self.window + 1 {
                self.records[1] = newer;
            } else {
                self.drop_records(newer);
            }
            self.window = window;
        }
    }

    /// True if the log holds neither messages nor dedupe records: deleting it loses nothing.
    pub(super) fn is_unused(&mut self, now: u64, retention: &Retention) -> bool {
        // Most logs hold a record, and need no closer look.
        if !self.has_no_records(now, retention) {
            return false;
        }
        self.trim(now, retention);
        self.entries.is_empty()
    }

    /// Reads a page, by the rules of [`Range`] and [`PageLimit`].
    pub(super) fn page(&mut self, range: Range, limit: PageLimit, now: u64, retention: &Retention) -> Page {
        self.trim(now, retention);
        self.used_at = now;
        self.is_opened = true;
        let first = self.entries.front().map_or(self.top.seq + 1, |entry| entry.held.entry.seq);
        let held = self.entries.len();
        let index = |seq: u64| usize::try_from(seq.saturating_sub(first)).unwrap_or(held).min(held);
        let mut bytes = 0;
        let mut fits = |entry: &&Charged<Aged>| {
            let is_first = bytes == 0;
            bytes += entry.held.entry.body.len().max(1);
            is_first || bytes <= limit.bytes
        };
        let count = limit.messages as usize;
        let (entries, more): (Vec<Entry>, bool) = match range {
            Range::Top => (Vec::new(), false),
            Range::After(seq) => {
                let start = index(seq.saturating_add(1));
                let taken = self.entries.range(start..).take(count).take_while(|entry| fits(entry));
                let taken: Vec<Entry> = taken.map(|entry| entry.held.entry.clone()).collect();
                let more = start + taken.len() < held;
                (taken, more)
            }
            Range::Before(_) | Range::Newest => {
                let end = if let Range::Before(seq) = range { index(seq) } else { held };
                let taken = self.entries.range(..end).rev().take(count).take_while(|entry| fits(entry));
                let mut taken: Vec<Entry> = taken.map(|entry| entry.held.entry.clone()).collect();
                taken.reverse();
                let more = taken.len() < end;
                (taken, more)
            }
        };
        Page { top: self.top, entries, more }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.evict(false);
        for records in std::mem::take(&mut self.records) {
            self.drop_records(records);
        }
        self.budget.release(self.creator, Usage::of_records(self.cost));
    }
}
