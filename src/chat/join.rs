//! Joining a topic without a gap or a repeat. Owns the order of the steps: the topic knows the member before anything is
//! read, and the `Ack` is queued and the member's place is set under one lock. Called by the session for rooms and for
//! private logs.

use std::sync::Arc;
use std::time::Instant;

use super::outbox::Outbox;
use super::replay::{JudgedPage, Replay};
use super::sequencer::{Cursor, before_first};
use super::topic::{LocalTopic, MemberState};
use crate::backend::BackendError;
use crate::protocol::{GapReason, Position, Since};

/// More missed messages than this are not replayed to a client that resumes.
const MAX_MISSED: u64 = 1_000;

/// Which earlier messages a joining member asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ReplayFrom {
    /// No messages.
    None,
    /// So many of the newest.
    Newest(u32),
    /// All after a position that the client gives. If it can't be proved, all that the log holds, or so many of the newest.
    Since(Since, Option<u32>),
    /// All after the user's cursor. If it can't be proved, all that the log holds; the `Ack` does not mention recovery.
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

/// Where the member starts; found before the lock is taken.
struct JoinPlan {
    cursor: Option<Cursor>,
    newest: Option<u32>,
    recovery: Option<ResumeOutcome>,
    /// The log's top, if the log was read.
    top: Option<Position>,
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

    /// Completes the join of a member that [`LocalTopic::begin_join`] added, and that `asked` before that. Finds out what the member missed. Then, under
    /// the topic's lock, calls `ack` to queue the answer, and puts the member into the fan-out, or lets it lag by what it
    /// missed.
    pub(super) async fn complete(
        &self,
        topic: &Arc<LocalTopic>,
        outbox: &Arc<Outbox>,
        past: ReplayFrom,
        asked: Instant,
        ack: impl FnOnce(&Joined),
    ) -> Result<(), BackendError> {
        let start = self.find_start(topic, past, asked).await?;
        if let Some(recovery) = start.recovery {
            let broken = match recovery {
                ResumeOutcome::Recovered => None,
                ResumeOutcome::Broken { reason, .. } => Some(reason),
            };
            self.replay.registry.counters().resumed(broken);
        }
        let mut state = topic.lock();
        let state = &mut *state;
        let unready = || BackendError::Refused("the room's log is being read; try again".into());
        let last = state.last.ok_or_else(unready)?;
        let top = start.top.filter(|top| top.epoch != last.epoch || top.seq > last.seq).unwrap_or(last);
        ack(&Joined { top, recovery: start.recovery });
        let Some(member) = state.members.get_mut(&outbox.id()) else { return Ok(()) };
        member.state = MemberState::Live;
        member.release_events();
        let newest = start.newest.map(|count| Cursor::newest(&last, count));
        match newest.or(start.cursor) {
            Some(cursor) if !cursor.is_at(&last) => topic.mark_lagging(member, cursor),
            _ => {}
        }
        Ok(())
    }

    async fn find_start(
        &self,
        topic: &Arc<LocalTopic>,
        past: ReplayFrom,
        asked: Instant,
    ) -> Result<JoinPlan, BackendError> {
        let plain = |cursor, newest| JoinPlan { cursor, newest, recovery: None, top: None };
        match past {
            ReplayFrom::None => Ok(plain(None, None)),
            ReplayFrom::Newest(count) => Ok(plain(None, Some(count))),
            ReplayFrom::Cursor(None) => Ok(plain(Some(self.replay.everything(topic).await?.0), None)),
            ReplayFrom::Cursor(Some(position)) => {
                let cursor = Cursor::from(position);
                if topic.bridges(&cursor) {
                    return Ok(plain(Some(cursor), None));
                }
                match self.replay.read_on(topic, &cursor).await?.broken {
                    None => Ok(plain(Some(cursor), None)),
                    Some(_) => Ok(plain(Some(self.replay.everything(topic).await?.0), None)),
                }
            }
            ReplayFrom::Since(since, newest) => self.resume(topic, Cursor::from(since), newest, asked).await,
        }
    }

    async fn resume(
        &self,
        topic: &Arc<LocalTopic>,
        cursor: Cursor,
        newest: Option<u32>,
        asked: Instant,
    ) -> Result<JoinPlan, BackendError> {
        let recovered = |top| JoinPlan {
            cursor: Some(cursor),
            newest: None,
            recovery: Some(ResumeOutcome::Recovered),
            top,
        };
        // What this node remembers proves nothing of a log that was emptied or rolled back a moment ago.
        if topic.bridges(&cursor) && self.replay.confirm(topic, asked).await? && topic.bridges(&cursor) {
            return Ok(recovered(None));
        }
        let JudgedPage { page, broken, .. } = self.replay.read_on(topic, &cursor).await?;
        let top = page.top;
        let (reason, (everything, top)) = match broken {
            None if top.seq - cursor.seq <= MAX_MISSED => return Ok(recovered(Some(top))),
            None => (GapReason::TooMany, (Cursor::unproven(top.epoch, top.seq - MAX_MISSED), top)),
            Some(GapReason::Trimmed) => (GapReason::Trimmed, (before_first(&page).into(), top)),
            Some(reason) => (reason, self.replay.everything(topic).await?),
        };
        // `history` says how many messages are wanted instead. The first `seq` has to be fixed here: with the next publish it
        // would be another.
        let start = match newest {
            Some(count) => {
                let seq = top.seq.saturating_sub(count.into()).max(everything.seq);
                if seq == everything.seq { everything } else { Cursor::unproven(top.epoch, seq) }
            }
            None => everything,
        };
        let recovery = Some(ResumeOutcome::Broken { reason, next_seq: start.seq + 1 });
        Ok(JoinPlan { cursor: Some(start), newest: None, recovery, top: Some(top) })
    }
}

impl LocalTopic {
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
        state.ring.after(cursor.seq, Some(id)).is_some()
    }
}
