//! Log of one topic in memory. Owns sequence, deduplication and retention, by the rules of the Redis scripts; does not
//! know the listeners. Called by the embedded broker under the topic's lock.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::backend::{Entry, Page, PageLimit, Range};
use crate::protocol::{Epoch, MessageId, Position};

/// Estimated sizes without the bodies, bytes.
const LOG_COST: usize = 1_024;
const ENTRY_COST: usize = 160;
const RECORD_COST: usize = 192;

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

pub(super) struct Log {
    pub(super) top: Position,
    entries: VecDeque<Entry>,
    bytes: u64,
    /// Records of the current window and of the previous one. So a record lives for one to two windows.
    records: [HashMap<String, First>; 2],
    window: u64,
    pub(super) used_at: u64,
}

impl Log {
    pub(super) fn new(now: u64) -> Self {
        Self {
            top: Position::start(Epoch::generate()),
            entries: VecDeque::new(),
            bytes: 0,
            records: Default::default(),
            window: 0,
            used_at: now,
        }
    }

    /// Finds the first publish with this dedupe key.
    pub(super) fn first(&mut self, key: &str, now: u64, retention: &Retention) -> Option<First> {
        self.rotate(now, retention);
        self.records.iter().find_map(|records| records.get(key)).cloned()
    }

    /// Returns the body of a message that the log still holds.
    pub(super) fn body(&self, seq: u64) -> Option<Bytes> {
        let first = self.entries.front()?.seq;
        self.entries.get(usize::try_from(seq.checked_sub(first)?).ok()?).map(|entry| entry.body.clone())
    }

    /// Appends a message and its dedupe record.
    pub(super) fn append(
        &mut self,
        key: String,
        message_id: MessageId,
        sent_at: u64,
        body: Bytes,
        now: u64,
        retention: &Retention,
    ) -> Entry {
        self.rotate(now, retention);
        self.used_at = now;
        let entry =
            Entry { seq: self.top.seq + 1, message_id, prev: self.top.message_id, stored_at: now, body };
        self.top = Position { seq: entry.seq, message_id, ..self.top };
        self.bytes += entry.body.len() as u64;
        self.records[0].insert(key, First { message_id, seq: entry.seq, sent_at });
        self.entries.push_back(entry.clone());
        self.trim(now, retention);
        entry
    }

    /// Estimated memory of the log, bytes.
    pub(super) fn weight(&self) -> usize {
        let records: usize = self.records.iter().map(HashMap::len).sum();
        LOG_COST + self.bytes as usize + self.entries.len() * ENTRY_COST + records * RECORD_COST
    }

    /// Deletes all messages, except the newest one if the log has listeners. Keeps the position and the dedupe records:
    /// a client that asks for these messages receives a gap with the reason `trimmed`.
    pub(super) fn evict(&mut self, has_listeners: bool) {
        let kept = usize::from(has_listeners && !self.entries.is_empty());
        self.entries.drain(..self.entries.len() - kept);
        self.entries.shrink_to_fit();
        self.bytes = self.entries.iter().map(|entry| entry.body.len() as u64).sum();
    }

    fn trim(&mut self, now: u64, retention: &Retention) {
        let oldest = now.saturating_sub(retention.max_age.as_millis() as u64);
        while let Some(head) = self.entries.front() {
            // The newest message stays, whatever its size: subscribers have already received it.
            let is_newest = self.entries.len() == 1;
            let over = self.entries.len() as u64 > retention.max_messages
                || (self.bytes > retention.max_bytes && !is_newest);
            if !over && head.stored_at > oldest {
                return;
            }
            self.bytes -= head.body.len() as u64;
            self.entries.pop_front();
        }
    }

    fn rotate(&mut self, now: u64, retention: &Retention) {
        let window = now / (retention.dedupe_window.as_millis() as u64).max(1);
        if window != self.window {
            let previous = std::mem::take(&mut self.records[0]);
            self.records[1] = if window == self.window + 1 { previous } else { HashMap::new() };
            self.window = window;
        }
    }

    /// True if the log holds neither messages nor dedupe records: deleting it loses nothing.
    pub(super) fn is_unused(&mut self, now: u64, retention: &Retention) -> bool {
        self.trim(now, retention);
        self.rotate(now, retention);
        self.entries.is_empty() && self.records.iter().all(HashMap::is_empty)
    }

    /// Reads a page, by the rules of [`Range`] and [`PageLimit`].
    pub(super) fn page(&mut self, range: Range, limit: PageLimit, now: u64, retention: &Retention) -> Page {
        self.trim(now, retention);
        self.used_at = now;
        let first = self.entries.front().map_or(self.top.seq + 1, |entry| entry.seq);
        let held = self.entries.len();
        let index = |seq: u64| usize::try_from(seq.saturating_sub(first)).unwrap_or(held).min(held);
        let mut bytes = 0;
        let mut fits = |entry: &&Entry| {
            let is_first = bytes == 0;
            bytes += entry.body.len().max(1);
            is_first || bytes <= limit.bytes
        };
        let count = limit.messages as usize;
        let (entries, more): (Vec<Entry>, bool) = match range {
            Range::Top => (Vec::new(), false),
            Range::After(seq) => {
                let start = index(seq.saturating_add(1));
                let taken: Vec<_> =
                    self.entries.range(start..).take(count).take_while(|e| fits(e)).cloned().collect();
                let more = start + taken.len() < held;
                (taken, more)
            }
            Range::Before(_) | Range::Newest => {
                let end = if let Range::Before(seq) = range { index(seq) } else { held };
                let mut taken: Vec<_> =
                    self.entries.range(..end).rev().take(count).take_while(|e| fits(e)).cloned().collect();
                taken.reverse();
                let more = taken.len() < end;
                (taken, more)
            }
        };
        Page { top: self.top, entries, more }
    }
}
