//! Joining a topic without gap or repeat. Owns the order of the steps: the member is known to the topic before anything
//! is read, the `Ack` is queued and the member's place fixed under one lock. Called by the session for rooms and for
//! private logs.

use std::sync::Arc;

use super::outbox::Outbox;
use super::replay::{JudgedPage, Replay};
use super::sequencer::{Cursor, before_first};
use super::topic::{LocalTopic, MemberState};
use crate::backend::BackendError;
use crate::protocol::{GapReason, Position, Since};

/// More missed messages than this are not replayed to a client that resumes.
const MAX_MISSED: u64 = 1_000;

/// What the joiner wants of the past.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ReplayFrom {
    /// Nothing.
    None,
    /// The newest so many.
    Newest(u32),
    /// All after a place that the client claims; if that can't be proved, everything held, or the newest so many.
    Since(Since, Option<u32>),
    /// All after the user's cursor; without a provable one, everything held. Says nothing of recovery.
    Cursor(Option<Position>),
}

/// What the joiner is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Joined {
    /// The newest message at the moment of joining.
    pub(super) top: Position,
    /// Only where a position was claimed.
    pub(super) recovery: Option<ResumeOutcome>,
}

/// Whether all after a claimed position follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ResumeOutcome {
    /// It does.
    Recovered,
    /// It can't be proved.
    Broken {
        /// Why.
        reason: GapReason,
        /// What follows starts here.
        next_seq: u64,
    },
}

/// Where the member starts, found before the lock is taken.
struct JoinPlan {
    cursor: Option<Cursor>,
    newest: Option<u32>,
    recovery: Option<ResumeOutcome>,
    /// The log's top as far as it was read.
    top: Option<Position>,
}

/// Lets members into topics.
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

    /// Gives a member that [`LocalTopic::begin_join`] added its place: decides what it missed, then, under the topic's
    /// lock, queues what `ack` makes and puts the member into the fan-out, or behind it by what it missed.
    pub(super) async fn complete(
        &self,
        topic: &Arc<LocalTopic>,
        outbox: &Arc<Outbox>,
        past: ReplayFrom,
        ack: impl FnOnce(&Joined),
    ) -> Result<(), BackendError> {
        let start = self.find_start(topic, past).await?;
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

    async fn find_start(&self, topic: &Arc<LocalTopic>, past: ReplayFrom) -> Result<JoinPlan, BackendError> {
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
            ReplayFrom::Since(since, newest) => self.resume(topic, Cursor::from(since), newest).await,
        }
    }

    async fn resume(
        &self,
        topic: &Arc<LocalTopic>,
        cursor: Cursor,
        newest: Option<u32>,
    ) -> Result<JoinPlan, BackendError> {
        let recovered = |top| JoinPlan {
            cursor: Some(cursor),
            newest: None,
            recovery: Some(ResumeOutcome::Recovered),
            top,
        };
        if topic.bridges(&cursor) {
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
        // `history` names what is wanted instead; its first `seq` is known only as long as nobody writes, so it is fixed here.
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
    /// Whether what this node knows proves that the topic continues at the cursor, with no read of the log. The ring is
    /// short of the number that would be too many.
    fn bridges(&self, cursor: &Cursor) -> bool {
        let state = self.lock();
        // A topic in doubt proves nothing.
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
