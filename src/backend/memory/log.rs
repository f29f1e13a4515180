//! Log of one topic in memory. Owns sequence, deduplication and retention, by the rules of the Redis scripts; does not
//! know the listeners. Called by the embedded broker under the topic's lock.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::budget::{Budget, Usage};
use super::entries::{Entries, Held, Retention};
use super::rights::{Plan, Rights};
use crate::backend::{
    Change, ChangeRefusal, Entry, Links, MessagePage, Owner, Page, PageLimit, Range, UNOPENED_INBOX, Unread,
};
use crate::protocol::stored::is_message;
use crate::protocol::{Epoch, MessageId, Position, UserName};

/// Estimated sizes, bytes, with the slack of the collections, which may be half empty: a log without its name, a dedupe record.
const LOG_COST: usize = 1_024;
const RECORD_COST: usize = 160;

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
    pub(super) links: Links,
}

pub(super) struct Log {
    pub(super) top: Position,
    entries: Entries,
    /// A message was changed, or answered, once.
    has_changes: bool,
    /// Records of the current window and of the previous one. So a record lives for one to two windows.
    records: [HashMap<RecordKey, Charged<First>>; 2],
    window: u64,
    pub(super) used_at: u64,
    /// Whether anyone has read it or listened to it.
    pub(super) is_opened: bool,
    /// The rights of the room. As long as it has some, the log stays.
    pub(super) rights: Rights,
    /// Estimated size of the rights, and whom it is charged to: who changed them last.
    rights_cost: usize,
    rights_owner: Option<Owner>,
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
            entries: Entries::new(budget.clone()),
            has_changes: false,
            records: Default::default(),
            window: 0,
            used_at: now,
            is_opened: false,
            rights: Rights::default(),
            rights_cost: 0,
            rights_owner: None,
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
        self.entries.body(seq).cloned()
    }

    /// Appends a message and its dedupe record.
    pub(super) fn append(&mut self, addition: Addition, now: u64, retention: &Retention) -> Entry {
        let Addition { key, message_id, sent_at, stored_at, body, owner, links } = addition;
        if self.is_unused(now, retention) {
            self.charge_log_to(owner);
        }
        self.used_at = now;
        let entry = Entry { seq: self.top.seq + 1, message_id, prev: self.top.message_id, stored_at, body };
        self.top = Position { seq: entry.seq, message_id, ..self.top };
        if let Some(key) = key {
            self.budget.charge(owner, Usage::of_records(RECORD_COST));
            let first = First { message_id, seq: entry.seq, sent_at };
            self.records[0].insert(key, Charged { held: first, owner });
        }
        self.has_changes |= !links.is_empty();
        self.entries.push(entry.clone(), now, owner, &links);
        self.entries.trim(now, retention);
        entry
    }

    /// True if the log takes one more message of this size: nothing unread is trimmed for its size in the private log of a user
    /// who has never connected.
    pub(super) fn takes(&mut self, bytes: usize, now: u64, retention: &Retention) -> bool {
        if self.is_opened {
            return true;
        }
        self.entries.trim(now, retention);
        let max_messages = u64::from(UNOPENED_INBOX.messages).min(retention.max_messages);
        let max_bytes = (UNOPENED_INBOX.bytes as u64).min(retention.max_bytes);
        self.entries.is_empty()
            || ((self.entries.len() as u64) < max_messages
                && self.entries.bytes() + bytes as u64 <= max_bytes)
    }

    /// Checks a change of a message of this log. False if it would change nothing.
    pub(super) fn check_change(
        &mut self,
        change: &Change,
        now: u64,
        retention: &Retention,
    ) -> Result<bool, ChangeRefusal> {
        self.entries.trim(now, retention);
        self.entries.check_change(change, now)
    }

    /// Whether this message was taken back.
    pub(super) fn is_retracted(&self, id: MessageId) -> bool {
        self.entries.is_retracted(id)
    }

    /// Applies an update of the rights, which is the newest entry, at this time (Unix ms). Its owner pays for what is kept.
    pub(super) fn apply_rights(&mut self, plan: Plan, now: u64, owner: Option<Owner>) {
        self.rights.apply(plan, now);
        self.budget.release(self.rights_owner, Usage::of_records(self.rights_cost));
        (self.rights_cost, self.rights_owner) = (self.rights.cost(), owner);
        self.budget.charge(owner, Usage::of_records(self.rights_cost));
    }

    /// The newest entry is no message, and changes none.
    pub(super) fn note_other_entry(&mut self) {
        self.has_changes = true;
    }

    /// Applies a change, which is the newest entry. Erases what a retraction erases.
    pub(super) fn apply_change(&mut self, change: &Change) {
        self.has_changes = true;
        self.entries.apply_change(change);
    }

    /// Reads messages with their changes, by the rules of [`Range`] and [`PageLimit`].
    pub(super) fn messages(
        &mut self,
        range: Range,
        limit: PageLimit,
        reader: Option<&UserName>,
        (now, retention): (u64, &Retention),
    ) -> MessagePage {
        let top = self.page(Range::Top, limit, now, retention).top;
        let first_held = self.entries.all().next().map_or(top.seq + 1, |held| held.entry.seq);
        let (from, to) = match range {
            Range::Top => (top.seq + 1, top.seq),
            Range::After(seq) => (first_held.max(seq.saturating_add(1)), top.seq),
            Range::Before(seq) => (first_held, top.seq.min(seq.saturating_sub(1))),
            Range::Newest => (first_held, top.seq),
        };
        let is_forward = matches!(range, Range::After(_));
        let mut entries = self.entries.between(from, to);
        let mut next = || if is_forward { entries.next() } else { entries.next_back() };
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let (mut looked_at, mut more) = ((from, to), false);
        while let Some(Held { entry, .. }) = next() {
            let fold = self.entries.folds.fold(entry.seq, reader);
            if !is_message(&entry.body) && !fold.is_retracted {
                continue;
            }
            bytes += entry.body.len();
            let is_full = messages.len() == limit.messages as usize || bytes > limit.bytes;
            if is_full && !messages.is_empty() {
                more = true;
                looked_at = if is_forward { (from, entry.seq - 1) } else { (entry.seq + 1, to) };
                break;
            }
            messages.push((entry.clone(), fold));
        }
        if !is_forward {
            messages.reverse();
        }
        MessagePage { top, messages, looked_at, more, has_rights: self.rights.exist() }
    }

    /// Counts what a user has not read after a marker.
    pub(super) fn unread(
        &mut self,
        marker: Option<(Epoch, u64)>,
        user: &UserName,
        (now, retention): (u64, &Retention),
    ) -> Unread {
        self.entries.trim(now, retention);
        let marker = marker.filter(|(epoch, _)| *epoch == self.top.epoch).map_or(0, |(_, seq)| seq);
        let messages = self.entries.messages_after(marker);
        let mentions = self.entries.folds.mentions_after(marker, user);
        Unread { top: self.top, messages, mentions, has_rights: self.rights.exist() }
    }

    fn charge_log_to(&mut self, owner: Option<Owner>) {
        self.budget.release(self.creator, Usage::of_records(self.cost));
        self.budget.charge(owner, Usage::of_records(self.cost));
        self.creator = owner;
    }

    /// Who has most of the bytes of this log; its creator if it has no messages.
    pub(super) fn main_owner(&self) -> Option<Owner> {
        let mut bytes: HashMap<Option<Owner>, usize> = HashMap::new();
        for held in self.entries.all() {
            *bytes.entry(held.owner()).or_default() += held.cost();
        }
        bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map_or(self.creator, |(owner, _)| owner)
    }

    /// Deletes all messages, except the newest one if the log has listeners. Keeps the position and the dedupe records:
    /// a client that asks for these messages receives a gap with the reason `trimmed`.
    pub(super) fn evict(&mut self, has_listeners: bool) {
        self.entries.clear(has_listeners);
    }

    /// True if no dedupe record keeps the log.
    pub(super) fn has_no_records(&mut self, now: u64, retention: &Retention) -> bool {
        self.rotate(now, retention);
        self.records.iter().all(HashMap::is_empty)
    }

    fn drop_records(&mut self, records: HashMap<RecordKey, Charged<First>>) {
        let cost = Usage::of_records(RECORD_COST);
        records.into_values().for_each(|record| self.budget.release(record.owner, cost));
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

    /// True if the log holds neither messages nor dedupe records, and the room has no rights: deleting it loses nothing.
    pub(super) fn is_unused(&mut self, now: u64, retention: &Retention) -> bool {
        // Most logs hold a record, and need no closer look.
        if self.rights.exist() || !self.has_no_records(now, retention) {
            return false;
        }
        self.entries.trim(now, retention);
        self.entries.is_empty()
    }

    /// Reads a page, by the rules of [`Range`] and [`PageLimit`].
    pub(super) fn page(&mut self, range: Range, limit: PageLimit, now: u64, retention: &Retention) -> Page {
        self.entries.trim(now, retention);
        self.used_at = now;
        self.is_opened = true;
        let mut bytes = 0;
        let mut fits = |held: &&Held| {
            let is_first = bytes == 0;
            bytes += held.entry.body.len().max(1);
            is_first || bytes <= limit.bytes
        };
        let count = limit.messages as usize;
        let (entries, more): (Vec<Entry>, bool) = match range {
            Range::Top => (Vec::new(), false),
            Range::After(seq) => {
                let after = self.entries.after(seq);
                let all = after.len();
                let taken = after.take(count).take_while(|held| fits(held));
                let taken: Vec<Entry> = taken.map(|held| held.entry.clone()).collect();
                let more = taken.len() < all;
                (taken, more)
            }
            Range::Before(_) | Range::Newest => {
                let end = if let Range::Before(seq) = range { seq } else { u64::MAX };
                let mut before =
                    self.entries.after(0).rev().skip_while(|held| held.entry.seq >= end).peekable();
                let mut taken = Vec::new();
                while taken.len() < count
                    && let Some(held) = before.next_if(|held| fits(held))
                {
                    taken.push(held.entry.clone());
                }
                taken.reverse();
                (taken, before.peek().is_some())
            }
        };
        Page { top: self.top, entries, more, has_changes: self.has_changes, has_rights: self.rights.exist() }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.evict(false);
        for records in std::mem::take(&mut self.records) {
            self.drop_records(records);
        }
        self.budget.release(self.creator, Usage::of_records(self.cost));
        self.budget.release(self.rights_owner, Usage::of_records(self.rights_cost));
    }
}
