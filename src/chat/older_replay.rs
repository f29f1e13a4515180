//! Sends members the newest messages that they asked for, as their changes have left them. Owns the search for the first one, and the
//! pages from there up to the newest entry at the join. `replay` sends the later entries one by one. It proves that the log goes on from
//! the newest entry at the join, and this proof also covers these pages. Called by joins, and by each connection between the pages of `replay`.

use std::sync::Arc;

use bytes::BytesMut;

use super::folding::folded;
use super::log_reader::{JudgedPage, LogReader};
use super::older_messages::{OlderMessages, Progress};
use super::outbox::Outbox;
use super::sequencer::Cursor;
use super::topic::{LocalTopic, State};
use super::topic_member::{Member, MemberState};
use crate::backend::{BackendError, MessagePage};
use crate::protocol::GapReason;
use crate::protocol::encode::{self, chat_bytes, put_chat};
use crate::protocol::events::Gap;

/// What came of a read.
pub(super) enum Step {
    /// The next step may follow.
    Taken,
    /// The member gets entries from this place on, the first of which were just read.
    Entries(Cursor, JudgedPage),
}

/// Takes one step: a read, and what follows from it.
pub(super) async fn step(
    reader: &LogReader,
    topic: &Arc<LocalTopic>,
    outbox: &Outbox,
    older: OlderMessages,
) -> Result<Step, BackendError> {
    if older.is_new() && !topic.lock().ring.has_changes() {
        // In a log without any change, they are its newest entries.
        let place = older.as_entries();
        let read = reader.read_on(topic, &place).await?;
        if read.is_contradiction || !read.page.has_changes {
            topic.go_on_with(outbox, &older, None);
            return Ok(Step::Entries(place, read));
        }
    }
    let page = read_messages(reader, topic, &older).await?;
    if !older.is_of(&page) {
        // The log was rolled back, or began anew: the proof of its entries tells the member, and the node.
        let place = older.as_entries();
        let read = reader.read_on(topic, &place).await?;
        topic.go_on_with(outbox, &older, None);
        return Ok(Step::Entries(place, read));
    }
    match older.searched(&page) {
        // All were found at once.
        OlderMessages { progress: Progress::Send { after, .. }, .. }
            if older.is_new() || matches!(older.progress, Progress::Send { .. }) =>
        {
            topic.send_older(outbox, &older, after, page);
        }
        searched => {
            outbox.owe(bytes_of(&page));
            topic.go_on_with(outbox, &older, Some(searched));
        }
    }
    Ok(Step::Taken)
}

/// Finds the first of the newest messages of a log with this top, which are promised to the member from now on. Returns its `seq`,
/// too. `None` if the log is no longer the one with this top.
pub(super) async fn find(
    reader: &LogReader,
    topic: &LocalTopic,
    outbox: &Outbox,
    older: OlderMessages,
) -> Result<Option<(OlderMessages, u64)>, BackendError> {
    let mut older = older;
    loop {
        let page = read_messages(reader, topic, &older).await?;
        if !older.is_of(&page) {
            return Ok(None);
        }
        outbox.owe(bytes_of(&page));
        older = older.searched(&page);
        if let Progress::Send { after, is_promised } = &mut older.progress {
            *is_promised = true;
            let first = *after + 1;
            return Ok(Some((older, first)));
        }
        // A store that never waits must not keep the worker for a whole log.
        tokio::task::yield_now().await;
    }
}

async fn read_messages(
    reader: &LogReader,
    topic: &LocalTopic,
    older: &OlderMessages,
) -> Result<MessagePage, BackendError> {
    let (range, limit) = older.range(reader.page_limit());
    reader.broker.messages(&topic.name, range, limit, Some(&older.wanted.reader)).await
}

fn bytes_of(page: &MessagePage) -> usize {
    page.messages.iter().map(|(entry, _)| entry.body.len()).sum()
}

impl LocalTopic {
    /// Replaces what a member is still to be sent of these messages; `None`: from their place on, it gets entries.
    fn go_on_with(&self, outbox: &Outbox, older: &OlderMessages, next: Option<OlderMessages>) {
        let mut state = self.lock();
        let Some(member) = state.with_older(outbox, older) else { return };
        match next {
            Some(next) => member.older = Some(Box::new(next)),
            None => {
                let place = older.as_entries();
                member.begin_at(place);
                member.state = MemberState::Lagging(place);
            }
        }
    }

    /// Queues the messages of a page, the first of which is expected after this `seq`.
    fn send_older(&self, outbox: &Outbox, older: &OlderMessages, after: u64, page: MessagePage) {
        let (top, until) = (page.top, older.until.seq);
        let max_bytes = older.wanted.max_bytes.saturating_sub(chat_bytes(&self.name, b""));
        let (lowest, highest) = page.looked_at;
        let is_forward = matches!(older.progress, Progress::Send { .. });
        let is_promised = matches!(older.progress, Progress::Send { is_promised: true, .. });
        let messages = page.messages.into_iter().take_while(|(entry, _)| entry.seq <= until);
        let (mut buffer, mut count, mut first) = (BytesMut::new(), 0, None);
        for (entry, fold) in messages {
            let seq = entry.seq;
            first.get_or_insert(seq);
            put_chat(&mut buffer, &self.name, &folded(entry, fold, top.seq, max_bytes), top.epoch, seq);
            count += 1;
        }
        let mut state = self.lock();
        let Some(member) = state.with_older(outbox, older) else { return };
        if is_promised && lowest > after + 1 {
            let next_seq = first.unwrap_or(lowest.min(until + 1));
            let reason = GapReason::Trimmed;
            let room = self.name.room().cloned();
            member.outbox.reply(encode::event(&Gap {
                room,
                reason: reason.into(),
                epoch: top.epoch,
                next_seq,
            }));
            member.gaps += 1;
            self.shared.counters.gaps_sent(reason, 1);
        }
        if count > 0 {
            self.shared.counters.replay.increment(count);
            member.outbox.reply(self.shared.queued.page(buffer));
        }
        let has_more = is_forward && page.more && highest < until;
        let progress = Progress::Send { after: highest, is_promised: true };
        member.older = has_more.then(|| Box::new(OlderMessages { progress, ..older.clone() }));
    }
}

impl State {
    /// The member, if these are still the messages that it is to be sent. It may have left meanwhile, or joined again.
    fn with_older(&mut self, outbox: &Outbox, older: &OlderMessages) -> Option<&mut Member> {
        self.members.get_mut(&outbox.id()).filter(|member| member.older.as_deref() == Some(older))
    }
}
