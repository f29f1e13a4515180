//! The entries that a log in memory holds, with what their changes come to. Owns retention, by the rules of the Redis scripts: how
//! many messages and changes stay, and what goes first; charges the budget for them. Held by the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::budget::{Budget, Usage};
use super::folds::Folds;
use crate::backend::body::with_id;
use crate::backend::{Change, ChangeKind, ChangeRefusal, Entry, Links, Owner};
use crate::protocol::MessageId;
use crate::protocol::stored::is_message;

/// Estimated size of an entry without its body, bytes.
const ENTRY_COST: usize = 192;

/// Limits of what a log keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retention {
    pub(super) max_messages: u64,
    pub(super) max_age: Duration,
    pub(super) max_bytes: u64,
    pub(super) dedupe_window: Duration,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message,
    Change,
    /// Stands in the place of an erased entry.
    Tombstone,
}

/// An entry that is held.
pub(super) struct Held {
    pub(super) entry: Entry,
    /// When it was stored, by a clock that can't be set.
    since: u64,
    owner: Option<Owner>,
    kind: Kind,
    has_links: bool,
}

impl Held {
    /// What the entry is charged. A change counts twice, since its message keeps what it comes to; a message with links too.
    pub(super) fn cost(&self) -> usize {
        let cost = ENTRY_COST + self.entry.body.len();
        if self.kind == Kind::Change || self.has_links { 2 * cost } else { cost }
    }

    pub(super) fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// Whether it is a message that was not taken back.
    pub(super) fn is_message(&self) -> bool {
        self.kind == Kind::Message
    }

    fn bytes(&self) -> u64 {
        self.entry.body.len() as u64
    }
}

/// Entries with ascending `seq`. Above the floor, none is missing between them.
pub(super) struct Entries {
    held: VecDeque<Held>,
    bytes: u64,
    messages: u64,
    changes: u64,
    /// The `seq` up to which changes are no longer held.
    floor: u64,
    pub(super) folds: Folds,
    budget: Arc<Budget>,
}

impl Entries {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        let (held, folds) = (VecDeque::new(), Folds::default());
        Self { held, bytes: 0, messages: 0, changes: 0, floor: 0, folds, budget }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Sum of the bodies.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All that are held, the oldest first.
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &Held> + ExactSizeIterator {
        self.held.iter()
    }

    /// Those from one `seq` to another.
    pub(super) fn between(&self, from: u64, to: u64) -> impl DoubleEndedIterator<Item = &Held> {
        let index = |seq| self.held.partition_point(|held| held.entry.seq < seq);
        let start = index(from);
        self.held.range(start..index(to.saturating_add(1)).max(start))
    }

    /// Those that follow a `seq`. Each one follows the one before: those of which some are no longer held are left out.
    pub(super) fn after(&self, seq: u64) -> impl DoubleEndedIterator<Item = &Held> + ExactSizeIterator {
        let seq = seq.max(self.floor);
        self.held.range(self.held.partition_point(|held| held.entry.seq <= seq)..)
    }

    /// How many messages after a `seq` were not taken back.
    pub(super) fn messages_after(&self, seq: u64) -> u64 {
        let start = self.held.partition_point(|held| held.entry.seq <= seq);
        self.held.range(start..).filter(|held| held.is_message()).count() as u64
    }

    /// The body of an entry.
    pub(super) fn body(&self, seq: u64) -> Option<&Bytes> {
        self.index(seq).map(|index| &self.held[index].entry.body)
    }

    fn index(&self, seq: u64) -> Option<usize> {
        self.held.binary_search_by_key(&seq, |held| held.entry.seq).ok()
    }

    /// Where the entry with this id is. The ids of a log sort by `seq`.
    fn find(&self, id: MessageId) -> Option<usize> {
        self.held.binary_search_by_key(&id, |held| held.entry.message_id).ok()
    }

    /// Adds the newest entry.
    pub(super) fn push(&mut self, entry: Entry, since: u64, owner: Option<Owner>, links: &Links) {
        let kind = if is_message(&entry.body) { Kind::Message } else { Kind::Change };
        let answered = links.answers.iter().filter_map(|id| self.find(*id));
        let answered: Vec<u64> = answered
            .map(|at| &self.held[at])
            .filter(|held| held.is_message())
            .map(|held| held.entry.seq)
            .collect();
        let has_links = self.folds.link(entry.seq, answered, &links.mentions);
        let held = Held { entry, since, owner, kind, has_links };
        self.bytes += held.bytes();
        match kind {
            Kind::Message => self.messages += 1,
            Kind::Change => self.changes += 1,
            Kind::Tombstone => {}
        }
        self.budget.charge(owner, Usage::of_messages(held.cost()));
        self.held.push_back(held);
    }

    /// Checks a change of a message of this log. False if it would change nothing.
    pub(super) fn check_change(&self, change: &Change, now: u64) -> Result<bool, ChangeRefusal> {
        let Held { entry, since, .. } =
            &self.held[self.find(change.target).ok_or(ChangeRefusal::NotFound)?];
        self.folds.check(entry, Duration::from_millis(now.saturating_sub(*since)), change)
    }

    /// Whether this message was taken back.
    pub(super) fn is_retracted(&self, id: MessageId) -> bool {
        self.find(id).is_some_and(|index| self.held[index].kind == Kind::Tombstone)
    }

    /// Applies a change, which is the newest entry. Erases what a retraction erases.
    pub(super) fn apply_change(&mut self, change: &Change) {
        let (Some(index), Some(newest)) = (self.find(change.target), self.held.back()) else { return };
        let seq = self.held[index].entry.seq;
        let newest = (newest.entry.seq, newest.entry.message_id);
        let erased = self.folds.apply(seq, newest, change);
        let ChangeKind::Retract { tombstone, .. } = &change.kind else { return };
        for index in erased.into_iter().filter_map(|seq| self.index(seq)).collect::<Vec<_>>() {
            let id = self.held[index].entry.message_id;
            self.replace(index, with_id(tombstone.clone(), change.target, id));
        }
    }

    /// Puts a tombstone into the place of an entry.
    fn replace(&mut self, index: usize, body: Bytes) {
        self.uncount(index);
        let held = &mut self.held[index];
        (held.kind, held.has_links, held.entry.body) = (Kind::Tombstone, false, body);
        let (owner, cost) = (held.owner, held.cost());
        self.budget.charge(owner, Usage::of_messages(cost));
        self.bytes += self.held[index].bytes();
    }

    /// Takes an entry out of the sums and out of the budget.
    fn uncount(&mut self, index: usize) {
        let held = &self.held[index];
        self.bytes -= held.bytes();
        match held.kind {
            Kind::Message => self.messages -= 1,
            Kind::Change => self.changes -= 1,
            Kind::Tombstone => {}
        }
        self.budget.release(held.owner, Usage::of_messages(held.cost()));
    }

    /// Deletes the oldest entry.
    fn drop_oldest(&mut self) {
        self.uncount(0);
        if let Some(oldest) = self.held.pop_front() {
            self.folds.remove(oldest.entry.seq);
        }
    }

    /// Deletes all entries, or all but the newest one.
    pub(super) fn clear(&mut self, keeps_newest: bool) {
        while self.held.len() > usize::from(keeps_newest) {
            self.drop_oldest();
        }
        self.held.shrink_to_fit();
    }

    /// Deletes what exceeds the limits. The newest entry stays until it is too old, whatever its size: subscribers have already
    /// received it.
    pub(super) fn trim(&mut self, now: u64, retention: &Retention) {
        self.trim_changes(retention);
        let oldest = now.saturating_sub(retention.max_age.as_millis() as u64);
        while let Some(head) = self.held.front() {
            let is_newest = self.held.len() == 1;
            let over =
                !is_newest && (self.messages > retention.max_messages || self.bytes > retention.max_bytes);
            if !over && head.since > oldest {
                break;
            }
            self.drop_oldest();
        }
        // The estimate allows for a queue that is half empty.
        if self.held.capacity() > 4 * self.held.len().max(4) {
            self.held.shrink_to(2 * self.held.len());
        }
    }

    /// Deletes the oldest changes: if there are too many, or if the log takes too many bytes. Messages stay for it: only resumes need
    /// these entries, and what they came to is folded into their messages.
    fn trim_changes(&mut self, retention: &Retention) {
        let max = 4 * retention.max_messages;
        let is_over = |changes, bytes| changes > max || bytes > retention.max_bytes;
        if self.changes == 0 || !is_over(self.changes, self.bytes) {
            return;
        }
        // Some more at once, so that not every change moves entries.
        let kept = if self.changes > max { max - (max / 32).min(64) + 1 } else { max };
        let newest = self.held.back().map_or(0, |held| held.entry.seq);
        let (mut changes, mut bytes) = (self.changes, self.bytes);
        self.held.retain(|held| {
            let goes = held.kind == Kind::Change
                && held.entry.seq < newest
                && (changes > kept || bytes > retention.max_bytes);
            if goes {
                (changes, bytes, self.floor) = (changes - 1, bytes - held.bytes(), held.entry.seq);
                self.budget.release(held.owner, Usage::of_messages(held.cost()));
            }
            !goes
        });
        (self.changes, self.bytes) = (changes, bytes);
    }
}
