//! Whether a log continues at a given place. Owns the proof: the epoch, contiguous `seq`, and the id of the message
//! before. Pure, so that every case can be tested. Used for live messages, recovery, joins and replays alike.

use crate::backend::{Entry, Page};
use crate::failpoints::{self, Failpoint};
use crate::protocol::{Epoch, GapReason, MessageId, Position, Since};

/// How a live message relates to a topic's last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next message: deliver it.
    Next,
    /// It was delivered before: drop it.
    Repeat,
    /// Messages are missing before it.
    Gap,
    /// It contradicts what was delivered, or may do so: only the log can tell.
    Conflict,
}

/// Judges a live message. `known_id` is the id that was delivered at the message's `seq`, if it is still known.
pub fn judge(last: &Position, epoch: Epoch, entry: &Entry, known_id: Option<MessageId>) -> Verdict {
    if epoch != last.epoch {
        return Verdict::Conflict;
    }
    if entry.seq == last.seq + 1 {
        let follows = is_same(last.message_id, entry.prev);
        return if follows { Verdict::Next } else { Verdict::Conflict };
    }
    if entry.seq > last.seq {
        return Verdict::Gap;
    }
    let delivered = if entry.seq == last.seq { Some(last.message_id) } else { known_id };
    if delivered == Some(entry.message_id) { Verdict::Repeat } else { Verdict::Conflict }
}

/// Whether the message that a log names is the one that was delivered.
fn is_same(delivered: MessageId, found: MessageId) -> bool {
    delivered == found || failpoints::is(Failpoint::IgnorePrev)
}

/// A place in a log from which to continue. Without a valid epoch and id, nothing can be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The epoch; `None` if a client gave an invalid one.
    pub epoch: Option<Epoch>,
    /// The last `seq` before the place.
    pub seq: u64,
    /// The proof.
    pub id: CursorId,
}

/// The proof that a [`Cursor`] carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorId {
    /// The message at `seq`.
    Known(MessageId),
    /// The client gave an invalid id.
    Invalid,
    /// The node chose the place by number: every message with a higher number was promised. The log's newest message was this
    /// one then. The ids of a log grow with `seq`: if the message at the place is younger, the log was rolled back since then,
    /// and holds new messages below the place.
    Unproven(MessageId),
    /// As before, but the node counted back from the top: messages that are no longer held there were not promised.
    Newest(MessageId),
}

impl From<Position> for Cursor {
    fn from(position: Position) -> Self {
        Self { epoch: Some(position.epoch), seq: position.seq, id: CursorId::Known(position.message_id) }
    }
}

impl From<Since> for Cursor {
    fn from(since: Since) -> Self {
        let id = match since.message_id {
            // At the start of a log there is no message to name.
            _ if since.seq == 0 => CursorId::Known(MessageId::NONE),
            Some(id) => CursorId::Known(id),
            None => CursorId::Invalid,
        };
        Self { epoch: since.epoch, seq: since.seq, id }
    }
}

impl Cursor {
    /// A place that the node chose by number, in a log with this top.
    pub fn unproven(top: &Position, seq: u64) -> Self {
        Self { epoch: Some(top.epoch), seq, id: CursorId::Unproven(top.message_id) }
    }

    /// The place before the newest `count` of a log with this top.
    pub(super) fn newest(top: &Position, count: u32) -> Self {
        let seq = top.seq.saturating_sub(count.into());
        Self { epoch: Some(top.epoch), seq, id: CursorId::Newest(top.message_id) }
    }

    /// The id to compare, if there is one.
    pub(super) fn known_id(&self) -> Option<MessageId> {
        match self.id {
            CursorId::Known(id) => Some(id),
            CursorId::Invalid | CursorId::Unproven(_) | CursorId::Newest(_) => None,
        }
    }

    /// The newest message that the log had when the place was chosen, as far as the cursor tells. All that are younger have to
    /// be sent, wherever the log holds them.
    pub(super) fn newest_known(&self) -> Option<MessageId> {
        match self.id {
            CursorId::Known(id) | CursorId::Unproven(id) | CursorId::Newest(id) => Some(id),
            CursorId::Invalid => None,
        }
    }

    /// The position, if it is proved.
    pub(super) fn position(&self) -> Option<Position> {
        Some(Position { epoch: self.epoch?, seq: self.seq, message_id: self.known_id()? })
    }

    /// Whether nothing lies between the cursor and this position.
    pub(super) fn is_at(&self, position: &Position) -> bool {
        self.epoch == Some(position.epoch) && self.seq == position.seq && self.fits(position.message_id)
    }

    /// Whether this may be the message at the place.
    pub(super) fn fits(&self, found: MessageId) -> bool {
        match self.id {
            CursorId::Known(id) => is_same(id, found),
            CursorId::Invalid => false,
            CursorId::Unproven(newest) | CursorId::Newest(newest) => found <= newest,
        }
    }
}

/// Judges a page that was read after `cursor` ([`crate::backend::Range::After`]): `None` if it is proved to be the
/// continuation, or else the reason why not.
pub fn continuity(cursor: &Cursor, page: &Page) -> Option<GapReason> {
    if cursor.epoch != Some(page.top.epoch) {
        return if failpoints::is(Failpoint::IgnoreEpoch) { None } else { Some(GapReason::Epoch) };
    }
    if cursor.seq >= page.top.seq {
        let is_top = cursor.seq == page.top.seq && cursor.fits(page.top.message_id);
        return if is_top { None } else { Some(GapReason::Rollback) };
    }
    match page.entries.first() {
        Some(first) if first.seq == cursor.seq + 1 => {
            if cursor.fits(first.prev) {
                None
            } else {
                Some(GapReason::Rollback)
            }
        }
        // What came after the place was chosen is promised, also if the log has dropped it since.
        first if matches!(cursor.id, CursorId::Newest(_)) => {
            let before = first.map_or(page.top.message_id, |first| first.prev);
            if cursor.fits(before) { None } else { Some(GapReason::Trimmed) }
        }
        _ => Some(GapReason::Trimmed),
    }
}

/// The position before a page's first message; for an empty page the log's top.
pub(super) fn before_first(page: &Page) -> Position {
    before_newer(page, MessageId::NONE)
}

/// The position in a page before the first message that is younger than this one; without such a message, the log's top.
/// Ids are as exact as the nodes' clocks: if clocks differ, a message may come again, or be skipped after the gap that the
/// members are told of.
pub(super) fn before_newer(page: &Page, known: MessageId) -> Position {
    let newer = page.entries.iter().find(|entry| entry.message_id > known);
    newer.map_or(page.top, |entry| Position {
        epoch: page.top.epoch,
        seq: entry.seq - 1,
        message_id: entry.prev,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entry(seq: u64, message_id: MessageId, prev: MessageId) -> Entry {
        Entry { seq, message_id, prev, stored_at: 0, body: Bytes::new() }
    }

    #[test]
    fn live_message_is_next_repeat_gap_or_conflict() {
        let epoch = Epoch::generate();
        let [a, b, c] = [(); 3].map(|()| MessageId::generate());
        let last = Position { epoch, seq: 5, message_id: a };
        assert_eq!(judge(&last, epoch, &entry(6, b, a), None), Verdict::Next);
        assert_eq!(judge(&last, epoch, &entry(6, b, c), None), Verdict::Conflict);
        assert_eq!(judge(&last, epoch, &entry(7, b, c), None), Verdict::Gap);
        assert_eq!(judge(&last, epoch, &entry(5, a, c), None), Verdict::Repeat);
        assert_eq!(judge(&last, epoch, &entry(5, b, c), None), Verdict::Conflict);
        assert_eq!(judge(&last, epoch, &entry(3, b, c), Some(b)), Verdict::Repeat);
        assert_eq!(judge(&last, epoch, &entry(3, b, c), Some(a)), Verdict::Conflict);
        assert_eq!(judge(&last, epoch, &entry(3, b, c), None), Verdict::Conflict);
        assert_eq!(judge(&last, Epoch::generate(), &entry(6, b, a), None), Verdict::Conflict);
    }

    #[test]
    fn previous_id_reveals_a_promoted_stale_replica() {
        let epoch = Epoch::generate();
        let [mine, other, next] = [(); 3].map(|()| MessageId::generate());
        let cursor = Cursor::from(Position { epoch, seq: 5, message_id: mine });
        let top = Position { epoch, seq: 6, message_id: next };
        let page = |entries| Page { top, entries, more: false, has_changes: false, has_rights: false };
        assert_eq!(continuity(&cursor, &page(vec![entry(6, next, mine)])), None);
        assert_eq!(continuity(&cursor, &page(vec![entry(6, next, other)])), Some(GapReason::Rollback));
        assert_eq!(continuity(&cursor, &page(vec![])), Some(GapReason::Trimmed));
    }

    #[test]
    fn trimmed_message_is_a_gap_only_if_it_was_promised() {
        let epoch = Epoch::generate();
        let [old, before, next] = [(); 3].map(|()| MessageId::generate());
        let top = Position { epoch, seq: 6, message_id: next };
        let page = |first| Page {
            top,
            entries: vec![entry(first, next, before)],
            more: false,
            has_changes: false,
            has_rights: false,
        };
        let promised = Cursor::unproven(&top, 3);
        assert_eq!(continuity(&promised, &page(4)), None);
        assert_eq!(continuity(&promised, &page(6)), Some(GapReason::Trimmed));
        assert_eq!(continuity(&Cursor::newest(&top, 3), &page(6)), None);
        // The messages that are gone came after the join.
        let joined = Position { epoch, seq: 4, message_id: old };
        let dropped = |entries| Page { entries, ..page(6) };
        let later = [page(6).entries, Vec::new()]
            .map(|entries| continuity(&Cursor::newest(&joined, 3), &dropped(entries)));
        assert_eq!(later, [Some(GapReason::Trimmed); 2]);
    }

    #[test]
    fn place_below_which_the_log_was_rolled_back_is_no_place() {
        let epoch = Epoch::generate();
        let [old, top, younger, next] = [(); 4].map(|()| MessageId::generate());
        let then = Position { epoch, seq: 9, message_id: top };
        let now = |seq| Position { epoch, seq, message_id: next };
        for cursor in [Cursor::unproven(&then, 5), Cursor::newest(&then, 4)] {
            let page = |prev| Page {
                top: now(6),
                entries: vec![entry(6, next, prev)],
                more: false,
                has_changes: false,
                has_rights: false,
            };
            assert_eq!(continuity(&cursor, &page(old)), None);
            assert_eq!(continuity(&cursor, &page(top)), None);
            assert_eq!(continuity(&cursor, &page(younger)), Some(GapReason::Rollback));
            let empty =
                Page { top: now(5), entries: vec![], more: false, has_changes: false, has_rights: false };
            assert_eq!(continuity(&cursor, &empty), Some(GapReason::Rollback));
            assert!(!cursor.is_at(&now(5)));
        }
    }

    #[test]
    fn forged_positions_never_prove_continuity() {
        let epoch = Epoch::generate();
        let top = Position { epoch, seq: 6, message_id: MessageId::generate() };
        let page = Page { top, entries: vec![], more: false, has_changes: false, has_rights: false };
        let claim = |epoch, seq, message_id| Cursor::from(Since { epoch, seq, message_id });
        assert_eq!(continuity(&claim(None, 6, Some(top.message_id)), &page), Some(GapReason::Epoch));
        assert_eq!(continuity(&claim(Some(epoch), 6, None), &page), Some(GapReason::Rollback));
        assert_eq!(
            continuity(&claim(Some(epoch), 7, Some(top.message_id)), &page),
            Some(GapReason::Rollback)
        );
        assert_eq!(continuity(&claim(Some(epoch), 6, Some(top.message_id)), &page), None);
    }
}
