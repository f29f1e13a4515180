//! C9: each member receives each message in time. Owns the calculation of time without faults; does not look at order or
//! repeats. Called by `all`, and by the report for the recovery times.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::answers::{Spans, away};
use super::index::{End, Index, Window};
use super::{Check, Findings};
use crate::history::{Event, Micros, Place, SECOND, Topic, Verdict};

/// A client's membership of one room over time.
#[derive(Default)]
struct Stream {
    received: HashMap<Uuid, Micros>,
    /// The periods in which it wanted the messages of the room.
    wanted: Vec<(Micros, Micros)>,
    /// The positions that it reached, and when.
    progress: Vec<(Micros, Place)>,
    /// When it started again without its position: a message that it skipped then and received later is not late.
    restarts: Vec<Micros>,
    since: Option<Place>,
    /// How many of the newest messages the last join asked for.
    history: u32,
    /// The end of these messages: the client has everything up to there if only changes are missing.
    replayed: Option<Place>,
}

type Streams = BTreeMap<(Topic, u32), Stream>;

fn gather(index: &Index<'_>) -> (Streams, Spans) {
    let mut streams = Streams::new();
    for line in &index.history.lines {
        let at = line.at;
        match &line.event {
            Event::Join { client, topic, since, history, .. } => {
                let stream = streams.entry((*topic, *client)).or_default();
                (stream.since, stream.history) = (since.map(|since| since.place()), *history);
            }
            // A later join changes something only if it begins anew.
            Event::Joined { client, topic, top, verdict, already, .. }
                if !*already || matches!(verdict, Some(Verdict::Not { .. })) =>
            {
                let stream = streams.entry((*topic, *client)).or_default();
                if stream.wanted.last().is_none_or(|wanted| wanted.1 != Micros::MAX) {
                    stream.wanted.push((at, Micros::MAX));
                }
                let reached = match (verdict, stream.since) {
                    (Some(Verdict::Recovered), Some(since)) => since,
                    (Some(Verdict::Not { next_seq, .. }), _) => {
                        Place { epoch: top.epoch, seq: next_seq.saturating_sub(1) }
                    }
                    _ => top.place(),
                };
                stream.progress.push((at, reached));
                let is_replayed = stream.history > 0 && *verdict != Some(Verdict::Recovered);
                stream.replayed = is_replayed.then(|| top.place());
                if *verdict != Some(Verdict::Recovered) {
                    stream.restarts.push(at);
                }
            }
            Event::Leave { client, topic, .. } => {
                let stream = streams.entry((*topic, *client)).or_default();
                if let Some(wanted) = stream.wanted.last_mut().filter(|wanted| wanted.1 == Micros::MAX) {
                    wanted.1 = at;
                }
            }
            Event::Received { client, topic, at: place, message_id, .. } => {
                let stream = streams.entry((*topic, *client)).or_default();
                stream.received.entry(*message_id).or_insert(at);
                stream.progress.push((at, *place));
            }
            Event::Gap { client, topic, next, .. } => {
                let reached = Place { epoch: next.epoch, seq: next.seq.saturating_sub(1) };
                let stream = streams.entry((*topic, *client)).or_default();
                stream.progress.push((at, reached));
                stream.restarts.push(at);
            }
            _ => {}
        }
    }
    (streams, away(index))
}

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    let (streams, absences) = gather(index);
    in_time(index, &streams, &absences, findings);
    at_the_top(index, &streams, findings);
}

/// An acknowledged message reaches each member within the bound. Time under a fault does not count.
fn in_time(index: &Index<'_>, streams: &Streams, absences: &Spans, findings: &mut Findings) {
    let bound = index.history.setup.bounds.recovery;
    for attempt in index.attempts.values() {
        let Some((acknowledged, End::Stored { message_id, .. })) = &attempt.end else { continue };
        let members = (attempt.topic, 0)..=(attempt.topic, u32::MAX);
        for ((topic, client), stream) in streams.range(members) {
            let Some(received) = stream.received.get(message_id) else { continue };
            findings.look(Check::Liveness);
            let skipped = || stream.restarts.iter().any(|at| acknowledged < at && at < received);
            if *received <= acknowledged + bound || skipped() {
                continue;
            }
            let away = absences.get(client).map_or(&[][..], Vec::as_slice);
            let Some(due) = due(index, stream, away, *acknowledged, bound) else { continue };
            if *received > due {
                findings.find(
                    Check::Liveness,
                    *received,
                    format!(
                        "client {client} received {message_id} of {topic:?} {} ms after its Ack, {} ms late",
                        (received - acknowledged) / 1_000,
                        (received - due) / 1_000
                    ),
                );
            }
        }
    }
}

/// The end of the first period of length `bound` after `from` without a fault and without an absence of the client. None if
/// the run ended before that.
fn due(
    index: &Index<'_>,
    stream: &Stream,
    away: &[(Micros, Micros)],
    from: Micros,
    bound: Micros,
) -> Option<Micros> {
    let unwanted = stream.wanted.windows(2).map(|pair| (pair[0].1, pair[1].0));
    let before = stream.wanted.first().map(|first| (0, first.0));
    let after = stream.wanted.last().map(|last| (last.1, Micros::MAX));
    let spans: Vec<_> = away.iter().copied().chain(unwanted).chain(before).chain(after).collect();
    index.undisturbed(from, bound, &spans)
}

/// At the end of a run, when no more messages are sent, every member has reached the top of the log.
fn at_the_top(index: &Index<'_>, streams: &Streams, findings: &mut Findings) {
    for ((topic, client), stream) in streams {
        let member = stream.wanted.last().is_some_and(|wanted| wanted.1 == Micros::MAX);
        let (Some(log), Some((at, reached))) = (index.logs.get(topic), stream.progress.last()) else {
            continue;
        };
        if !member {
            continue;
        }
        findings.look(Check::Liveness);
        let top = Place { epoch: log.epoch, seq: log.top() };
        let mut rest = log.entries.range(reached.seq.saturating_add(1)..);
        let has_all_messages = stream.replayed == Some(top)
            && reached.epoch == top.epoch
            && rest.all(|(_, entry)| entry.kind.is_change());
        if *reached != top && !(top.seq == 0 && reached.seq == 0) && !has_all_messages {
            findings.find(
                Check::Liveness,
                *at,
                format!("client {client} ended at {reached:?} of {topic:?}, whose top is {top:?}"),
            );
        }
    }
}

/// For each fault the time from its end until the last member was back and had all messages that were acknowledged by its
/// end, and until a later publish was acknowledged.
pub fn times_to_recover(index: &Index<'_>) -> Vec<(String, Micros)> {
    let (streams, absences) = gather(index);
    let mut acknowledged: BTreeMap<Topic, Vec<(Micros, Place)>> = BTreeMap::new();
    for attempt in index.attempts.values() {
        let Some((at, End::Stored { at: place, message_id, .. })) = &attempt.end else { continue };
        // Messages that a stale replica rolled back don't count: a quiet room reaches their positions again much later.
        if matches!(attempt.topic, Topic::Room(_)) && index.rollback_of(*message_id).is_none() {
            acknowledged.entry(attempt.topic).or_default().push((*at, *place));
        }
    }
    let mut closed: HashMap<u32, Vec<Micros>> = HashMap::new();
    for line in &index.history.lines {
        if let Event::Closed { client, .. } = line.event {
            closed.entry(client).or_default().push(line.at);
        }
    }
    let time = |window: &Window| {
        let end = window.to;
        let slowest = streams.iter().filter_map(|((topic, client), stream)| {
            let wanted = stream.wanted.iter().any(|(from, to)| *from <= end && end < *to);
            let mut spans = absences.get(client).into_iter().flatten();
            if !wanted || spans.any(|(a, b)| *a <= end + SECOND && end < *b) {
                return None;
            }
            let had = acknowledged.get(topic)?.iter().filter(|(at, _)| *at <= end);
            let target = had.max_by_key(|(at, _)| *at)?.1;
            // It may take a moment to notice a connection that the fault ended.
            let closed = closed.get(client).into_iter().flatten();
            let from = closed.copied().rfind(|at| (window.from..=end + SECOND).contains(at)).unwrap_or(0);
            let there = |place: &Place| place.epoch == target.epoch && place.seq >= target.seq;
            let back = stream.progress.iter().find(|(at, place)| *at >= from && there(place));
            back.map(|(at, _)| at.saturating_sub(end))
        });
        let publishes = acknowledged.values().flatten().map(|(at, _)| *at).filter(|at| *at >= end).min();
        let publishes = publishes.map_or(0, |at| at - end);
        (window.name.clone(), slowest.max().unwrap_or(0).max(publishes))
    };
    index.windows.iter().map(time).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;
    use crate::history::Damage;

    /// Client 1 receives the second message this many seconds after its `Ack`.
    fn late(seconds: u64, fault: Option<u64>) -> Sample {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.enter(1, 0);
        run.say(0, 1);
        run.say_to(0, 2, &[0]);
        if let Some(lasts) = fault {
            run.begin_fault("stop-redis", Damage::None);
            run.wait(lasts);
            run.end_fault("stop-redis");
            run.wait(seconds - lasts);
        } else {
            run.wait(seconds);
        }
        let message = run.log[1].clone();
        run.deliver(1, message);
        run.wait(11);
        run.finish();
        run
    }

    #[test]
    fn message_eleven_seconds_late_is_found() {
        assert_eq!(late(9, None).names(), []);
        assert_eq!(late(11, None).names(), [Check::Liveness]);
    }

    #[test]
    fn time_during_a_fault_does_not_count() {
        assert_eq!(late(15, Some(8)).names(), []);
        assert_eq!(late(19, Some(8)).names(), [Check::Liveness]);
    }

    #[test]
    fn skipped_message_that_arrives_later_is_not_late() {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.enter(1, 0);
        run.say_to(0, 1, &[0]);
        run.close(1);
        run.enter(1, 1);
        run.wait(20);
        let forged = crate::history::Position { epoch: 77, ..run.top() };
        let verdict = Verdict::Not { reason: crate::history::Reason::Epoch, next_seq: 1 };
        run.connect(1, 0);
        run.join(1, Some(forged), Some(verdict));
        let message = run.log[0].clone();
        run.deliver(1, message);
        run.wait(11);
        run.finish();
        assert_eq!(run.names(), []);
    }

    #[test]
    fn missing_last_message_is_found_at_the_end() {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.enter(1, 0);
        run.say(0, 1);
        run.say_to(0, 2, &[0]);
        run.finish();
        assert_eq!(run.names(), [Check::Liveness]);
    }

    #[test]
    fn absent_client_is_not_expected_to_receive() {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.enter(1, 0);
        run.say(0, 1);
        let since = run.top();
        run.close(1);
        run.record(Event::Away { client: 1 });
        run.say(0, 2);
        run.wait(60);
        run.record(Event::Back { client: 1 });
        run.connect(1, 1);
        run.join(1, Some(since), Some(Verdict::Recovered));
        let message = run.log[1].clone();
        run.deliver(1, message);
        run.wait(11);
        run.finish();
        assert_eq!(run.names(), []);
    }

    #[test]
    fn recovery_time_is_that_of_the_slowest_client() {
        let run = late(11, Some(8));
        let times = times_to_recover(&Index::new(&run.history));
        assert_eq!(times.len(), 1);
        assert_eq!(times[0].1 / 1_000_000, 3);
    }

    #[test]
    fn rolled_back_message_is_not_expected() {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.enter(1, 0);
        run.say(0, 1);
        run.begin_fault("stale-replica", Damage::RolledBack { since: run.now });
        run.say(0, 2);
        run.say_to(0, 3, &[0]);
        run.roll_back(2);
        run.end_fault("stale-replica");
        run.gap(0, 2);
        run.gap(1, 2);
        run.wait(1);
        run.say(0, 4);
        // Only now the log is as long as before the rollback.
        run.wait(20);
        run.say(0, 5);
        run.finish();
        let times = times_to_recover(&Index::new(&run.history));
        assert_eq!((times.len(), times[0].1 / 1_000_000), (1, 1));
    }
}
