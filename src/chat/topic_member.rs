//! One connection as a member of one topic. Owns its place: whether it gets what comes, skips it, or pulls it from the log,
//! and from where on it has the log. Kept by the topic, under the topic's lock.

use std::sync::Arc;

use bytes::Bytes;

use super::member_rights::MemberRights;
use super::older_messages::OlderMessages;
use super::outbox::Outbox;
use super::sequencer::Cursor;
use crate::protocol::Position;

/// Events that wait while a member joins or lags; further ones are dropped, as events may be.
const MAX_HELD_EVENTS: usize = 64;

/// How far one connection is in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberState {
    /// Its join is under way: it gets messages once its `Ack` is queued.
    Joining,
    /// Gets every block.
    Live,
    /// It was sent more than this node has received yet, up to this position: messages up to it are skipped. The node has to
    /// come past this very message, or the log was rolled back meanwhile.
    SkipUntil(Position),
    /// It left the fan-out: its connection pulls the messages after the cursor.
    Lagging(Cursor),
}

/// What to do with a block of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Push it.
    InFanOut,
    /// The member has it, or pulls it itself.
    Elsewhere,
    /// The member has to pull from this position on: it was sent a part of the block, or the block contradicts what it was
    /// sent. Then the log tells which it is.
    Behind(Position),
}

/// A connection in a topic.
pub(super) struct Member {
    pub(super) outbox: Arc<Outbox>,
    pub(super) state: MemberState,
    /// All messages of the log after this place were sent to it, or will be. `None` while it joins.
    served_from: Option<Cursor>,
    /// Messages that it is sent before the entries after its cursor. Only while it lags.
    pub(super) older: Option<Box<OlderMessages>>,
    /// How many gaps it was told of.
    pub(super) gaps: u64,
    /// What it is in a room with rights.
    pub(super) rights: MemberRights,
    /// Events that came while it joined or lagged. Its own `Enter` comes while it is sent the history that it asked for.
    held: Vec<Bytes>,
}

impl Member {
    /// A member whose join is under way.
    pub(super) fn joining(outbox: Arc<Outbox>) -> Self {
        Self {
            outbox,
            state: MemberState::Joining,
            served_from: None,
            older: None,
            gaps: 0,
            rights: MemberRights::default(),
            held: Vec::new(),
        }
    }

    /// Begins at a place: it is sent all messages of the log after it.
    pub(super) fn begin_at(&mut self, place: Cursor) {
        self.state = MemberState::Live;
        self.served_from = Some(place);
        self.older = None;
    }

    /// It was told of a gap, and goes on from this place.
    pub(super) fn begin_after_gap(&mut self, place: Cursor) {
        self.served_from = Some(place);
        self.gaps += 1;
    }

    /// Messages at the beginning that were not promised to it are no longer held: it is sent those from here on.
    pub(super) fn begin_later(&mut self, seq: u64) {
        if let Some(place) = &mut self.served_from {
            place.seq = place.seq.max(seq);
        }
    }

    /// How far it was sent the messages of a topic whose newest is `last`. `None` while it joins, and before the entries after
    /// its cursor.
    pub(super) fn sent(&self, last: Option<Position>) -> Option<Cursor> {
        match self.state {
            _ if self.older.is_some() => None,
            MemberState::Live => last.map(Cursor::from),
            MemberState::Lagging(cursor) => Some(cursor),
            MemberState::SkipUntil(at) => Some(Cursor::from(at)),
            MemberState::Joining => None,
        }
    }

    /// Whether it was sent the message at a place that the log proves, or began there: so all messages after it were sent, or
    /// will be.
    pub(super) fn is_past(&self, proved: &Cursor, last: Position) -> bool {
        let (Some(from), Some(sent)) = (self.served_from, self.sent(Some(last))) else { return false };
        let is_known = from.epoch == proved.epoch && sent.epoch == proved.epoch;
        is_known && from.seq <= proved.seq && proved.seq <= sent.seq
    }

    /// What to do with the messages after `from`, the last of which is at `last`.
    pub(super) fn place(&mut self, from: Position, last: Position) -> Place {
        match self.state {
            MemberState::Live => Place::InFanOut,
            MemberState::SkipUntil(at) if from == at => {
                self.state = MemberState::Live;
                Place::InFanOut
            }
            MemberState::SkipUntil(at) if last == at => {
                self.state = MemberState::Live;
                Place::Elsewhere
            }
            MemberState::SkipUntil(at) if last.epoch == at.epoch && last.seq < at.seq => Place::Elsewhere,
            MemberState::SkipUntil(at) => Place::Behind(at),
            MemberState::Joining | MemberState::Lagging(_) => Place::Elsewhere,
        }
    }

    /// Keeps an event for later.
    pub(super) fn hold(&mut self, event: &Bytes) {
        if self.held.len() < MAX_HELD_EVENTS {
            self.held.push(event.clone());
        }
    }

    /// Queues the held events: the member has caught up with the topic, or is about to.
    pub(super) fn release_events(&mut self) {
        for event in std::mem::take(&mut self.held) {
            self.outbox.reply(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ConnectionId, Epoch, MessageId};

    #[test]
    fn member_that_is_ahead_returns_only_past_its_last_message() {
        let epoch = Epoch::generate();
        let ids: Vec<MessageId> = (0..10).map(|_| MessageId::generate()).collect();
        let at = |seq: usize| Position { epoch, seq: seq as u64, message_id: ids[seq] };
        let other = |seq: usize| Position { message_id: MessageId::generate(), ..at(seq) };
        let elsewhere = Position { epoch: Epoch::generate(), ..at(2) };
        let cases = [
            (at(2), at(4), Place::Elsewhere, MemberState::SkipUntil(at(5))),
            (at(2), at(5), Place::Elsewhere, MemberState::Live),
            (at(2), other(5), Place::Behind(at(5)), MemberState::SkipUntil(at(5))),
            (at(2), at(7), Place::Behind(at(5)), MemberState::SkipUntil(at(5))),
            (at(5), at(6), Place::InFanOut, MemberState::Live),
            (other(5), at(6), Place::Behind(at(5)), MemberState::SkipUntil(at(5))),
            (at(6), at(7), Place::Behind(at(5)), MemberState::SkipUntil(at(5))),
            (elsewhere, elsewhere, Place::Behind(at(5)), MemberState::SkipUntil(at(5))),
        ];
        for (from, last, place, after) in cases {
            let outbox = Outbox::new(ConnectionId::generate(), 100, Arc::default());
            let mut member = Member::joining(Arc::new(outbox));
            member.state = MemberState::SkipUntil(at(5));
            assert_eq!((member.place(from, last), member.state), (place, after), "{from:?} {last:?}");
        }
    }

    #[test]
    fn member_is_past_what_it_was_sent_since_its_place() {
        let epoch = Epoch::generate();
        let outbox = Outbox::new(ConnectionId::generate(), 100, Arc::default());
        let mut member = Member::joining(Arc::new(outbox));
        let last = Position { epoch, seq: 9, message_id: MessageId::generate() };
        let at = |seq| Cursor::unproven(&last, seq);
        let past =
            |member: &Member| (0..12).filter(|seq| member.is_past(&at(*seq), last)).collect::<Vec<_>>();
        assert!(past(&member).is_empty(), "it has not joined");
        member.begin_at(at(5));
        assert_eq!(past(&member), [5, 6, 7, 8, 9]);
        let elsewhere = Position { epoch: Epoch::generate(), ..last };
        assert!(!member.is_past(&Cursor::unproven(&elsewhere, 7), last));
        member.state = MemberState::Lagging(at(7));
        assert_eq!(past(&member), [5, 6, 7]);
        member.state = MemberState::SkipUntil(Position { seq: 10, ..last });
        assert_eq!(past(&member), [5, 6, 7, 8, 9, 10]);
        // Fewer of the newest messages were left than were asked for.
        member.begin_later(7);
        member.begin_later(6);
        assert_eq!(past(&member), [7, 8, 9, 10]);
        member.begin_after_gap(at(3));
        assert_eq!((past(&member).first(), member.gaps), (Some(&3), 1));
    }
}
