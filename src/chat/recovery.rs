//! Recovery of a topic from its log. Owns what is done with a page that was read because a message was missing, late or
//! in conflict: one read per topic and node, then the usual deliveries. Called by the topic worker, which does the
//! reading.

use std::sync::Arc;

use super::flush_list::FanOut;
use super::outbox::Urgency;
use super::sequencer::{Cursor, Verdict, before_first, before_newer, continuity, judge};
use super::topic::{LocalTopic, State};
use super::topic_member::MemberState;
use crate::backend::{Page, PageLimit, Range};
use crate::protocol::events::Gap;
use crate::protocol::{GapReason, MessageId, Position, encode};

/// A page of a recovery: as many messages as a ring holds, and no more memory than a few connections' queues.
const PAGE: PageLimit = PageLimit { messages: 256, bytes: 1 << 20 };
/// A page to find the last common message of two histories. It has to cover a ring, or all messages between a rollback and
/// its discovery.
const COMPARE: PageLimit = PageLimit { messages: 300, bytes: 4 << 20 };

/// What to read next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// Nothing is left to recover, or nothing can be read before the subscription is back.
    Done,
    /// Read this, and call [`LocalTopic::apply_page`] with it.
    Read(Range, PageLimit),
    /// Read this, and call [`LocalTopic::roll_back`] with it.
    Compare(GapReason, Range, PageLimit),
}

impl LocalTopic {
    /// Whether entries that members have not been sent are skipped if this page is applied.
    pub(super) fn skips_to(&self, page: &Page) -> bool {
        self.lock().last.is_some_and(|last| continuity(&Cursor::from(last), page).is_some())
    }

    /// What has to be read next for the topic to be complete.
    pub(super) fn next_step(&self) -> Step {
        self.lock().next_step()
    }

    /// Takes a page that was read after the last position (or, for a new topic, its top). Only the worker that has the topic
    /// in hand calls this, and deliveries wait during a recovery: the last position is still the one that the page was read
    /// for.
    pub(super) fn apply_page(self: &Arc<Self>, page: Page) -> Step {
        let mut state = self.lock();
        state.has_rights |= page.has_rights;
        let Some(last) = state.last else {
            state.last = Some(page.top);
            return self.finish_page(&mut state, false);
        };
        match continuity(&Cursor::from(last), &page) {
            None => {}
            Some(GapReason::Trimmed | GapReason::TooMany) => {
                self.reset_to(&mut state, GapReason::Trimmed, before_first(&page));
            }
            Some(reason @ GapReason::Epoch) => return Step::Compare(reason, Range::After(0), COMPARE),
            Some(reason @ GapReason::Rollback) => {
                let range = match state.ring.first_seq() {
                    Some(first) if first <= page.top.seq => Range::After(first - 1),
                    _ => Range::Newest,
                };
                return Step::Compare(reason, range, COMPARE);
            }
        }
        let more = page.more;
        self.deliver_next(&mut state, page.entries.into_iter());
        self.finish_page(&mut state, more)
    }

    /// The log is not the one that was delivered: finds the last message that both have, tells the members, and continues
    /// from there. `page` starts at the ring's first message (in a new epoch: at the log's first). If the two histories
    /// differ already before that message, `page` is the log's newest.
    pub(super) fn roll_back(self: &Arc<Self>, reason: GapReason, range: Range, page: &Page) -> Step {
        let mut state = self.lock();
        let position = match (reason, state.last) {
            (GapReason::Rollback, Some(last)) => {
                let parts = page.entries.iter().flat_map(|e| [(e.seq - 1, e.prev), (e.seq, e.message_id)]);
                match state.ring.last_common(page.top.epoch, parts) {
                    Some(common) => common,
                    None if range != Range::Newest => {
                        return Step::Compare(reason, Range::Newest, COMPARE);
                    }
                    None => before_newer(page, last.message_id),
                }
            }
            _ => before_first(page),
        };
        if let Some(recovery) = &mut state.recovery {
            // The log is read from there now. The messages that waited are in it, or were lost with the others.
            recovery.pending.clear();
        }
        self.reset_to(&mut state, reason, position);
        state.next_step()
    }

    /// Continues from a position that does not follow the last, and tells every live member. A lagging member finds out by
    /// its own cursor.
    fn reset_to(self: &Arc<Self>, state: &mut State, reason: GapReason, position: Position) {
        let room = self.name.room().cloned();
        let gap = Gap { room, reason: reason.into(), epoch: position.epoch, next_seq: position.seq + 1 };
        let old = state.last.replace(position);
        state.breaks += 1;
        state.ring.clear();
        let mut fan_out = FanOut::new(encode::event(&gap), Urgency::Soon, state.members.len());
        for member in state.members.values_mut() {
            match member.state {
                MemberState::Live | MemberState::SkipUntil(_) => {}
                MemberState::Joining | MemberState::Lagging(_) => continue,
            }
            member.state = MemberState::Live;
            if fan_out.push(&member.outbox) {
                member.begin_after_gap(Cursor::from(position));
            } else if let Some(old) = old {
                self.mark_lagging(member, Cursor::from(old));
            }
        }
        let notified = self.shared.end(fan_out);
        self.shared.counters.gaps_sent(reason, notified as u64);
        tracing::warn!(
            reason = reason.as_str(),
            members = notified,
            "a topic's log does not continue from the last message; its members were told of a gap"
        );
    }

    /// After a page was delivered: the messages that came meanwhile follow now, or they are in the log and are read again.
    fn finish_page(self: &Arc<Self>, state: &mut State, more: bool) -> Step {
        let Some(recovery) = &mut state.recovery else { return Step::Done };
        let was_interrupted = recovery.is_interrupted;
        let mut fits = !recovery.is_stale;
        for (epoch, entry) in std::mem::take(&mut recovery.pending) {
            let Some(last) = state.last else { break };
            let known: Option<MessageId> = state.ring.id_at(entry.seq);
            match judge(&last, epoch, &entry, known) {
                Verdict::Next => self.deliver_next(state, std::iter::once(entry)),
                Verdict::Repeat => {}
                // The log was just read up to `last`, and so this message with it, although its id is no longer known.
                Verdict::Conflict if epoch == last.epoch && entry.seq < last.seq && known.is_none() => {}
                Verdict::Gap | Verdict::Conflict => fits = false,
            }
        }
        if fits && !more && !was_interrupted {
            state.recovery = None;
            return Step::Done;
        }
        state.next_step()
    }
}

impl State {
    fn next_step(&mut self) -> Step {
        if let Some(recovery) = &mut self.recovery {
            if recovery.is_interrupted {
                return Step::Done;
            }
            recovery.is_stale = false;
        }
        match (&self.recovery, self.last) {
            (_, None) => Step::Read(Range::Top, PAGE),
            (Some(_), Some(last)) => Step::Read(Range::After(last.seq), PAGE),
            (None, Some(_)) => Step::Done,
        }
    }
}

#[cfg(test)]
mod tests;
