//! A topic's most recent messages, as finished frames. Owns the bound per topic, and the topic's share of the node's
//! bound. Serves joins, resumes and lagging members without a read of the log. Used by the topic under its lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::protocol::{Epoch, MessageId, Position, stored};

const MAX_FRAMES: usize = 256;
const MAX_BYTES: usize = 256 << 10;
/// What a topic may keep when the node's budget is used up: enough to recognise a repeat.
const MIN_FRAMES: usize = 8;

/// One message, ready to send.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    pub(super) seq: u64,
    pub(super) message_id: MessageId,
    pub(super) prev: MessageId,
    /// It is no message, but a change of one, or erased.
    pub(super) is_change: bool,
    pub(super) frame: Bytes,
}

/// The bytes of all rings of a node.
#[derive(Debug)]
pub(super) struct RingBudget {
    used: AtomicUsize,
    max_bytes: usize,
}

impl RingBudget {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { used: AtomicUsize::new(0), max_bytes }
    }
}

/// The newest messages of one epoch, without gaps. Over a bound the oldest are dropped.
#[derive(Debug)]
pub(super) struct Ring {
    frames: VecDeque<Recent>,
    bytes: usize,
    budget: Arc<RingBudget>,
}

impl Ring {
    pub(super) fn new(budget: Arc<RingBudget>) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, budget }
    }

    pub(super) fn push(&mut self, recent: Recent) {
        self.bytes += recent.frame.len();
        self.budget.used.fetch_add(recent.frame.len(), Ordering::Relaxed);
        self.frames.push_back(recent);
        while self.frames.len() > MAX_FRAMES || self.bytes > MAX_BYTES || self.is_over_budget() {
            self.pop();
        }
    }

    fn is_over_budget(&self) -> bool {
        self.frames.len() > MIN_FRAMES && self.budget.used.load(Ordering::Relaxed) > self.budget.max_bytes
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.frames.pop_front() {
            self.bytes -= oldest.frame.len();
            self.budget.used.fetch_sub(oldest.frame.len(), Ordering::Relaxed);
        }
    }

    pub(super) fn clear(&mut self) {
        while !self.frames.is_empty() {
            self.pop();
        }
    }

    /// Replaces what is erased: the message with this id, and its edits. `tombstone` makes the frame for an id and a `seq`.
    pub(super) fn erase(&mut self, target: MessageId, tombstone: impl Fn(MessageId, u64) -> Bytes) {
        for recent in &mut self.frames {
            if recent.message_id == target || stored::edited_message(&recent.frame) == Some(target) {
                let frame = tombstone(recent.message_id, recent.seq);
                self.bytes = self.bytes + frame.len() - recent.frame.len();
                self.budget.used.fetch_add(frame.len(), Ordering::Relaxed);
                self.budget.used.fetch_sub(recent.frame.len(), Ordering::Relaxed);
                recent.frame = frame;
            }
        }
    }

    pub(super) fn first_seq(&self) -> Option<u64> {
        self.frames.front().map(|recent| recent.seq)
    }

    /// The id of the message at `seq`, if the ring has it, or if it is the one before the ring's first.
    pub(super) fn id_at(&self, seq: u64) -> Option<MessageId> {
        let first = self.frames.front()?;
        if seq + 1 == first.seq {
            return Some(first.prev);
        }
        let index = usize::try_from(seq.checked_sub(first.seq)?).ok()?;
        self.frames.get(index).map(|recent| recent.message_id)
    }

    /// The messages after `seq`, if the ring reaches back that far, and the message that it has at `seq` fits.
    pub(super) fn after(
        &self,
        seq: u64,
        fits: impl FnOnce(MessageId) -> bool,
    ) -> Option<impl Iterator<Item = &Recent>> {
        self.id_at(seq).filter(|found| fits(*found))?;
        let first = self.frames.front()?.seq;
        Some(self.frames.range(usize::try_from(seq + 1 - first).ok()?..))
    }

    /// Whether the ring reaches back to `seq`, and has no change after it: then the messages there are as they were sent. A change
    /// comes after its message.
    pub(super) fn is_unchanged_after(&self, seq: u64) -> bool {
        self.after(seq, |_| true).is_some_and(|mut missed| missed.all(|recent| !recent.is_change))
    }

    /// Whether any entry is a change.
    pub(super) fn has_changes(&self) -> bool {
        self.frames.iter().any(|recent| recent.is_change)
    }

    /// The highest of these positions that the ring has too.
    pub(super) fn last_common(
        &self,
        epoch: Epoch,
        ids: impl Iterator<Item = (u64, MessageId)>,
    ) -> Option<Position> {
        ids.filter(|(seq, id)| self.id_at(*seq) == Some(*id)).last().map(|(seq, message_id)| Position {
            epoch,
            seq,
            message_id,
        })
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.clear();
    }
}
