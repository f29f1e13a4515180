//! C2, C3, C4, C5, C6 and C8 as one client sees one log, from its first position to its last. Owns the rule of what
//! may come next; does not look at when. Called by `all`.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::index::{Index, RawLog};
use super::{Check, Findings};
use crate::history::{Event, Line, Micros, Place, Position, Reason, Topic, Verdict};

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    let mut streams: BTreeMap<(u32, Topic), Stream> = BTreeMap::new();
    for line in &index.history.lines {
        match &line.event {
            Event::Join { client, topic, .. }
            | Event::Joined { client, topic, .. }
            | Event::Leave { client, topic, .. }
            | Event::Left { client, topic, .. }
            | Event::Received { client, topic, .. }
            | Event::Gap { client, topic, .. } => streams
                .entry((*client, *topic))
                .or_insert_with(|| Stream::new(index, *client, *topic))
                .step(index, line, findings),
            Event::Connected { client, .. } => {
                for (_, stream) in
                    streams.range_mut((*client, Topic::Room(0))..=(*client, Topic::Inbox(u16::MAX)))
                {
                    stream.connected();
                }
            }
            _ => {}
        }
    }
}

/// What must come next on a stream.
#[derive(Debug, Clone, Copy)]
struct Expected {
    epoch: u64,
    seq: u64,
    /// The message before it, where the client has it.
    after: Option<Uuid>,
}

struct Stream {
    client: u32,
    topic: Topic,
    /// Whether the client resumes this log from a position of its own.
    keeps_position: bool,
    expected: Option<Expected>,
    /// The last place that the client can name: what a gap would have to be measured from.
    position: Option<Position>,
    since: Option<Position>,
    /// When it asked to join.
    asked: Micros,
    history: u32,
    /// The answer to the last join claimed continuity, and nothing has come since.
    recovered: bool,
    /// The connection on which it was told that it is in, and has not left.
    inside: Option<u64>,
    here: HashSet<(Place, Uuid)>,
    ever: HashMap<Place, Uuid>,
}

impl Stream {
    fn new(index: &Index<'_>, client: u32, topic: Topic) -> Self {
        let keeps_position = match topic {
            Topic::Room(_) => true,
            Topic::Inbox(_) => index.history.setup.keeps_inbox[client as usize],
        };
        Self {
            client,
            topic,
            keeps_position,
            expected: None,
            position: None,
            since: None,
            asked: 0,
            history: 0,
            recovered: false,
            inside: None,
            here: HashSet::new(),
            ever: HashMap::new(),
        }
    }

    fn connected(&mut self) {
        self.here.clear();
        self.inside = None;
        if !self.keeps_position {
            self.expected = None;
            self.ever.clear();
        }
    }

    fn step(&mut self, index: &Index<'_>, line: &Line, findings: &mut Findings) {
        let log = index.logs.get(&self.topic);
        match &line.event {
            Event::Join { since, history, .. } => {
                // Before the first message there is none to name, whatever a client says.
                let start = |since: Position| Position { message_id: Uuid::nil(), ..since };
                self.since = since.map(|since| if since.seq == 0 { start(since) } else { since });
                self.history = *history;
                self.asked = line.at;
            }
            Event::Joined { conn, already: true, .. } => self.inside = Some(*conn),
            Event::Joined { conn, top, verdict, .. } => {
                self.inside = Some(*conn);
                self.joined(index, log, line.at, *top, *verdict, findings);
            }
            Event::Left { .. } => {
                self.inside = None;
                self.expected = None;
            }
            Event::Gap { reason, next, .. } => {
                findings.look(Check::FalseRecoveryOrGap);
                if let Some(position) = self.position.filter(|_| self.keeps_position) {
                    self.gap_is_true(log, line.at, position, *reason, next.seq, findings);
                }
                // The last position is no longer one: the next gap would be measured from what follows this one.
                self.position = None;
                self.expected = Some(Expected { epoch: next.epoch, seq: next.seq, after: None });
                self.here.clear();
                self.ever.clear();
                self.recovered = false;
            }
            Event::Received { conn, at, message_id, .. } => {
                self.may_hear(*conn, line.at, *at, findings);
                self.received(log, line.at, *at, *message_id, findings);
            }
            _ => {}
        }
    }

    fn joined(
        &mut self,
        index: &Index<'_>,
        log: Option<&RawLog<'_>>,
        at: Micros,
        top: Position,
        verdict: Option<Verdict>,
        findings: &mut Findings,
    ) {
        let (client, topic) = (self.client, self.topic);
        self.recovered = false;
        match (self.since.take(), verdict) {
            (None, _) => {
                // What it asks for of the past it may have had.
                self.ever.clear();
                self.here.clear();
                let replayed = u64::from(self.history).min(top.seq);
                let seq = top.seq - replayed + 1;
                // A private log without a position starts at the user's cursor, which nobody outside knows.
                let known = matches!(topic, Topic::Room(_))
                    && (replayed == 0 || log.is_some_and(|log| log.epoch == top.epoch && log.first() <= seq));
                let after = (replayed == 0).then_some(top.message_id);
                self.expected = known.then_some(Expected { epoch: top.epoch, seq, after });
                self.position = (replayed == 0 && known).then_some(top);
            }
            (Some(since), Some(Verdict::Recovered)) => {
                findings.look(Check::FalseRecoveryOrGap);
                let another = since.epoch != top.epoch
                    || top.seq < since.seq
                    || (top.seq == since.seq && top.message_id != since.message_id)
                    || log.is_some_and(|log| {
                        let comparable = log.epoch == since.epoch && log.first() <= since.seq;
                        comparable && !log.holds(since.place(), since.message_id)
                    }) && index.undone(since.message_id).is_none_or(|window| self.asked > window.to);
                if another {
                    findings.find(
                        Check::FalseRecoveryOrGap,
                        at,
                        format!(
                            "client {client} was told that it recovered {topic:?} from {since:?}, top {top:?}"
                        ),
                    );
                }
                self.recovered = true;
                // Who leaves and comes back on one connection may name a place before what it has by now: it asked while
                // an earlier request was waiting. What follows that place comes again, and nothing else.
                let stays = |place: &Place| place.epoch != since.epoch || place.seq <= since.seq;
                self.here.retain(|(place, _)| stays(place));
                self.ever.retain(|place, _| stays(place));
                let after = Some(since.message_id);
                self.expected = Some(Expected { epoch: since.epoch, seq: since.seq + 1, after });
                self.position = Some(since);
            }
            (Some(since), Some(Verdict::Not { reason, next_seq })) => {
                findings.look(Check::FalseRecoveryOrGap);
                self.gap_is_true(log, at, since, reason, next_seq, findings);
                self.ever.clear();
                self.here.clear();
                self.position = None;
                // With `history`, it is the last of that many that follow, or less.
                self.expected = Some(Expected { epoch: top.epoch, seq: next_seq, after: None });
            }
            (Some(since), None) => {
                findings.find(
                    Check::FalseRecoveryOrGap,
                    at,
                    format!(
                        "client {client} came back to {topic:?} with {since:?} and was told nothing of it"
                    ),
                );
                self.expected = None;
            }
        }
    }

    /// C8: a gap where what followed the position could be proved and had.
    fn gap_is_true(
        &self,
        log: Option<&RawLog<'_>>,
        at: Micros,
        position: Position,
        reason: Reason,
        next_seq: u64,
        findings: &mut Findings,
    ) {
        // What the log holds at the end it held then, and all after it: entries are never put back. Before the first
        // message there is nothing to hold, so that the first must still be there.
        let provable = log.is_some_and(|log| {
            log.holds(position.place(), position.message_id) && (position.seq > 0 || log.first() == 1)
        });
        // What is left out is what makes it too many: the newest of the allowed number always come.
        let too_many = reason == Reason::TooMany && next_seq > position.seq + 1;
        if provable && !too_many {
            findings.find(
                Check::FalseRecoveryOrGap,
                at,
                format!(
                    "client {} was told of a gap ({reason:?}, next {next_seq}) in {:?} after {position:?}, which the log still holds",
                    self.client, self.topic
                ),
            );
        }
    }

    /// C6: nothing comes before the `Ack` of joining and nothing after that of leaving. Private messages to a client
    /// without a position of its own begin with whatever it asks first, which may not be a join.
    fn may_hear(&self, conn: u64, at: Micros, place: Place, findings: &mut Findings) {
        if self.keeps_position && self.inside != Some(conn) {
            findings.find(
                Check::PhantomOrLeak,
                at,
                format!("client {} received {place:?} of {:?}, where it was not", self.client, self.topic),
            );
        }
    }

    fn received(
        &mut self,
        log: Option<&RawLog<'_>>,
        at: Micros,
        place: Place,
        message_id: Uuid,
        findings: &mut Findings,
    ) {
        let (client, topic) = (self.client, self.topic);
        findings.look(Check::LostAtMember);
        findings.look(Check::Duplicate);
        findings.look(Check::Reorder);
        if !self.here.insert((place, message_id)) {
            findings.find(
                Check::Duplicate,
                at,
                format!("client {client} received {place:?} of {topic:?} twice on one connection"),
            );
        } else if let Some(expected) = self.expected {
            if expected.epoch != place.epoch || place.seq > expected.seq {
                findings.find(
                    Check::LostAtMember,
                    at,
                    format!("client {client} received {place:?} of {topic:?} where {expected:?} came next, and no gap was signalled"),
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
                    format!("client {client} received {place:?} of {topic:?} where {expected:?} came next"),
                );
            } else if let Some(after) = expected.after
                && let Some(entry) = log.and_then(|log| log.by_message.get(&message_id))
                && entry.prev != after
            {
                let check = if self.recovered { Check::FalseRecoveryOrGap } else { Check::Inconsistent };
                findings.find(
                    check,
                    at,
                    format!("client {client} received {place:?} of {topic:?} after {after}, but before it came {}", entry.prev),
                );
            }
        }
        self.recovered = false;
        self.ever.insert(place, message_id);
        self.position = Some(Position { epoch: place.epoch, seq: place.seq, message_id });
        self.expected = Some(Expected { epoch: place.epoch, seq: place.seq + 1, after: Some(message_id) });
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;
    use crate::history::Damage;

    fn talk() -> Sample {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.enter(1, 1);
        run.say(0, 1);
        run.say(0, 2);
        run
    }

    #[test]
    fn resume_without_a_gap_passes() {
        let mut run = talk();
        let since = run.top();
        run.close(1);
        run.say(0, 3);
        run.connect(1, 0);
        run.join(1, Some(since), Some(Verdict::Recovered));
        let missed = run.log[2].clone();
        run.deliver(1, missed);
        run.say(0, 4);
        run.finish();
        assert_eq!(run.names(), []);
    }

    #[test]
    fn message_missing_at_a_member_is_lost() {
        let mut run = talk();
        run.say_to(0, 3, &[0]);
        run.say(0, 4);
        run.finish();
        assert_eq!(run.names(), [Check::LostAtMember]);
    }

    #[test]
    fn resume_that_skips_a_message_is_a_loss() {
        let mut run = talk();
        let since = run.top();
        run.close(1);
        run.say(0, 3);
        run.connect(1, 0);
        run.join(1, Some(since), Some(Verdict::Recovered));
        run.say(0, 4);
        run.finish();
        assert_eq!(run.names(), [Check::LostAtMember]);
    }

    #[test]
    fn message_received_twice_is_a_duplicate() {
        let mut run = talk();
        let again = run.log[1].clone();
        run.deliver(1, again);
        run.finish();
        assert_eq!(run.names(), [Check::Duplicate]);
    }

    #[test]
    fn message_repeated_after_a_resume_is_a_duplicate() {
        let mut run = talk();
        let since = run.top();
        run.close(1);
        run.connect(1, 0);
        run.join(1, Some(since), Some(Verdict::Recovered));
        let again = run.log[1].clone();
        run.deliver(1, again);
        run.finish();
        assert_eq!(run.names(), [Check::Duplicate]);
    }

    /// On one connection, from a place before what it has by then.
    fn back_to_the_first_message() -> Sample {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.enter(1, 1);
        run.say(0, 1);
        let since = run.top();
        run.say(0, 2);
        run.leave(1);
        run.join(1, Some(since), Some(Verdict::Recovered));
        run
    }

    #[test]
    fn replay_that_a_client_requested_is_no_duplicate() {
        let mut run = back_to_the_first_message();
        let again = run.log[1].clone();
        run.deliver(1, again);
        run.say(0, 3);
        run.finish();
        assert_eq!(run.names(), []);
    }

    #[test]
    fn replay_beyond_the_request_is_a_duplicate() {
        let mut run = back_to_the_first_message();
        for index in [0, 1] {
            let again = run.log[index].clone();
            run.deliver(1, again);
        }
        run.finish();
        assert_eq!(run.names(), [Check::Duplicate]);
    }

    #[test]
    fn message_out_of_order_is_reordered() {
        let mut run = talk();
        run.say_to(0, 3, &[0]);
        let (op, late) = (run.send(0, 4), run.log[2].clone());
        let early = run.append(op);
        run.acknowledge(op);
        run.deliver(0, early.clone());
        run.deliver(1, early);
        run.deliver(1, late);
        run.finish();
        // Where it stands at the end is short of the top, too.
        assert_eq!(run.names(), [Check::LostAtMember, Check::Reorder, Check::Liveness]);
    }

    #[test]
    fn recovery_into_another_epoch_is_false() {
        let mut run = talk();
        let since = run.top();
        run.close(1);
        run.fault("empty-redis", Damage::Wiped);
        run.wipe();
        run.healed("empty-redis");
        run.gap(0, 1);
        run.say(0, 3);
        run.connect(1, 0);
        run.join(1, Some(since), Some(Verdict::Recovered));
        run.finish();
        assert_eq!(run.names(), [Check::FalseRecoveryOrGap, Check::Liveness]);
    }

    fn rolled_back(verdict: Verdict) -> Sample {
        let mut run = talk();
        let since = run.top();
        run.close(1);
        let now = run.now;
        run.fault("stale-replica", Damage::RolledBack { since: now - 4_000 });
        run.roll_back(1);
        run.healed("stale-replica");
        run.gap(0, 2);
        run.say(0, 12);
        run.say(0, 13);
        run.connect(1, 0);
        run.join(1, Some(since), Some(verdict));
        run
    }

    #[test]
    fn recovery_across_a_rollback_is_false() {
        let mut run = rolled_back(Verdict::Recovered);
        let next = run.log[2].clone();
        run.deliver(1, next);
        run.finish();
        assert_eq!(run.names(), [Check::FalseRecoveryOrGap]);
    }

    #[test]
    fn rollback_with_a_gap_event_passes() {
        let mut run = rolled_back(Verdict::Not { reason: Reason::Rollback, next_seq: 2 });
        for entry in run.log.clone().into_iter().skip(1) {
            run.deliver(1, entry);
        }
        run.finish();
        assert_eq!(run.names(), []);
    }

    #[test]
    fn rollback_without_a_gap_event_is_inconsistent() {
        let mut run = talk();
        let now = run.now;
        run.fault("stale-replica", Damage::RolledBack { since: now - 4_000 });
        run.roll_back(1);
        run.healed("stale-replica");
        run.gap(0, 2);
        run.say_to(0, 12, &[0]);
        run.say(0, 13);
        run.finish();
        assert_eq!(run.names(), [Check::Inconsistent]);
    }

    #[test]
    fn gap_over_entries_still_in_the_log_is_false() {
        let mut run = talk();
        let since = run.top();
        run.close(1);
        run.connect(1, 0);
        run.join(1, Some(since), Some(Verdict::Not { reason: Reason::Trimmed, next_seq: 3 }));
        run.finish();
        assert_eq!(run.names(), [Check::FalseRecoveryOrGap]);
    }

    #[test]
    fn trimmed_log_proves_all_after_its_first_entry() {
        for (seq, fine) in [(1, true), (2, false)] {
            let mut run = talk();
            run.history.setup.bounds.keeps = Some(2);
            let since = Position { epoch: run.epoch, seq, message_id: run.log[seq as usize - 1].message_id };
            run.say(0, 3);
            run.trim(1);
            run.close(1);
            run.connect(1, 0);
            let next_seq = seq + 1;
            run.join(1, Some(since), Some(Verdict::Not { reason: Reason::Trimmed, next_seq }));
            for entry in run.log.clone().into_iter().filter(|entry| entry.seq >= next_seq) {
                run.deliver(1, entry);
            }
            run.finish();
            assert_eq!(run.names(), if fine { vec![] } else { vec![Check::FalseRecoveryOrGap] });
        }
    }

    #[test]
    fn forged_position_after_a_wipe_must_not_recover() {
        let mut run = talk();
        run.fault("flush-all", Damage::Wiped);
        run.wipe();
        run.healed("flush-all");
        run.gap(0, 1);
        run.gap(1, 1);
        run.say(0, 3);
        let mut since = run.top();
        since.message_id = Uuid::from_u128(5);
        run.say(0, 4);
        run.close(1);
        run.connect(1, 0);
        run.join(1, Some(since), Some(Verdict::Recovered));
        let entry = run.log[1].clone();
        run.deliver(1, entry);
        run.finish();
        assert_eq!(run.names(), [Check::FalseRecoveryOrGap]);
    }

    #[test]
    fn recovery_is_true_only_before_the_rollback() {
        for after in [false, true] {
            let mut run = talk();
            let (since, now) = (run.top(), run.now);
            run.close(1);
            run.fault("stale-replica", Damage::RolledBack { since: now - 4_000 });
            if !after {
                run.connect(1, 0);
                run.join(1, Some(since), Some(Verdict::Recovered));
            }
            run.roll_back(1);
            run.healed("stale-replica");
            run.gap(0, 2);
            if !after {
                run.gap(1, 2);
            }
            run.say(0, 13);
            run.say(0, 14);
            if after {
                run.connect(1, 0);
                run.join(1, Some(since), Some(Verdict::Recovered));
                let entry = run.log[2].clone();
                run.deliver(1, entry);
            }
            run.finish();
            assert_eq!(run.names(), if after { vec![Check::FalseRecoveryOrGap] } else { vec![] });
        }
    }

    #[test]
    fn forged_position_must_not_recover() {
        let mut run = talk();
        let mut since = run.top();
        since.message_id = Uuid::from_u128(5);
        run.close(1);
        run.connect(1, 0);
        run.join(1, Some(since), Some(Verdict::Recovered));
        run.finish();
        assert_eq!(run.names(), [Check::FalseRecoveryOrGap]);
    }

    #[test]
    fn history_requested_again_is_no_duplicate() {
        let mut run = talk();
        run.leave(1);
        let (conn, top) = (run.conn(1), run.top());
        run.record(Event::Join { client: 1, conn, topic: Topic::Room(0), since: None, history: 2 });
        let topic = Topic::Room(0);
        run.record(Event::Joined { client: 1, conn, topic, top, verdict: None, already: false });
        for entry in run.log.clone() {
            run.deliver(1, entry);
        }
        run.finish();
        assert_eq!(run.names(), []);
    }

    #[test]
    fn message_after_leaving_is_a_leak() {
        let mut run = talk();
        run.leave(1);
        run.say_to(0, 3, &[0]);
        let leaked = run.log[2].clone();
        run.deliver(1, leaked);
        run.finish();
        assert_eq!(run.names(), [Check::PhantomOrLeak]);
    }

    #[test]
    fn message_without_entering_is_a_leak() {
        let mut run = talk();
        run.close(1);
        run.connect(1, 0);
        run.say(0, 3);
        let leaked = run.log[2].clone();
        run.deliver(1, leaked);
        run.finish();
        assert_eq!(run.names(), [Check::PhantomOrLeak]);
    }

    #[test]
    fn message_after_a_second_enter_passes() {
        let mut run = talk();
        let (conn, top) = (run.conn(1), run.top());
        run.record(Event::Join { client: 1, conn, topic: Topic::Room(0), since: None, history: 0 });
        let topic = Topic::Room(0);
        run.record(Event::Joined { client: 1, conn, topic, top, verdict: None, already: true });
        run.say(0, 3);
        run.finish();
        assert_eq!(run.names(), []);
    }
}
