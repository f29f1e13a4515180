//! Joining a topic without a gap or a repeat. Owns the order of the steps: the topic knows the member before anything is
//! read, and the `Ack` is queued and the member's place is set under one lock. Also owns what a position means that a member
//! gives later. Called by the session for rooms and for private logs.

use std::sync::Arc;
use std::time::Instant;

use super::log_reader::{JudgedPage, WholeLog};
use super::older_messages::{OlderMessages, Wanted};
use super::older_replay;
use super::outbox::Outbox;
use super::replay::Replay;
use super::ring::Ring;
use super::sequencer::{Cursor, before_first};
use super::topic::{LocalTopic, State};
use super::topic_member::MemberState;
use crate::backend::BackendError;
use crate::protocol::{ConnectionId, GapReason, Position, Since};

/// More missed messages than this are not replayed to a client that resumes.
const MAX_MISSED: u64 = 1_000;

/// Which earlier messages a joining member asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ReplayFrom {
    /// No messages.
    None,
    /// The newest ones.
    Newest(Wanted),
    /// All entries after a position that the client gives. If it can't be proved, all that the log holds, or the newest messages.
    Since(Since, Option<Wanted>),
    /// All after the user's cursor; without one, from the beginning of the log. If messages there were trimmed, a `Gap` comes
    /// first. If the cursor can't be proved, all that the log holds. The `Ack` does not mention recovery.
    Cursor(Option<Position>),
}

/// What the `Ack` of a join says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Joined {
    /// The newest message at the moment of the join.
    pub(super) top: Position,
    /// Only if the client gave a position.
    pub(super) recovery: Option<ResumeOutcome>,
}

/// Whether every message after the client's position follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ResumeOutcome {
    /// Every message follows.
    Recovered,
    /// That can't be proved.
    Broken {
        /// The reason.
        reason: GapReason,
        /// The `seq` of the first message that follows.
        next_seq: u64,
    },
}

impl ResumeOutcome {
    fn broken(self) -> Option<GapReason> {
        match self {
            Self::Recovered => None,
            Self::Broken { reason, .. } => Some(reason),
        }
    }

    /// Whether the log proves the client's position. It may do so although too many messages follow.
    fn is_proved(self) -> bool {
        matches!(self.broken(), None | Some(GapReason::TooMany))
    }
}

/// Where a member starts.
enum Start {
    /// After the newest entry that this node knows.
    Top,
    /// After a place, with all entries.
    Place(Cursor),
    /// With the newest messages.
    Newest(Wanted),
    /// With messages of which the first one is known.
    Older(OlderMessages),
}

impl Start {
    /// The place after which all entries are sent, in a topic whose newest one is `last`, and the messages before them.
    fn place(self, ring: &Ring, last: Position) -> (Cursor, Option<OlderMessages>) {
        match self {
            Self::Top => (last.into(), None),
            Self::Place(cursor) => (cursor, None),
            Self::Newest(wanted) => {
                let place = Cursor::newest(&last, wanted.count);
                if last.seq == 0 || ring.is_unchanged_after(place.seq) {
                    return (place, None);
                }
                (last.into(), Some(OlderMessages::new(wanted, last)))
            }
            Self::Older(older) => (older.until.into(), Some(older)),
        }
    }
}

/// Where the member starts; found before the lock is taken.
struct JoinPlan {
    start: Start,
    recovery: Option<ResumeOutcome>,
    /// The log's top, if the log was read.
    top: Option<Position>,
}

impl JoinPlan {
    /// The newest message, where this node knows of `last`.
    fn newest_message(&self, last: Position) -> Position {
        // After a rollback this node's last message may be one that the log has lost.
        let broken = self.recovery.and_then(ResumeOutcome::broken);
        let is_rollback = matches!(broken, Some(GapReason::Rollback | GapReason::Epoch));
        let is_top = |top: &Position| is_rollback || top.epoch != last.epoch || top.seq > last.seq;
        self.top.filter(is_top).unwrap_or(last)
    }
}

/// Adds members to topics.
pub(super) struct Joins {
    replay: Replay,
}

impl Joins {
    pub(super) fn new(replay: Replay) -> Self {
        Self { replay }
    }

    pub(super) fn replay(&self) -> &Replay {
        &self.replay
    }

    /// Completes the join of a member that [`LocalTopic::begin_join`] added, and that `asked` before that. Finds out what the
    /// member missed. Then, under the topic's lock, calls `ack` to queue the answer, and puts the member into the fan-out, or
    /// lets it lag by what it missed.
    pub(super) async fn complete(
        &self,
        topic: &Arc<LocalTopic>,
        outbox: &Arc<Outbox>,
        past: ReplayFrom,
        asked: Instant,
        ack: impl FnOnce(&Joined),
    ) -> Result<(), BackendError> {
        let plan = self.find_start(topic, outbox, past, asked).await?;
        let mut state = topic.lock();
        let state = &mut *state;
        let last = state.last.ok_or_else(unready)?;
        if !state.members.contains_key(&outbox.id()) {
            return Err(taken_out());
        }
        self.count(plan.recovery);
        ack(&Joined { top: plan.newest_message(last), recovery: plan.recovery });
        topic.begin(state, outbox, plan.start, last);
        Ok(())
    }

    /// Answers a `since` that comes late: the connection is a member already. If it was sent the message there, nothing changes.
    /// Otherwise it begins anew there, as in a first join, and may be sent messages again.
    pub(super) async fn resume_late(
        &self,
        topic: &Arc<LocalTopic>,
        outbox: &Arc<Outbox>,
        (since, newest): (Since, Option<Wanted>),
        ack: impl FnOnce(&Joined),
    ) -> Result<(), BackendError> {
        let cursor = Cursor::from(since);
        loop {
            let gaps = topic.gaps_told(outbox.id());
            let plan = self.resume((topic, outbox), cursor, newest.clone(), Instant::now()).await?;
            let mut state = topic.lock();
            let state = &mut *state;
            let last = state.last.ok_or_else(unready)?;
            let Some(member) = state.members.get_mut(&outbox.id()) else { return Err(taken_out()) };
            if member.gaps != gaps {
                // The member was told of a gap meanwhile. What was proved before it may no longer be in the log.
                continue;
            }
            let is_proved = plan.recovery.is_some_and(ResumeOutcome::is_proved);
            let is_served = is_proved && member.is_past(&cursor, last);
            let recovery = if is_served { Some(ResumeOutcome::Recovered) } else { plan.recovery };
            self.count(recovery);
            ack(&Joined { top: plan.newest_message(last), recovery });
            if !is_served {
                topic.begin(state, outbox, plan.start, last);
            }
            return Ok(());
        }
    }

    /// Answers a member that enters again, without a position.
    pub(super) fn stay(
        &self,
        topic: &LocalTopic,
        outbox: &Outbox,
        ack: impl FnOnce(&Joined),
    ) -> Result<(), BackendError> {
        let state = topic.lock();
        let top = state.last.ok_or_else(unready)?;
        // Under the lock: no `Ack` follows the event that the member was taken out.
        if !state.members.contains_key(&outbox.id()) {
            return Err(taken_out());
        }
        ack(&Joined { top, recovery: None });
        Ok(())
    }

    fn count(&self, recovery: Option<ResumeOutcome>) {
        if let Some(recovery) = recovery {
            self.replay.reader.registry.counters().resumed(recovery.broken());
        }
    }

    async fn find_start(
        &self,
        topic: &Arc<LocalTopic>,
        outbox: &Outbox,
        past: ReplayFrom,
        asked: Instant,
    ) -> Result<JoinPlan, BackendError> {
        let plain = |start| JoinPlan { start, recovery: None, top: None };
        let reader = &self.replay.reader;
        match past {
            ReplayFrom::None => Ok(plain(Start::Top)),
            ReplayFrom::Newest(wanted) => Ok(plain(Start::Newest(wanted))),
            ReplayFrom::Cursor(None) => {
                if let Some(beginning) = topic.empty_since(asked) {
                    return Ok(plain(Start::Place(beginning)));
                }
                let WholeLog { start, top, .. } = reader.everything(topic).await?;
                // From the beginning: if the log lost messages there, nobody has taken them.
                let is_trimmed = start.seq > 0;
                Ok(plain(Start::Place(if is_trimmed { Cursor::unproven(&top, 0) } else { start })))
            }
            ReplayFrom::Cursor(Some(position)) => {
                let cursor = Cursor::from(position);
                if topic.bridges(&cursor) {
                    return Ok(plain(Start::Place(cursor)));
                }
                match reader.read_on(topic, &cursor).await?.broken {
                    // Trimmed beyond the cursor: the replay from there tells of the gap.
                    None | Some(GapReason::Trimmed) => Ok(plain(Start::Place(cursor))),
                    Some(_) => Ok(plain(Start::Place(reader.everything(topic).await?.start))),
                }
            }
            ReplayFrom::Since(since, newest) => {
                self.resume((topic, outbox), Cursor::from(since), newest, asked).await
            }
        }
    }

    async fn resume(
        &self,
        (topic, outbox): (&Arc<LocalTopic>, &Outbox),
        cursor: Cursor,
        newest: Option<Wanted>,
        asked: Instant,
    ) -> Result<JoinPlan, BackendError> {
        let recovered =
            |top| JoinPlan { start: Start::Place(cursor), recovery: Some(ResumeOutcome::Recovered), top };
        let reader = &self.replay.reader;
        // What this node remembers proves nothing of a log that was emptied or rolled back a moment ago.
        if topic.bridges(&cursor) && reader.confirm(topic, asked).await? && topic.bridges(&cursor) {
            return Ok(recovered(None));
        }
        let JudgedPage { page, broken, .. } = reader.read_on(topic, &cursor).await?;
        let (top, has_changes) = (page.top, page.has_changes);
        let whole = |start| WholeLog { start, top, has_changes };
        let (reason, held) = match broken {
            None if top.seq - cursor.seq <= MAX_MISSED => return Ok(recovered(Some(top))),
            None => (GapReason::TooMany, whole(Cursor::unproven(&top, top.seq - MAX_MISSED))),
            Some(GapReason::Trimmed) => (GapReason::Trimmed, whole(before_first(&page).into())),
            Some(reason) => (reason, reader.everything(topic).await?),
        };
        let top = held.top;
        let (start, next_seq) = match newest {
            Some(wanted) => self.newest_of(topic, outbox, wanted, held).await?,
            None => (Start::Place(held.start), held.start.seq + 1),
        };
        let recovery = Some(ResumeOutcome::Broken { reason, next_seq });
        Ok(JoinPlan { start, recovery, top: Some(top) })
    }

    /// Where a member starts with the newest messages of what a log holds, and their first `seq`. It has to be fixed before the
    /// `Ack`: with the next publish it would be another.
    async fn newest_of(
        &self,
        topic: &Arc<LocalTopic>,
        outbox: &Outbox,
        wanted: Wanted,
        held: WholeLog,
    ) -> Result<(Start, u64), BackendError> {
        let WholeLog { start, top, has_changes } = held;
        let count = wanted.count;
        if has_changes && count > 0 {
            let older = OlderMessages::new(wanted, top);
            if let Some((older, first)) =
                older_replay::find(&self.replay.reader, topic, outbox, older).await?
            {
                return Ok((Start::Older(older), first));
            }
        }
        let seq = top.seq.saturating_sub(count.into()).max(start.seq);
        let place = if seq == start.seq { start } else { Cursor::unproven(&top, seq) };
        Ok((Start::Place(place), seq + 1))
    }
}

/// The rights of the room changed. The session finds out how.
fn taken_out() -> BackendError {
    BackendError::Refused("the rights of the room have just changed; try again".into())
}

fn unready() -> BackendError {
    BackendError::Refused("the log is being read; try again".into())
}

impl LocalTopic {
    /// Lets a member begin, in a topic whose newest entry is `last`. Its `Ack` is queued.
    fn begin(self: &Arc<Self>, state: &mut State, outbox: &Outbox, start: Start, last: Position) {
        let State { members, ring, .. } = state;
        let Some(member) = members.get_mut(&outbox.id()) else { return };
        let is_served_already = matches!(member.state, MemberState::Lagging(_));
        let (place, older) = start.place(ring, last);
        member.begin_at(place);
        member.release_events();
        if place.is_at(&last) && older.is_none() {
            return;
        }
        member.older = older.map(Box::new);
        if is_served_already {
            member.state = MemberState::Lagging(place);
        } else {
            self.mark_lagging(member, place);
        }
    }

    /// How many gaps a member was told of.
    fn gaps_told(&self, id: ConnectionId) -> u64 {
        self.lock().members.get(&id).map_or(0, |member| member.gaps)
    }

    /// The beginning of the log, if it held no message when a read found it as this node knows it, which began after this
    /// time.
    fn empty_since(&self, asked: Instant) -> Option<Cursor> {
        let state = self.lock();
        let is_confirmed = state.recovery.is_none() && state.confirmed_at.is_some_and(|begun| begun >= asked);
        state.last.filter(|last| is_confirmed && last.seq == 0).map(Cursor::from)
    }

    /// Whether this node can prove without a read of the log that the topic continues from the cursor. The ring holds fewer
    /// messages than would be too many to replay.
    fn bridges(&self, cursor: &Cursor) -> bool {
        let state = self.lock();
        // A topic in recovery proves nothing.
        let Some(last) = state.last.filter(|_| state.recovery.is_none()) else { return false };
        let Some(id) = cursor.known_id() else { return false };
        if cursor.epoch != Some(last.epoch) {
            return false;
        }
        if cursor.seq == last.seq {
            return id == last.message_id;
        }
        state.ring.after(cursor.seq, |found| found == id).is_some()
    }
}
