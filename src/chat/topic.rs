//! One topic as this node sees it: its last position, its ring, its local members. Owns the order in which members see
//! messages. Everything happens under one short lock, and nothing waits. Called by the registry for deliveries, and by
//! `recovery` and `replay` for messages that no delivery brought.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use indexmap::IndexMap;
use tokio::sync::Notify;

use super::counters::Counters;
use super::outbox::Outbox;
use super::ring::{Recent, Ring, RingBudget};
use super::send_budget::SendBudget;
use super::sequencer::{Cursor, Verdict, judge};
use crate::backend::{BackendError, Entry, Publication};
use crate::failpoints::{self, Failpoint};
use crate::protocol::encode::put_chat;
use crate::protocol::{ConnectionId, Epoch, Position, Topic, frame};

/// Messages that wait while their topic recovers; further ones are read from the log.
const MAX_PENDING: usize = 256;
/// Events that wait while a member joins or lags; further ones are dropped, as events may be.
const MAX_HELD_EVENTS: usize = 64;

/// What the topics of a node share.
pub(super) struct NodeResources {
    pub(super) budget: Arc<RingBudget>,
    pub(super) queued: Arc<SendBudget>,
    pub(super) counters: Counters,
}

/// Whether the topic is subscribed and its top is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Starting,
    Ready,
    Failed(BackendError),
}

/// How far one connection is in the topic.
pub(super) enum MemberState {
    /// Its join is under way: it gets messages once its `Ack` is queued.
    Joining,
    /// Gets every block.
    Live,
    /// It was sent more than this node has received yet: messages up to this `seq` are skipped.
    SkipUntil(u64),
    /// It left the fan-out: its connection pulls the messages after the cursor.
    Lagging(Cursor),
}

pub(super) struct Member {
    pub(super) outbox: Arc<Outbox>,
    pub(super) state: MemberState,
    /// Events that came while it joined or lagged. Its own `Enter` comes while it is sent the history that it asked for.
    held: Vec<Bytes>,
}

impl Member {
    /// Queues the held events: the member has caught up with the topic, or is about to.
    pub(super) fn release_events(&mut self) {
        for event in std::mem::take(&mut self.held) {
            self.outbox.reply(event);
        }
    }
}

/// The state of a recovery: from the first sign that messages may be missing, until the log has answered that.
pub(super) struct TopicRecovery {
    pub(super) pending: VecDeque<(Epoch, Entry)>,
    /// The read under way may lack messages: it has to be repeated. Cleared when a read begins.
    pub(super) is_stale: bool,
    /// The log contradicts what this node has: nothing may be sent from the ring.
    pub(super) is_inconsistent: bool,
    /// The subscription is lost: a read before it is back proves nothing.
    pub(super) is_interrupted: bool,
}

pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) last: Option<Position>,
    /// How often `last` was set to a position that does not follow: a proof from before does not count afterwards.
    pub(super) breaks: u64,
    pub(super) ring: Ring,
    pub(super) members: IndexMap<ConnectionId, Member>,
    pub(super) recovery: Option<TopicRecovery>,
    /// When the last read of the log began that continued from `last`.
    pub(super) confirmed_at: Option<Instant>,
    /// When its last holder went. Without meaning while it has holders.
    pub(super) idle_since: Option<Instant>,
}

/// One topic on this node.
pub(super) struct LocalTopic {
    pub(super) name: Topic,
    /// Joins under way and members. At zero the topic is idle, and after a while it is unsubscribed from.
    pub(super) holders: AtomicUsize,
    state: Mutex<State>,
    /// Held by the read that confirms `last`: all who wait for it share its result. When a read that failed began, and why.
    pub(super) confirmation: tokio::sync::Mutex<Option<(Instant, BackendError)>>,
    /// Notified when the phase changes.
    pub(super) changed: Notify,
    pub(super) shared: Arc<NodeResources>,
}

/// A run of messages that follow each other, as one block of finished frames.
struct Burst {
    from: Position,
    buffer: BytesMut,
    parts: Vec<(Entry, usize)>,
}

impl LocalTopic {
    pub(super) fn new(name: Topic, shared: Arc<NodeResources>) -> Self {
        let state = State {
            phase: Phase::Idle,
            last: None,
            breaks: 0,
            ring: Ring::new(shared.budget.clone()),
            members: IndexMap::new(),
            recovery: None,
            confirmed_at: None,
            idle_since: None,
        };
        Self {
            name,
            holders: AtomicUsize::new(0),
            state: Mutex::new(state),
            confirmation: tokio::sync::Mutex::new(None),
            changed: Notify::new(),
            shared,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what came on the channel. True if the log has to be read: the caller hands the topic to the topic worker.
    #[must_use]
    pub(super) fn deliver(self: &Arc<Self>, publications: &mut Vec<Publication>) -> bool {
        let mut state = self.lock();
        let mut burst: Option<Burst> = None;
        let mut found_gap = false;
        for publication in publications.drain(..) {
            match publication {
                Publication::Event { origin, body } => {
                    self.flush(&mut state, burst.take());
                    self.fan_out_event(&mut state, origin, frame::text(&body));
                }
                Publication::Message { epoch, entry } => {
                    let last = state.last;
                    if state.recovery.is_none()
                        && let Some(last) = last
                    {
                        match judge(&last, epoch, &entry, state.ring.id_at(entry.seq)) {
                            Verdict::Next => {
                                self.put(&mut state, &mut burst, last, entry);
                                continue;
                            }
                            Verdict::Repeat => continue,
                            Verdict::Gap | Verdict::Conflict => {
                                self.shared.counters.gap_hole.increment(1);
                                found_gap = true;
                            }
                        }
                    }
                    state.pend(epoch, entry);
                }
            }
        }
        self.flush(&mut state, burst);
        found_gap
    }

    /// Delivers messages that are known to follow `state.last`, in blocks.
    pub(super) fn deliver_next(self: &Arc<Self>, state: &mut State, entries: impl Iterator<Item = Entry>) {
        let mut burst = None;
        for entry in entries {
            let Some(last) = state.last else { return };
            self.put(state, &mut burst, last, entry);
        }
        self.flush(state, burst);
    }

    fn put(self: &Arc<Self>, state: &mut State, burst: &mut Option<Burst>, last: Position, entry: Entry) {
        // A push takes or refuses a whole block: it has to be well below a connection's bound.
        const MAX_BLOCK_BYTES: usize = 64 << 10;
        if burst.as_ref().is_some_and(|burst| burst.buffer.len() + entry.body.len() > MAX_BLOCK_BYTES) {
            self.flush(state, burst.take());
        }
        let burst =
            burst.get_or_insert_with(|| Burst { from: last, buffer: BytesMut::new(), parts: Vec::new() });
        put_chat(&mut burst.buffer, &self.name, &entry.body, last.epoch, entry.seq);
        state.last = Some(Position { epoch: last.epoch, seq: entry.seq, message_id: entry.message_id });
        burst.parts.push((entry, burst.buffer.len()));
    }

    fn flush(self: &Arc<Self>, state: &mut State, burst: Option<Burst>) {
        let Some(Burst { from, buffer, parts }) = burst else { return };
        let block = buffer.freeze();
        let mut start = 0;
        let count = parts.len() as u64;
        let mut last_seq = from.seq;
        for (entry, end) in parts {
            last_seq = entry.seq;
            self.shared.counters.delivery_age(entry.stored_at);
            let Entry { seq, message_id, prev, .. } = entry;
            state.ring.push(Recent { seq, message_id, prev, frame: block.slice(start..end) });
            start = end;
        }
        let mut pushed = 0;
        for member in state.members.values_mut() {
            match member.state {
                MemberState::Live => {}
                MemberState::SkipUntil(seq) if from.seq >= seq => member.state = MemberState::Live,
                MemberState::SkipUntil(seq) if last_seq <= seq => continue,
                // The block has messages that the member was sent, and others that it lacks: it has to pull the rest.
                MemberState::SkipUntil(seq) => {
                    let cursor = Cursor::unproven(from.epoch, seq);
                    self.mark_lagging(member, cursor);
                    continue;
                }
                MemberState::Joining | MemberState::Lagging(_) => continue,
            }
            if failpoints::is(Failpoint::DropLive) && failpoints::one_in(1_000) {
                continue;
            }
            if member.outbox.push(&block) {
                pushed += 1;
            } else {
                self.shared.counters.lagged.increment(1);
                self.mark_lagging(member, Cursor::from(from));
            }
        }
        if matches!(self.name, Topic::User(_)) {
            state.members.values().for_each(|member| member.outbox.want_ping());
        }
        self.shared.queued.add(block.len() * pushed);
        self.shared.counters.live.increment(count * pushed as u64);
    }

    pub(super) fn mark_lagging(self: &Arc<Self>, member: &mut Member, cursor: Cursor) {
        member.state = MemberState::Lagging(cursor);
        member.outbox.mark_lagging(self.clone());
    }

    fn fan_out_event(&self, state: &mut State, origin: Option<ConnectionId>, frame: Bytes) {
        let mut pushed = 0;
        for (id, member) in &mut state.members {
            if origin == Some(*id) {
                continue;
            }
            match member.state {
                MemberState::Live | MemberState::SkipUntil(_) => {
                    pushed += usize::from(member.outbox.push(&frame))
                }
                MemberState::Joining | MemberState::Lagging(_) if member.held.len() < MAX_HELD_EVENTS => {
                    member.held.push(frame.clone());
                }
                MemberState::Joining | MemberState::Lagging(_) => {}
            }
        }
        self.shared.queued.add(frame.len() * pushed);
    }

    /// Adds a connection whose join is under way.
    pub(super) fn begin_join(&self, outbox: &Arc<Outbox>) {
        let member = Member { outbox: outbox.clone(), state: MemberState::Joining, held: Vec::new() };
        self.lock().members.insert(outbox.id(), member);
    }

    /// Removes a connection: nothing more of the topic is pushed to it.
    pub(super) fn remove(&self, id: ConnectionId) {
        let mut state = self.lock();
        state.members.swap_remove(&id);
        if state.members.capacity() > 64 && state.members.len() * 4 < state.members.capacity() {
            state.members.shrink_to_fit();
        }
    }

    /// The newest message that this node knows of, and [`State::breaks`].
    pub(super) fn view(&self) -> (Option<Position>, u64) {
        let state = self.lock();
        (state.last, state.breaks)
    }

    /// The newest message that this node knows of.
    pub(super) fn top(&self) -> Option<Position> {
        self.lock().last
    }

    /// How far a member was sent the topic's messages; `None` while it joins, or if the position is not proved.
    pub(super) fn sent_to(&self, id: ConnectionId) -> Option<Position> {
        let state = self.lock();
        match state.members.get(&id)?.state {
            MemberState::Live => state.last,
            MemberState::Lagging(cursor) => cursor.position(),
            MemberState::Joining | MemberState::SkipUntil(_) => None,
        }
    }

    /// The log contradicts what this node has: it has to be read.
    pub(super) fn mark_inconsistent(&self) {
        let mut state = self.lock();
        state.begin_recovery(false);
        if let Some(recovery) = &mut state.recovery {
            recovery.is_inconsistent = true;
        }
    }

    /// The subscription is lost: messages may be missing until the log was read.
    pub(super) fn interrupt(&self) {
        self.lock().begin_recovery(true);
    }

    /// The subscription is back: the log may be read now.
    pub(super) fn resume(&self) {
        let mut state = self.lock();
        state.begin_recovery(false);
        if let Some(recovery) = &mut state.recovery {
            recovery.is_interrupted = false;
            // A read that is under way may have been answered before the interruption.
            recovery.is_stale = true;
        }
    }
}

impl State {
    /// Forgets everything about the log: the topic is no longer subscribed.
    pub(super) fn forget(&mut self) {
        self.phase = Phase::Idle;
        self.last = None;
        self.confirmed_at = None;
        self.recovery = None;
        self.ring.clear();
    }

    pub(super) fn begin_recovery(&mut self, is_interrupted: bool) {
        let recovery = self.recovery.get_or_insert_with(|| TopicRecovery {
            pending: VecDeque::new(),
            is_stale: false,
            is_inconsistent: false,
            is_interrupted,
        });
        recovery.is_interrupted |= is_interrupted;
    }

    fn pend(&mut self, epoch: Epoch, entry: Entry) {
        self.begin_recovery(false);
        if let Some(recovery) = &mut self.recovery {
            if recovery.pending.len() < MAX_PENDING {
                recovery.pending.push_back((epoch, entry));
            } else {
                recovery.is_stale = true;
            }
        }
    }
}
