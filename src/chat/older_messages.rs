//! The newest messages that a joining member asked for, as their changes have left them. Owns how far the search for the first of
//! them has come, and how far they were sent. Pure. Kept by the member; `older_replay` reads and sends.

use super::sequencer::Cursor;
use crate::backend::{MessagePage, PageLimit, Range};
use crate::protocol::{Position, UserName};

/// The newest messages, as a client asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// How many.
    pub(super) count: u32,
    /// Who asks: of the reactions, the reader's own ones are marked.
    pub(super) reader: UserName,
    /// The most that a frame may have, bytes: reactions that do not fit are left out.
    pub(super) max_bytes: usize,
}

/// The messages of one member that were not sent yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OlderMessages {
    pub(super) wanted: Wanted,
    /// The newest entry when they were asked for.
    pub(super) until: Position,
    pub(super) progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// So many of them are still to be found, below this `seq`. The first one that was found has the `seq` `first`.
    Search { missing: u32, below: u64, first: u64 },
    /// Those after this `seq` are to be sent. If they were promised, it is a gap if the log no longer holds them.
    Send { after: u64, is_promised: bool },
}

impl OlderMessages {
    /// The newest messages of a log with this top.
    pub(super) fn new(wanted: Wanted, until: Position) -> Self {
        let first = until.seq + 1;
        let progress = Progress::Search { missing: wanted.count, below: first, first };
        Self { wanted, until, progress }
    }

    /// The place of the first one if the log has nothing but messages.
    pub(super) fn as_entries(&self) -> Cursor {
        match self.progress {
            Progress::Search { .. } => Cursor::newest(&self.until, self.wanted.count),
            Progress::Send { after, .. } => Cursor::unproven(&self.until, after),
        }
    }

    /// Whether nothing was read yet.
    pub(super) fn is_new(&self) -> bool {
        matches!(self.progress, Progress::Search { below, .. } if below > self.until.seq)
    }

    /// What to read next.
    pub(super) fn range(&self, limit: PageLimit) -> (Range, PageLimit) {
        match self.progress {
            Progress::Search { missing, below, .. } => {
                (Range::Before(below), PageLimit { messages: missing, ..limit })
            }
            Progress::Send { after, .. } => (Range::After(after), limit),
        }
    }

    /// Whether a page is of the log that they were asked of. The ids of a log grow with `seq`: what was stored in the place of lost
    /// messages is younger than `until`.
    pub(super) fn is_of(&self, page: &MessagePage) -> bool {
        let fits = |seq, id| seq > self.until.seq || id <= self.until.message_id;
        page.top.epoch == self.until.epoch
            && page.top.seq >= self.until.seq
            && fits(page.top.seq, page.top.message_id)
            && page.messages.iter().all(|(entry, _)| fits(entry.seq, entry.message_id))
    }

    /// The same after a page, of which nothing was sent.
    pub(super) fn searched(&self, page: &MessagePage) -> Self {
        let Progress::Search { missing, first, .. } = self.progress else { return self.clone() };
        let first = page.messages.first().map_or(first, |(entry, _)| entry.seq);
        let missing = missing.saturating_sub(page.messages.len() as u32);
        let progress = if missing > 0 && page.more {
            Progress::Search { missing, below: page.looked_at.0, first }
        } else {
            Progress::Send { after: first - 1, is_promised: false }
        };
        Self { progress, ..self.clone() }
    }
}
