//! C9 and C3 in the answers to requests: while no fault is active, each request is answered once, each join succeeds, and
//! each publish is stored. Owns the rules for requests; does not look at deliveries. Called by `all`.

use std::collections::{BTreeMap, HashMap};

use super::index::{End, Index};
use super::{Check, Findings};
use crate::history::{Event, Micros, SECOND, Topic};

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    let away = away(index);
    answered_once(index, &away, findings);
    publishes(index, findings);
    joins_succeed(index, &away, findings);
}

/// Periods of time, by client.
pub type Spans = HashMap<u32, Vec<(Micros, Micros)>>;

/// The periods in which each client wanted no connection.
pub fn away(index: &Index<'_>) -> Spans {
    let mut away = Spans::new();
    for line in &index.history.lines {
        match &line.event {
            Event::Away { client } => away.entry(*client).or_default().push((line.at, Micros::MAX)),
            Event::Back { client } => {
                if let Some(last) = away.get_mut(client).and_then(|spans| spans.last_mut()) {
                    last.1 = line.at;
                }
            }
            _ => {}
        }
    }
    away
}

/// Whether a fault or an overloaded machine may have caused a failure between `asked` and `ended`.
fn disturbed(index: &Index<'_>, asked: Micros, ended: Micros) -> bool {
    let bound = index.history.setup.bounds.recovery;
    let fault = index.windows.iter().any(|window| window.from <= ended && window.to + bound >= asked);
    fault || index.overloaded(asked.saturating_sub(bound), ended)
}

/// Whether an error code means that the cluster failed, and not that the request was refused.
fn unable(code: &str) -> bool {
    matches!(code, "unavailable" | "internal")
}

fn answered_once(index: &Index<'_>, away: &Spans, findings: &mut Findings) {
    for line in &index.history.lines {
        match &line.event {
            Event::StrayAnswer { client, conn, id } => findings.find(
                Check::Duplicate,
                line.at,
                format!("client {client} got an unexpected answer to {id:?} on connection {conn}"),
            ),
            Event::Unanswered { client, conn, asked, id } => {
                findings.look(Check::Liveness);
                // A client that reads nothing for a while reads its answers late.
                let mut spans = away.get(client).into_iter().flatten();
                let absent = spans.any(|(from, to)| *from <= line.at && *to >= *asked);
                if !absent && !disturbed(index, *asked, line.at) {
                    findings.find(
                        Check::Liveness,
                        line.at,
                        format!(
                            "client {client} got no answer to {id:?} on connection {conn} for {} ms",
                            (line.at - asked) / 1_000
                        ),
                    );
                }
            }
            Event::JoinFailed { client, topic, code, .. } if unable(code) => {
                findings.look(Check::Liveness);
                if !disturbed(index, line.at, line.at) {
                    findings.find(
                        Check::Liveness,
                        line.at,
                        format!(
                            "client {client} could not join {topic:?} ({code}) while no fault was active"
                        ),
                    );
                }
            }
            _ => {}
        }
    }
}

/// A publish outside of faults is stored if its connection stays open.
fn publishes(index: &Index<'_>, findings: &mut Findings) {
    let mut closed: HashMap<u64, Micros> = HashMap::new();
    for line in &index.history.lines {
        if let Event::Closed { conn, .. } = line.event {
            closed.insert(conn, line.at);
        }
    }
    for (op, attempt) in &index.attempts {
        let Some((ended, end)) = &attempt.end else { continue };
        findings.look(Check::Liveness);
        let unable = match end {
            End::Stored { .. } => false,
            End::Refused { code } => unable(code),
            // A publish that was unanswered when its connection ended is unknown as well; it is recorded at that moment. A client that
            // closes waits up to a second for the answer before the end is recorded.
            End::Unknown => closed.get(&attempt.conn).is_none_or(|closed| *closed > ended + 2 * SECOND),
        };
        if unable && !disturbed(index, attempt.sent, *ended) {
            findings.find(
                Check::Liveness,
                *ended,
                format!(
                    "publish {op} of client {} to {:?} failed while no fault was active",
                    attempt.client, attempt.topic
                ),
            );
        }
    }
}

/// A client that asked to join, or lost its connection, is a member again within the bound. Time under a fault does not
/// count.
fn joins_succeed(index: &Index<'_>, away: &Spans, findings: &mut Findings) {
    let bound = index.history.setup.bounds.recovery;
    // The logs are read while all clients are connected; after that they leave for good.
    let read = index.history.lines.iter().find(|line| matches!(line.event, Event::Log { .. }));
    let over = read.map_or(index.end, |line| line.at);
    // The topics that each client wants, and since when it has been outside of each.
    let mut wanted: BTreeMap<(u32, Topic), Option<Micros>> = BTreeMap::new();
    let mut judge = |client: u32, topic: Topic, out: Option<Micros>, until: Micros| {
        let Some(out) = out else { return };
        findings.look(Check::Liveness);
        let spans = away.get(&client).map_or(&[][..], Vec::as_slice);
        if let Some(due) = index.undisturbed(out, bound, spans)
            && due < until
            && !index.overloaded(due - bound, until)
        {
            findings.find(
                Check::Liveness,
                until,
                format!(
                    "client {client} wanted to join {topic:?} at {out} µs and was not a member until {until} µs, {} ms too late",
                    (until - due) / 1_000
                ),
            );
        }
    };
    for line in index.history.lines.iter().take_while(|line| line.at < over) {
        match &line.event {
            Event::Join { client, topic, .. } => {
                wanted.entry((*client, *topic)).or_insert(Some(line.at));
            }
            Event::Joined { client, topic, .. } => {
                if let Some(out) = wanted.insert((*client, *topic), None) {
                    judge(*client, *topic, out, line.at);
                }
            }
            Event::Leave { client, topic, .. } => {
                if let Some(out) = wanted.remove(&(*client, *topic)) {
                    judge(*client, *topic, out, line.at);
                }
            }
            Event::Closed { client, .. } => {
                let all = (*client, Topic::Room(0))..=(*client, Topic::Inbox(u16::MAX));
                for (_, out) in wanted.range_mut(all) {
                    out.get_or_insert(line.at);
                }
            }
            _ => {}
        }
    }
    for ((client, topic), out) in wanted {
        judge(client, topic, out, over);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{ROOM, Sample};
    use super::*;
    use crate::history::Damage;

    fn two() -> Sample {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.enter(1, 1);
        run
    }

    /// A failure some seconds after a fault.
    fn after(seconds: u64, wrong: impl FnOnce(&mut Sample)) -> Vec<Check> {
        let mut run = two();
        run.wait(60);
        run.begin_fault("kill-redis", Damage::None);
        run.wait(2);
        run.end_fault("kill-redis");
        run.wait(seconds);
        wrong(&mut run);
        run.finish();
        run.names()
    }

    #[test]
    fn failed_publish_without_a_fault_is_found() {
        let refused = |run: &mut Sample| {
            let op = run.send(0, 1);
            run.refuse(op);
        };
        let unknown = |run: &mut Sample| {
            let op = run.send(0, 1);
            run.record(Event::Unknown { op });
            run.wait(2);
        };
        let forbidden = |run: &mut Sample| {
            let op = run.send(0, 1);
            run.record(Event::Refused { op, code: "identity_mismatch".into() });
        };
        let lost = |run: &mut Sample| {
            let op = run.send(0, 1);
            run.record(Event::Unknown { op });
            run.close(0);
        };
        assert_eq!(after(9, refused), []);
        assert_eq!(after(9, unknown), []);
        assert_eq!(after(11, refused), [Check::Liveness]);
        assert_eq!(after(11, unknown), [Check::Liveness]);
        assert_eq!(after(11, forbidden), []);
        assert_eq!(after(11, lost), []);
    }

    #[test]
    fn failure_on_an_overloaded_machine_is_ignored() {
        for (milliseconds, found) in [(100, vec![Check::Liveness]), (300, vec![])] {
            let mut run = two();
            for id in 0..9 {
                let op = run.send(0, id);
                let entry = run.append(op);
                run.now += milliseconds * 1_000;
                (0..2).for_each(|client| run.deliver(client, entry.clone()));
                run.acknowledge(op);
            }
            let op = run.send(0, 9);
            run.refuse(op);
            run.finish();
            assert_eq!(run.names(), found);
        }
    }

    #[test]
    fn failed_join_without_a_fault_is_found() {
        let failed = |code: &'static str| {
            move |run: &mut Sample| {
                let (conn, topic) = (run.conn(1), Topic::Room(1));
                run.record(Event::JoinFailed { client: 1, conn, topic, code: code.into() });
            }
        };
        assert_eq!(after(9, failed("unavailable")), []);
        assert_eq!(after(11, failed("unavailable")), [Check::Liveness]);
        assert_eq!(after(11, failed("rate_limited")), []);
    }

    #[test]
    fn unanswered_request_without_a_fault_is_found() {
        let unanswered = |absent: bool| {
            move |run: &mut Sample| {
                let (conn, asked) = (run.conn(1), run.now);
                if absent {
                    run.record(Event::Away { client: 1 });
                }
                run.wait(10);
                if absent {
                    run.record(Event::Back { client: 1 });
                }
                run.record(Event::Unanswered { client: 1, conn, asked, id: "q7".into() });
            }
        };
        assert_eq!(after(9, unanswered(false)), []);
        assert_eq!(after(11, unanswered(false)), [Check::Liveness]);
        assert_eq!(after(11, unanswered(true)), []);
    }

    #[test]
    fn unexpected_answer_is_found() {
        let mut run = two();
        let conn = run.conn(1);
        run.record(Event::StrayAnswer { client: 1, conn, id: "q7".into() });
        run.finish();
        assert_eq!(run.names(), [Check::Duplicate]);
    }

    #[test]
    fn client_that_cannot_rejoin_is_found() {
        for (seconds, fine) in [(9, true), (11, false)] {
            for comes in [false, true] {
                let mut run = two();
                run.leave(1);
                let conn = run.conn(1);
                run.record(Event::Join { client: 1, conn, topic: ROOM, since: None, history: 0 });
                run.wait(seconds);
                if comes {
                    let top = run.top();
                    run.record(Event::Joined {
                        client: 1,
                        conn,
                        topic: ROOM,
                        top,
                        verdict: None,
                        already: false,
                    });
                }
                run.finish();
                assert_eq!(run.names(), if fine { vec![] } else { vec![Check::Liveness] });
            }
        }
    }

    #[test]
    fn lost_client_that_never_reconnects_is_found() {
        for absent in [false, true] {
            let mut run = two();
            run.close(1);
            if absent {
                run.record(Event::Away { client: 1 });
            }
            run.wait(100);
            run.finish();
            assert_eq!(run.names(), if absent { vec![] } else { vec![Check::Liveness] });
        }
    }

    #[test]
    fn departed_client_is_not_expected_at_the_end() {
        let mut run = two();
        run.leave(1);
        run.wait(60);
        run.finish();
        run.close(0);
        run.wait(60);
        run.record(Event::NonReadersStarted);
        assert_eq!(run.names(), []);
    }
}
