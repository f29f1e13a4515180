//! Replays for lagging members: pages that are pulled as their sockets drain. Owns the way back into the fan-out; a member
//! that joins with missed messages goes the same way. Run by each connection, one topic at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::sleep;

use super::log_reader::{JudgedPage, LogReader};
use super::older_messages::OlderMessages;
use super::older_replay::{self, Step};
use super::outbox::Outbox;
use super::registry::Registry;
use super::send_budget::PAGE;
use super::sequencer::{Cursor, CursorId, before_first, before_newer};
use super::topic::{LocalTopic, State};
use super::topic_member::{Member, MemberState};
use crate::backend::{BackendError, Broker, Page, Range};
use crate::protocol::encode::put_chat;
use crate::protocol::events::{Gap, RemovedBy};
use crate::protocol::stored_rights::RightsChange;
use crate::protocol::{ConnectionId, GapReason, Position, Topic, encode};

/// The bytes of a frame around a body, so that a page's buffer is allocated once and is hardly larger than the page.
const FRAME_OVERHEAD: usize = 192;

/// The result of a pull from the ring.
enum Pulled {
    /// The member is back in the fan-out, or gone.
    Settled,
    /// A page was queued; the next one follows when there is room again.
    Queued,
    /// The ring does not reach back that far.
    NeedsLog(Cursor),
    /// Messages come first.
    NeedsOlder(Box<OlderMessages>),
}

/// Serves lagging members from the ring and from logs.
pub(super) struct Replay {
    pub(super) reader: LogReader,
}

impl Replay {
    pub(super) fn new(registry: Arc<Registry>, broker: Arc<dyn Broker>) -> Self {
        Self { reader: LogReader { registry, broker } }
    }

    /// Serves the topics in which this connection lags, as long as the connection is open. Returns only if a log holds data
    /// that no node wrote: the connection has to be closed then, since its member would lag for ever and take that for
    /// silence.
    pub(super) async fn serve_lagging(&self, outbox: &Arc<Outbox>) {
        loop {
            let topic = outbox.next_lagging().await;
            // Boxed: every connection has the state of this loop, and few ever read a log here.
            let pulled = match topic.pull(outbox.id()) {
                Pulled::Settled => Ok(false),
                Pulled::Queued => Ok(true),
                Pulled::NeedsLog(cursor) => {
                    Box::pin(or_pause(self.pull_from_log(&topic, outbox, cursor))).await
                }
                Pulled::NeedsOlder(older) => {
                    Box::pin(or_pause(self.serve_older(&topic, outbox, *older))).await
                }
            };
            let again = match pulled {
                Ok(again) => again,
                Err(error) => {
                    return tracing::error!(%error, "a log can't be read; the connection of a lagging member is closed");
                }
            };
            if matches!(topic.name, Topic::User(_)) {
                outbox.want_ping();
            }
            if again {
                outbox.mark_lagging(topic);
            }
        }
    }

    /// Serves a page of the log after the cursor. False if it has to be tried again later.
    async fn pull_from_log(
        &self,
        topic: &Arc<LocalTopic>,
        outbox: &Outbox,
        cursor: Cursor,
    ) -> Result<bool, BackendError> {
        let read = self.reader.read_on(topic, &cursor).await?;
        self.serve_page(topic, outbox, cursor, read).await
    }

    /// Serves a page that was read after the cursor. False if that has to be tried again later.
    pub(super) async fn serve_page(
        &self,
        topic: &Arc<LocalTopic>,
        outbox: &Outbox,
        cursor: Cursor,
        read: JudgedPage,
    ) -> Result<bool, BackendError> {
        if read.is_contradiction {
            return Ok(false);
        }
        let page = read.page;
        let Some(reason) = read.broken else { return Ok(topic.replay(outbox, cursor, page, read.breaks)) };
        // What is skipped may have taken the member out.
        if page.has_rights && !self.reader.may_stay(topic, outbox).await? {
            return Ok(true);
        }
        let restart = self.restart(topic, &cursor, reason, &page).await?;
        topic.restart(outbox, cursor, reason, restart);
        Ok(true)
    }

    /// Takes a step towards the messages that come before the entries. False if it has to be tried again later.
    async fn serve_older(
        &self,
        topic: &Arc<LocalTopic>,
        outbox: &Outbox,
        older: OlderMessages,
    ) -> Result<bool, BackendError> {
        match older_replay::step(&self.reader, topic, outbox, older).await? {
            Step::Taken => Ok(true),
            Step::Entries(place, read) => self.serve_page(topic, outbox, place, read).await,
        }
    }

    /// From where a member continues whose cursor can't be proved.
    async fn restart(
        &self,
        topic: &LocalTopic,
        cursor: &Cursor,
        reason: GapReason,
        page: &Page,
    ) -> Result<Cursor, BackendError> {
        match reason {
            GapReason::Trimmed | GapReason::TooMany => Ok(before_first(page).into()),
            // The messages that the log holds below the cursor were delivered before, except those that are younger than
            // the message at the cursor. Above the cursor there are other messages now.
            GapReason::Rollback => {
                let next_seq = cursor.seq.min(page.top.seq + 1).max(1);
                let place = Cursor::unproven(&page.top, next_seq - 1);
                let Some(known) = cursor.newest_known() else { return Ok(place) };
                let limit = self.reader.page_limit();
                let newest = self.reader.broker.history(&topic.name, Range::Newest, limit).await?;
                let younger = Cursor::from(before_newer(&newest, known));
                Ok(if younger.epoch == place.epoch && younger.seq < place.seq { younger } else { place })
            }
            GapReason::Epoch => Ok(self.reader.everything(topic).await?.start),
        }
    }
}

/// Waits a little after a step that has to be tried again. Returns whether there is a next step.
async fn or_pause(step: impl Future<Output = Result<bool, BackendError>>) -> Result<bool, BackendError> {
    match step.await {
        Ok(true) => {}
        Err(error @ BackendError::Corrupt(_)) => return Err(error),
        // The store is away, or the log contradicts this node's view: no busy loop.
        Ok(false) | Err(_) => sleep(Duration::from_millis(200)).await,
    }
    Ok(true)
}

impl LocalTopic {
    /// Queues the ring's messages after the member's cursor. Once they are all queued, the member is back in the fan-out.
    fn pull(&self, id: ConnectionId) -> Pulled {
        let mut state = self.lock();
        let state = &mut *state;
        let Some(member) = state.members.get_mut(&id) else { return Pulled::Settled };
        let MemberState::Lagging(cursor) = member.state else { return Pulled::Settled };
        if let Some(older) = &member.older {
            return Pulled::NeedsOlder(older.clone());
        }
        let Some(last) = state.last.filter(|last| cursor.epoch == Some(last.epoch)) else {
            return Pulled::NeedsLog(cursor);
        };
        if state.recovery.as_ref().is_some_and(|recovery| recovery.is_inconsistent) {
            return Pulled::NeedsLog(cursor);
        }
        if cursor.seq == last.seq && cursor.known_id() == Some(last.message_id) {
            member.state = MemberState::Live;
            member.release_events();
            return Pulled::Settled;
        }
        // A cursor beyond `last` too: only the log tells whether this node is late, or the log was rolled back.
        let Some(missed) = state.ring.after(cursor.seq, |found| cursor.fits(found)) else {
            return Pulled::NeedsLog(cursor);
        };
        let (mut bytes, mut count, mut reached) = (0, 0, cursor);
        for recent in missed.take(PAGE.messages as usize) {
            if count > 0 && bytes + recent.frame.len() > PAGE.bytes {
                break;
            }
            bytes += recent.frame.len();
            count += 1;
            reached =
                Cursor { seq: recent.seq, id: CursorId::Known(recent.message_id), epoch: Some(last.epoch) };
            member.outbox.reply(recent.frame.clone());
        }
        self.shared.counters.replay.increment(count);
        if reached.seq == last.seq {
            member.state = MemberState::Live;
            member.release_events();
            return Pulled::Settled;
        }
        member.state = MemberState::Lagging(reached);
        Pulled::Queued
    }

    /// The log was just read, and this is its top. A member that was sent more than this node has is ahead of the log too, if
    /// the node has the top: then the log was rolled back, or the message was stored after the read. The member looks into the
    /// log, which tells.
    pub(super) fn recall_members_ahead(self: &Arc<Self>, state: &mut State, top: &Position) {
        if state.last != Some(*top) || state.recovery.is_some() {
            return;
        }
        for member in state.members.values_mut() {
            match member.state {
                MemberState::SkipUntil(at) if at != *top => self.mark_lagging(member, Cursor::from(at)),
                _ => {}
            }
        }
    }

    /// Queues a page of the log, or finds that the member has all of it. Then the member may be ahead of this node, and skips
    /// messages until they have come that far. False if this has to be tried again: this node does not know yet what
    /// happened to the log.
    fn replay(&self, outbox: &Outbox, from: Cursor, mut page: Page, breaks: u64) -> bool {
        let removal = self.removal_in(outbox, from, &mut page);
        let epoch = page.top.epoch;
        let bytes = page.entries.iter().map(|entry| entry.body.len() + FRAME_OVERHEAD).sum();
        let mut buffer = BytesMut::with_capacity(bytes);
        for entry in &page.entries {
            put_chat(&mut buffer, &self.name, &entry.body, epoch, entry.seq);
        }
        let reached = page.entries.last().map(|entry| Cursor {
            epoch: Some(epoch),
            seq: entry.seq,
            id: CursorId::Known(entry.message_id),
        });
        let mut state = self.lock();
        let last = state.last;
        let known = last.filter(|last| last.epoch == epoch).map(|last| last.seq);
        let is_unbroken = state.breaks == breaks;
        if state.lagging_at(outbox, from).is_none() {
            return true;
        }
        // This member may be sent it before it reaches this node from the channel.
        page.entries.iter().for_each(|entry| self.note_retraction(&mut state, epoch, &entry.body));
        let Some(member) = state.lagging_at(outbox, from) else { return true };
        if matches!(from.id, CursorId::Newest(_)) {
            member.begin_later(page.entries.first().map_or(page.top.seq, |entry| entry.seq - 1));
        }
        if let Some(reached) = reached {
            self.shared.counters.replay.increment(page.entries.len() as u64);
            member.outbox.reply(self.shared.queued.page(buffer));
            member.state = MemberState::Lagging(reached);
            if let Some((action, change)) = removal {
                self.take_out(&mut state, outbox.id(), action, Some(&change));
            }
            return true;
        }
        // The member has every message of the log: the top is proved now, however the place was chosen.
        let is_ahead = is_unbroken && known.is_some_and(|known| known < page.top.seq);
        if is_ahead || last == Some(page.top) {
            member.state = if is_ahead { MemberState::SkipUntil(page.top) } else { MemberState::Live };
            member.release_events();
            return true;
        }
        let proved = Cursor::from(page.top);
        member.state = MemberState::Lagging(proved);
        from != proved || known.is_some_and(|known| known > page.top.seq)
    }

    /// Cuts a page for a lagging member behind the entry that takes it out of the room, if there is one.
    fn removal_in(
        &self,
        outbox: &Outbox,
        from: Cursor,
        page: &mut Page,
    ) -> Option<(RemovedBy, RightsChange)> {
        if !page.has_rights {
            return None;
        }
        let (count, action, change) =
            self.lock().lagging_at(outbox, from)?.rights.removal_in(&page.entries, outbox.user())?;
        page.entries.truncate(count);
        Some((action, change))
    }

    /// Tells the member of a gap: its cursor can't be proved, and it continues from another one.
    fn restart(&self, outbox: &Outbox, from: Cursor, reason: GapReason, restart: Cursor) {
        let mut state = self.lock();
        if let (Some(member), Some(epoch)) = (state.lagging_at(outbox, from), restart.epoch) {
            let gap = Gap {
                room: self.name.room().cloned(),
                reason: reason.into(),
                epoch,
                next_seq: restart.seq + 1,
            };
            member.outbox.reply(encode::event(&gap));
            member.state = MemberState::Lagging(restart);
            member.begin_after_gap(restart);
            self.shared.counters.gaps_sent(reason, 1);
        }
    }
}

impl State {
    /// The member, if it still has the cursor for which the log was read. It may have left meanwhile and joined again with
    /// another cursor: the page does not continue from that one.
    fn lagging_at(&mut self, outbox: &Outbox, from: Cursor) -> Option<&mut Member> {
        let member = self.members.get_mut(&outbox.id())?;
        let is_there = matches!(member.state, MemberState::Lagging(cursor) if cursor == from);
        (is_there && member.older.is_none()).then_some(member)
    }
}
