//! Reads of a log that are checked against what this node knows. Owns the check of each page after a place, and the one read that
//! confirms a topic for all that ask at the same time. Called by joins and by replays.

use std::sync::Arc;
use std::time::Instant;

use super::outbox::Outbox;
use super::registry::Registry;
use super::sequencer::{Cursor, CursorId, before_first, continuity};
use super::topic::LocalTopic;
use crate::backend::{BackendError, Broker, Page, PageLimit, Range};
use crate::protocol::{GapReason, Position};

/// A page of a log, with the result of its check.
pub(super) struct JudgedPage {
    pub(super) page: Page,
    /// Why the page can't be proved to continue from the cursor.
    pub(super) broken: Option<GapReason>,
    /// This node's view of the log contradicts the log.
    pub(super) is_contradiction: bool,
    /// [`State::breaks`](super::topic::State::breaks) before it was read.
    pub(super) breaks: u64,
}

/// What a log holds.
pub(super) struct WholeLog {
    /// The place before the first entry.
    pub(super) start: Cursor,
    pub(super) top: Position,
    pub(super) has_changes: bool,
}

/// Reads logs for the members of this node.
pub(super) struct LogReader {
    pub(super) registry: Arc<Registry>,
    pub(super) broker: Arc<dyn Broker>,
}

impl LogReader {
    /// How much to read of a log for one connection.
    pub(super) fn page_limit(&self) -> PageLimit {
        self.registry.queued().page_limit()
    }

    /// Reads a page of the log after a cursor, and checks it. The log decides: if this node's view contradicts it, the topic
    /// recovers, and nothing is sent from the ring until then.
    pub(super) async fn read_on(
        &self,
        topic: &Arc<LocalTopic>,
        cursor: &Cursor,
    ) -> Result<JudgedPage, BackendError> {
        // Taken before the log is read: a message that arrives meanwhile is beyond the page, and no contradiction.
        let (known, breaks) = topic.view();
        let range = Range::After(cursor.seq);
        let page = self.broker.history(&topic.name, range, self.page_limit()).await?;
        let broken = continuity(cursor, &page);
        let is_contradiction = topic.is_contradicted_by(&page.top, known, cursor, broken);
        if is_contradiction {
            topic.mark_inconsistent();
            self.registry.enqueue(topic);
        }
        Ok(JudgedPage { page, broken, is_contradiction, breaks })
    }

    /// Whether the log, as it is now, continues from this node's last message. One read per topic and node answers all that
    /// asked before it began. If the log does not continue, the topic recovers.
    pub(super) async fn confirm(
        &self,
        topic: &Arc<LocalTopic>,
        asked: Instant,
    ) -> Result<bool, BackendError> {
        let is_confirmed = || topic.lock().confirmed_at.is_some_and(|begun| begun >= asked);
        if is_confirmed() {
            return Ok(true);
        }
        let mut failure = topic.confirmation.lock().await;
        if is_confirmed() {
            return Ok(true);
        }
        if let Some((_, error)) = failure.as_ref().filter(|(begun, _)| *begun >= asked) {
            return Err(error.clone());
        }
        let Some(last) = topic.top() else { return Ok(false) };
        let begun = Instant::now();
        match self.read_on(topic, &Cursor::from(last)).await {
            Ok(read) if read.broken.is_none() && !read.is_contradiction => {
                topic.lock().confirmed_at = Some(begun);
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) => {
                *failure = Some((begun, error.clone()));
                Err(error)
            }
        }
    }

    /// Asks the store whether a member may be in the room. If not, the member is taken out.
    pub(super) async fn may_stay(&self, topic: &LocalTopic, outbox: &Outbox) -> Result<bool, BackendError> {
        let (Some(room), Some(user)) = (topic.name.room(), outbox.user()) else { return Ok(true) };
        let rights = self.broker.rights(room, user).await?;
        Ok(rights.is_none_or(|rights| topic.set_rights(outbox, &rights)))
    }

    /// The place before the first message that the log still holds, and its top. The client has to be told the top of this
    /// read, not of an earlier one: the log may have started again between the two, without the messages of the first.
    pub(super) async fn everything(&self, topic: &LocalTopic) -> Result<WholeLog, BackendError> {
        let limit = PageLimit { messages: 1, bytes: 0 };
        let page = self.broker.history(&topic.name, Range::After(0), limit).await?;
        Ok(WholeLog { start: before_first(&page).into(), top: page.top, has_changes: page.has_changes })
    }
}

impl LocalTopic {
    /// Whether the log that was just read contradicts what this node knew of it before: its top is lower or another message,
    /// or the node still has the message of which the log has another, or from which a place was counted back.
    fn is_contradicted_by(
        &self,
        top: &Position,
        known: Option<Position>,
        cursor: &Cursor,
        broken: Option<GapReason>,
    ) -> bool {
        let Some(known) = known else { return false };
        let is_other = known.seq == top.seq && known.message_id != top.message_id;
        if known.epoch != top.epoch || known.seq > top.seq || is_other {
            return true;
        }
        matches!(broken, Some(GapReason::Rollback | GapReason::Epoch))
            && cursor.epoch == Some(known.epoch)
            && match cursor.id {
                CursorId::Known(id) => self.lock().ring.id_at(cursor.seq) == Some(id),
                CursorId::Unproven(newest) | CursorId::Newest(newest) => newest == known.message_id,
                CursorId::Invalid => false,
            }
    }
}
