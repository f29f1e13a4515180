//! One client's view of one log, from its first position to its last. Owns the rule of what may come next; does not look at
//! when it came. Fed by the session check.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::recovery::{is_false_gap, is_false_recovery};
use super::replay::Replay;
use crate::checks::index::{Index, RawLog};
use crate::checks::{Check, Findings};
use crate::history::{Event, Kind, Line, Micros, Place, Position, Reason, Topic, Verdict};

/// The message that must come next on a stream.
#[derive(Debug, Clone, Copy)]
struct Expected {
    epoch: u64,
    seq: u64,
    /// The message before it, if the client has it.
    after: Option<Uuid>,
}

impl Expected {
    fn after(position: Position) -> Self {
        let Position { epoch, seq, message_id } = position;
        Self { epoch, seq: seq + 1, after: Some(message_id) }
    }
}

/// What comes next, and from where a connection is served.
#[derive(Debug, Clone, Copy)]
struct Course {
    expected: Option<Expected>,
    replay: Option<Replay>,
    served_from: Option<Place>,
}

/// One log as one client sees it.
pub struct Stream {
    client: u32,
    topic: Topic,
    /// Whether the client keeps a position of this log and resumes from it.
    keeps_position: bool,
    /// The entry after the messages of `replay`.
    expected: Option<Expected>,
    /// The newest messages that the last join asked for, until an entry after them comes.
    replay: Option<Replay>,
    /// The same, if their end was rolled back: nothing tells what was to come.
    lost: Option<Replay>,
    /// The place before these messages, and the `seq` of their end, on this connection.
    replayed: Option<(Place, u64)>,
    /// What comes if the node took a late position for one that it was past, which it need not tell.
    instead: Option<Course>,
    /// The last position that the client can name; a gap begins after it.
    position: Option<Position>,
    since: Option<Position>,
    /// When the client asked to join.
    asked: Micros,
    history: u32,
    /// The answer to the last join claimed a recovery, and no message has come since.
    recovered: bool,
    /// The connection on which the client has joined and not left.
    inside: Option<u64>,
    /// The place from which this connection was served the log. None until it is known.
    served_from: Option<Place>,
    here: HashSet<(Place, Uuid)>,
    ever: HashMap<Place, Uuid>,
}

impl Stream {
    pub fn new(index: &Index<'_>, client: u32, topic: Topic) -> Self {
        let keeps_position = match topic {
            Topic::Room(_) => true,
            Topic::Inbox(_) => index.history.setup.keeps_inbox[client as usize],
        };
        Self {
            client,
            topic,
            keeps_position,
            expected: None,
            replay: None,
            lost: None,
            replayed: None,
            instead: None,
            position: None,
            since: None,
            asked: 0,
            history: 0,
            recovered: false,
            inside: None,
            served_from: None,
            here: HashSet::new(),
            ever: HashMap::new(),
        }
    }

    /// The client has a new connection.
    pub fn connected(&mut self) {
        self.here.clear();
        (self.inside, self.served_from) = (None, None);
        self.forget_replay();
        if !self.keeps_position {
            self.expected = None;
            self.ever.clear();
        }
    }

    fn forget_replay(&mut self) {
        (self.replay, self.lost, self.replayed, self.instead) = (None, None, None, None);
    }

    /// The next event of this stream.
    pub fn step(&mut self, index: &Index<'_>, line: &Line, findings: &mut Findings) {
        let log = index.logs.get(&self.topic);
        match &line.event {
            Event::Join { since, history, .. } => {
                // No message precedes the first one, whatever id a client sends.
                let start = |since: Position| Position { message_id: Uuid::nil(), ..since };
                self.since = since.map(|since| if since.seq == 0 { start(since) } else { since });
                self.history = *history;
                self.asked = line.at;
            }
            // Without a position it changes nothing.
            Event::Joined { conn, already: true, verdict: None, .. } if self.since.is_none() => {
                self.inside = Some(*conn);
            }
            Event::Joined { conn, top, verdict, already, .. } => {
                self.inside = Some(*conn);
                self.joined(index, log, line.at, (*top, *verdict, *already), findings);
            }
            Event::Left { .. } => {
                (self.inside, self.served_from) = (None, None);
                self.expected = None;
                self.forget_replay();
            }
            Event::Gap { reason, next, .. } => {
                findings.look(Check::FalseRecoveryOrGap);
                // The newest messages go as far as their end: it is no false gap if the log lost that.
                let is_comparable = self.replay.is_none_or(|replay| log.is_some_and(|log| replay.is_in(log)));
                let position = self.position.filter(|_| self.keeps_position && is_comparable);
                if let Some(position) = position {
                    self.check_gap(log, line.at, position, *reason, next.seq, findings);
                }
                // A later gap is measured from what follows this one, no longer from the old position.
                self.position = None;
                self.forget_replay();
                self.served_from = Some(Place { epoch: next.epoch, seq: next.seq.saturating_sub(1) });
                self.expected = Some(Expected { epoch: next.epoch, seq: next.seq, after: None });
                self.here.clear();
                self.ever.clear();
                self.recovered = false;
            }
            Event::Received { conn, at, message_id, kind, .. } => {
                self.check_membership(*conn, line.at, *at, findings);
                let Place { epoch, seq } = *at;
                // If their end was rolled back, they may have been sent before, or the node found out and sent entries one by one.
                let is_lost = |replay: &Replay| index.rollback_of(replay.until.message_id).is_some();
                if self.replay.as_ref().is_some_and(is_lost) {
                    self.lost = self.replay.take();
                }
                if let Some(lost) = self.lost {
                    self.expected = None;
                    self.lost = Some(lost).filter(|lost| lost.covers(*at));
                }
                let position = Position { epoch, seq, message_id: *message_id };
                self.received(log, line.at, position, *kind, findings);
            }
            _ => {}
        }
    }

    fn joined(
        &mut self,
        index: &Index<'_>,
        log: Option<&RawLog<'_>>,
        at: Micros,
        (top, verdict, already): (Position, Option<Verdict>, bool),
        findings: &mut Findings,
    ) {
        let (client, topic) = (self.client, self.topic);
        let was_served = self.served_from.take();
        self.recovered = false;
        match (self.since.take(), verdict) {
            (None, _) => {
                // It may have received the requested history before.
                self.ever.clear();
                self.here.clear();
                self.forget_replay();
                // Without a position a private log starts at the user's cursor, which the checker does not know.
                let top = Some(top).filter(|_| matches!(topic, Topic::Room(_)));
                self.expected = top.map(Expected::after);
                self.position = top;
                self.served_from = top.as_ref().map(Position::place);
                let history = Some(self.history).filter(|history| *history > 0);
                self.replay = top.zip(history).map(|(top, history)| Replay::new(history, top, None));
            }
            (Some(since), Some(Verdict::Recovered)) => {
                findings.look(Check::FalseRecoveryOrGap);
                if is_false_recovery(index, log, self.asked, since, top) {
                    findings.find(
                        Check::FalseRecoveryOrGap,
                        at,
                        format!(
                            "client {client} got a false recovery of {topic:?} from {since:?}, top {top:?}"
                        ),
                    );
                }
                // If the client was sent the message there on this connection, nothing comes again.
                if let (true, None, Some(from), Some(next)) =
                    (already, self.replay, was_served, self.expected)
                    && from.epoch == since.epoch
                    && next.epoch == since.epoch
                    && from.seq <= since.seq
                    && since.seq < next.seq
                {
                    self.served_from = was_served;
                    return;
                }
                // If the log had no changes, the node was past the newest messages that it sent before.
                let may_be_past = self.replayed.is_some_and(|(from, until)| {
                    already && from.epoch == since.epoch && (from.seq..=until).contains(&since.seq)
                });
                let course = self.course(was_served);
                self.instead = self.instead.or(Some(course)).filter(|_| may_be_past);
                self.replay = None;
                self.served_from = Some(since.place());
                self.recovered = true;
                // A client that leaves and joins again on one connection may name a position before its last message, because
                // it asked while an earlier request was waiting. Only the messages after that position come again.
                let stays = |place: &Place| place.epoch != since.epoch || place.seq <= since.seq;
                self.here.retain(|(place, _)| stays(place));
                self.ever.retain(|place, _| stays(place));
                let after = Some(since.message_id);
                self.expected = Some(Expected { epoch: since.epoch, seq: since.seq + 1, after });
                self.position = Some(since);
            }
            (Some(since), Some(Verdict::Not { reason, next_seq })) => {
                findings.look(Check::FalseRecoveryOrGap);
                self.check_gap(log, at, since, reason, next_seq, findings);
                self.ever.clear();
                self.here.clear();
                self.position = None;
                self.forget_replay();
                self.served_from = Some(Place { epoch: top.epoch, seq: next_seq.saturating_sub(1) });
                self.expected = Some(Expected { epoch: top.epoch, seq: next_seq, after: None });
                if self.history > 0 && next_seq <= top.seq {
                    self.expected = Some(Expected::after(top));
                    self.replay = Some(Replay::new(self.history, top, Some(next_seq)));
                }
            }
            (Some(since), None) => {
                findings.find(
                    Check::FalseRecoveryOrGap,
                    at,
                    format!(
                        "client {client} resumed {topic:?} from {since:?}, and the Ack contains no verdict"
                    ),
                );
                self.expected = None;
            }
        }
    }

    fn course(&self, served_from: Option<Place>) -> Course {
        Course { expected: self.expected, replay: self.replay, served_from }
    }

    /// C8 for a gap.
    fn check_gap(
        &self,
        log: Option<&RawLog<'_>>,
        at: Micros,
        position: Position,
        reason: Reason,
        next_seq: u64,
        findings: &mut Findings,
    ) {
        if is_false_gap(log, position, reason, next_seq) {
            findings.find(
                Check::FalseRecoveryOrGap,
                at,
                format!(
                    "client {} got a gap ({reason:?}, next {next_seq}) in {:?} after {position:?}, but the log still contains the messages",
                    self.client, self.topic
                ),
            );
        }
    }

    /// C6: no message of a topic comes before the `Ack` of joining or after the `Ack` of leaving. The exception: private
    /// messages to a client that keeps no position begin with its first request, which need not be a join.
    fn check_membership(&self, conn: u64, at: Micros, place: Place, findings: &mut Findings) {
        if self.keeps_position && self.inside != Some(conn) {
            findings.find(
                Check::PhantomOrLeak,
                at,
                format!(
                    "client {} received {place:?} of {:?}, of which it was not a member",
                    self.client, self.topic
                ),
            );
        }
    }

    fn received(
        &mut self,
        log: Option<&RawLog<'_>>,
        at: Micros,
        position: Position,
        kind: Kind,
        findings: &mut Findings,
    ) {
        let (client, topic, place, message_id) =
            (self.client, self.topic, position.place(), position.message_id);
        let begins_anew =
            self.expected.is_some_and(|next| (next.epoch, next.seq) == (place.epoch, place.seq));
        if let Some(course) = self.instead.take().filter(|_| !begins_anew) {
            (self.expected, self.replay, self.served_from) =
                (course.expected, course.replay, course.served_from);
        }
        findings.look(Check::LostAtMember);
        findings.look(Check::Duplicate);
        findings.look(Check::Reorder);
        if !self.here.insert((place, message_id)) {
            findings.find(
                Check::Duplicate,
                at,
                format!("client {client} received {place:?} of {topic:?} twice on one connection"),
            );
        } else if let Some(replay) = self.replay.as_mut().filter(|replay| replay.covers(place)) {
            self.recovered = false;
            let before = Place { epoch: place.epoch, seq: place.seq.saturating_sub(1) };
            self.replayed.get_or_insert((before, replay.until.seq));
            self.ever.insert(place, message_id);
            if let Err((check, text)) = replay.take(log, position, kind) {
                findings.find(check, at, format!("client {client} in {topic:?}: {text}"));
            }
            return;
        } else if let Some(expected) = self.expected {
            if let Some(text) = self.replay.and_then(|replay| replay.missing_at_end(log)) {
                findings.find(Check::LostAtMember, at, format!("client {client} in {topic:?}: {text}"));
            }
            if expected.epoch != place.epoch || place.seq > expected.seq {
                findings.find(
                    Check::LostAtMember,
                    at,
                    format!("client {client} received {place:?} of {topic:?} instead of {expected:?}, without a gap event"),
                );
            } else if place.seq < expected.seq {
                let check = if self.ever.get(&place) == Some(&message_id) {
                    Check::Duplicate
                } else {
                    Check::Reorder
                };
                findings.find(
                    check,
                    at,
                    format!("client {client} received {place:?} of {topic:?} instead of {expected:?}"),
                );
            } else if let Some(after) = expected.after
                && let Some(entry) = log.and_then(|log| log.by_message.get(&message_id))
                && entry.prev != after
            {
                let check = if self.recovered { Check::FalseRecoveryOrGap } else { Check::Inconsistent };
                findings.find(
                    check,
                    at,
                    format!("client {client} received {place:?} of {topic:?} after {after}, but the log has it after {}", entry.prev),
                );
            }
        }
        self.recovered = false;
        self.replay = None;
        self.ever.insert(place, message_id);
        self.served_from.get_or_insert(Place { epoch: place.epoch, seq: place.seq.saturating_sub(1) });
        self.position = Some(position);
        self.expected = Some(Expected::after(position));
    }
}
