//! One topic as this node sees it: its last position, its ring, its local members. Owns the order in which members see
//! messages. Everything happens under one short lock, and nothing waits. Called by the registry for deliveries, and by
//! `recovery` and `replay` for messages that no delivery brought.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use indexmap::IndexMap;
use smallvec::SmallVec;
use tokio::sync::Notify;

use super::flush_list::FanOut;
use super::node_resources::NodeResources;
use super::outbox::{Outbox, Urgency};
use super::retractions::Retractions;
use super::ring::{Recent, Ring};
use super::sequencer::{Cursor, Verdict, judge};
use super::topic_member::{Member, MemberState, Place};
use crate::backend::{BackendError, Entry, Publication};
use crate::failpoints::{self, Failpoint};
use crate::protocol::encode::put_chat;
use crate::protocol::stored_rights::rights_change;
use crate::protocol::{ConnectionId, Epoch, Position, Topic, UserName, frame, stored};
use crate::traces::DeliverSpan;

/// Messages that wait while their topic recovers; further ones are read from the log.
const MAX_PENDING: usize = 256;
/// What may wait for its delivery: more is delivered at once.
const MAX_RECEIVED: usize = 64;

/// Whether the topic is subscribed and its top is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Starting,
    Ready,
    Failed(BackendError),
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
    pub(super) retractions: Retractions,
    pub(super) members: IndexMap<ConnectionId, Member>,
    pub(super) recovery: Option<TopicRecovery>,
    /// The room has rights, as far as this node knows.
    pub(super) has_rights: bool,
    /// Whom the user of a private log blocks.
    pub(super) blocked: HashSet<UserName>,
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
    /// What came on the channel and is not delivered yet. Its lock is taken within that of `state`, or alone.
    received: Mutex<Vec<Publication>>,
    /// Held by the read that confirms `last`: all who wait for it share its result. When a read that failed began, and why.
    pub(super) confirmation: tokio::sync::Mutex<Option<(Instant, BackendError)>>,
    /// Notified when the phase changes.
    pub(super) changed: Notify,
    pub(super) shared: Arc<NodeResources>,
}

/// What has to be done with what a topic received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The caller has to see to [`LocalTopic::deliver_received`] soon.
    Due,
    /// The caller has to see to it at once: nothing more may wait.
    DueNow,
    /// Somebody sees to it already.
    Awaited,
}

/// A run of messages that follow each other, as one block of finished frames.
struct Burst {
    from: Position,
    buffer: BytesMut,
    parts: SmallVec<[(Entry, usize); 1]>,
}

impl LocalTopic {
    pub(super) fn new(name: Topic, shared: Arc<NodeResources>) -> Self {
        let state = State {
            phase: Phase::Idle,
            last: None,
            breaks: 0,
            ring: Ring::new(shared.budget.clone()),
            retractions: Retractions::default(),
            members: IndexMap::new(),
            recovery: None,
            has_rights: false,
            blocked: HashSet::new(),
            confirmed_at: None,
            idle_since: None,
        };
        Self {
            name,
            holders: AtomicUsize::new(0),
            state: Mutex::new(state),
            received: Mutex::default(),
            confirmation: tokio::sync::Mutex::new(None),
            changed: Notify::new(),
            shared,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what came on the channel.
    #[must_use]
    pub(super) fn receive(&self, publications: &mut dyn Iterator<Item = Publication>) -> Delivery {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = received.is_empty();
        received.extend(publications);
        match (received.len(), was_empty) {
            (MAX_RECEIVED.., _) => Delivery::DueNow,
            (1.., true) => Delivery::Due,
            _ => Delivery::Awaited,
        }
    }

    /// Delivers what the topic received. True if the log has to be read: the caller hands the topic to the topic worker.
    #[must_use]
    pub(super) fn deliver_received(self: &Arc<Self>) -> bool {
        // Taken under the lock of the state, so that two callers keep the order.
        let mut state = self.lock();
        let received = std::mem::take(&mut *self.received.lock().unwrap_or_else(PoisonError::into_inner));
        self.deliver(&mut state, received)
    }

    fn deliver(self: &Arc<Self>, state: &mut State, publications: Vec<Publication>) -> bool {
        let mut burst: Option<Burst> = None;
        let mut found_gap = false;
        for publication in publications {
            match publication {
                Publication::Event { body, .. } if state.is_of_blocked(&body) => {}
                Publication::Event { origin, body } => {
                    self.fan_out(state, burst.take());
                    self.fan_out_event(state, origin, frame::text(&body));
                }
                Publication::Message { epoch, entry } => {
                    let last = state.last;
                    if state.recovery.is_none()
                        && let Some(last) = last
                    {
                        match judge(&last, epoch, &entry, state.ring.id_at(entry.seq)) {
                            Verdict::Next => {
                                self.put(state, &mut burst, last, entry);
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
        self.fan_out(state, burst);
        found_gap
    }

    /// Delivers messages that are known to follow `state.last`, in blocks.
    pub(super) fn deliver_next(self: &Arc<Self>, state: &mut State, entries: impl Iterator<Item = Entry>) {
        let mut burst = None;
        for entry in entries {
            let Some(last) = state.last else { return };
            self.put(state, &mut burst, last, entry);
        }
        self.fan_out(state, burst);
    }

    fn put(self: &Arc<Self>, state: &mut State, whole: &mut Option<Burst>, last: Position, entry: Entry) {
        // A push takes or refuses a whole block: it has to be well below a connection's bound.
        const MAX_BLOCK_BYTES: usize = 64 << 10;
        if whole.as_ref().is_some_and(|burst| burst.buffer.len() + entry.body.len() > MAX_BLOCK_BYTES) {
            self.fan_out(state, whole.take());
        }
        let burst = whole.get_or_insert_with(|| Burst {
            from: last,
            buffer: BytesMut::new(),
            parts: SmallVec::new(),
        });
        put_chat(&mut burst.buffer, &self.name, &entry.body, last.epoch, entry.seq);
        state.last = Some(Position { epoch: last.epoch, seq: entry.seq, message_id: entry.message_id });
        let id = entry.message_id;
        let change = rights_change(&entry.body);
        burst.parts.push((entry, burst.buffer.len()));
        if let Some(change) = change {
            // Who is taken out here gets this entry, and nothing after it.
            self.fan_out(state, whole.take());
            self.apply_rights(state, id, &change);
        }
    }

    /// Pushes a burst to the members. Their sockets are written soon, when no lock is held.
    fn fan_out(self: &Arc<Self>, state: &mut State, burst: Option<Burst>) {
        let Some(Burst { from, buffer, parts }) = burst else { return };
        let span = DeliverSpan::begin(parts.iter().map(|(entry, _)| entry.message_id));
        let block = buffer.freeze();
        let mut start = 0;
        let count = parts.len() as u64;
        let mut last = from;
        for (entry, end) in parts {
            last = Position { seq: entry.seq, message_id: entry.message_id, ..from };
            self.shared.counters.delivery_age(entry.stored_at);
            let Entry { seq, message_id, prev, body, .. } = entry;
            let is_change = !stored::is_message(&body);
            self.note_retraction(state, from.epoch, &body);
            state.ring.push(Recent { seq, message_id, prev, is_change, frame: block.slice(start..end) });
            start = end;
        }
        let mut fan_out = FanOut::new(block, Urgency::Soon, state.members.len());
        for member in state.members.values_mut() {
            match member.place(from, last) {
                Place::InFanOut => {}
                Place::Elsewhere => continue,
                Place::Behind(at) => {
                    self.mark_lagging(member, Cursor::from(at));
                    continue;
                }
            }
            if failpoints::is(Failpoint::DropLive) && failpoints::one_in(1_000) {
                continue;
            }
            if !fan_out.push(&member.outbox) {
                self.shared.counters.lagged.increment(1);
                self.mark_lagging(member, Cursor::from(from));
            }
        }
        let pushed = self.shared.end(fan_out);
        span.end(self.name.kind(), pushed);
        if matches!(self.name, Topic::User(_)) {
            state.members.values().for_each(|member| member.outbox.want_ping());
        }
        self.shared.counters.live.increment(count * pushed as u64);
    }

    /// A member is about to be sent this entry. If it is a retraction, what it erased leaves the ring, and is in no page any longer.
    pub(super) fn note_retraction(&self, state: &mut State, epoch: Epoch, body: &[u8]) {
        let Some((target, tombstone)) = stored::retracted_message(body) else { return };
        state.retractions.note(target);
        state.ring.erase(target, |id, seq| {
            let mut frame = BytesMut::new();
            put_chat(&mut frame, &self.name, &tombstone.of(id), epoch, seq);
            frame.freeze()
        });
    }

    pub(super) fn mark_lagging(self: &Arc<Self>, member: &mut Member, cursor: Cursor) {
        member.state = MemberState::Lagging(cursor);
        member.outbox.mark_lagging(self.clone());
    }

    fn fan_out_event(&self, state: &mut State, origin: Option<ConnectionId>, frame: Bytes) {
        // An event without an origin is of presence, which may come a little later.
        let urgency = if origin.is_some() { Urgency::Soon } else { Urgency::NextRound };
        let mut fan_out = FanOut::new(frame.clone(), urgency, state.members.len());
        for (id, member) in &mut state.members {
            if origin == Some(*id) {
                continue;
            }
            match member.state {
                MemberState::Live | MemberState::SkipUntil(_) => {
                    let _events_may_be_dropped = fan_out.push(&member.outbox);
                }
                MemberState::Joining | MemberState::Lagging(_) => member.hold(&frame),
            }
        }
        self.shared.end(fan_out);
    }

    /// Adds a connection whose join is under way.
    pub(super) fn begin_join(&self, outbox: &Arc<Outbox>, is_granted: bool) {
        let mut member = Member::joining(outbox.clone());
        member.rights.is_granted = is_granted;
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
