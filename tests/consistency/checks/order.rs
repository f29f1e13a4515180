//! C4 and C5: messages are stored in the order in which they were sent, and a position has one message. Owns the rules for
//! positions, in the raw logs and in what clients saw; whether a message is there at all is the log check's. Called by
//! `all`.

use std::collections::HashMap;

use uuid::Uuid;

use super::index::{Attempt, End, Index};
use super::{Check, Findings};
use crate::history::{Event, Micros, Place, Topic};

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    publishes_in_order(index, findings);
    consistent(index, findings);
}

/// C4: the messages of one connection to one topic are stored in the order in which they were sent. This holds in the
/// recipient's private log too, although no `Ack` names the positions there.
fn publishes_in_order(index: &Index<'_>, findings: &mut Findings) {
    let mut last: HashMap<(u64, Topic), (Place, u64)> = HashMap::new();
    let mut theirs: HashMap<(u64, Topic), (u64, u64)> = HashMap::new();
    for (op, attempt) in &index.attempts {
        let Some((acknowledged, End::Stored { at, message_id, duplicate: false })) = &attempt.end else {
            continue;
        };
        findings.look(Check::Reorder);
        if matches!(attempt.topic, Topic::Inbox(_))
            && !may_be_completed(index, *op, attempt)
            && let Some(entry) = index.logs.get(&attempt.topic).and_then(|log| log.by_message.get(message_id))
            && let Some((seq, before)) = theirs.insert((attempt.conn, attempt.topic), (entry.seq, *op))
            && seq >= entry.seq
        {
            findings.find(
                Check::Reorder,
                *acknowledged,
                format!(
                    "publish {op} is at {} of the recipient's {:?}; publish {before}, which was sent before it, is at {seq}",
                    entry.seq, attempt.topic
                ),
            );
        }
        if let Some((place, before)) = last.insert((attempt.conn, attempt.topic), (*at, *op))
            && place.epoch == at.epoch
            && place.seq >= at.seq
            && !index.rolled_back(&index.attempts[&before])
        {
            findings.find(
                Check::Reorder,
                *acknowledged,
                format!(
                    "publish {op} is at {at:?}; publish {before}, which was sent before it, is at {place:?}"
                ),
            );
        }
    }
}

/// Whether an earlier attempt may have put the message into the recipient's log. In a Redis Cluster that is a call of its own, and a
/// repeat completes the sender's log.
fn may_be_completed(index: &Index<'_>, op: u64, attempt: &Attempt) -> bool {
    index.by_id[&attempt.id]
        .iter()
        .any(|earlier| *earlier < op && matches!(index.attempts[earlier].end, None | Some((_, End::Unknown))))
}

/// C5: each position has one message, and each entry names the entry before it.
fn consistent(index: &Index<'_>, findings: &mut Findings) {
    for (topic, log) in &index.logs {
        let mut before: Option<(u64, Uuid)> = None;
        for (seq, entry) in &log.entries {
            findings.look(Check::Inconsistent);
            if let Some((last, message_id)) = before
                && (last + 1 != *seq || message_id != entry.prev)
            {
                findings.find(
                    Check::Inconsistent,
                    index.end,
                    format!(
                        "{topic:?} contains {seq} after {last}, but names {} as the entry before it",
                        entry.prev
                    ),
                );
            }
            before = Some((*seq, entry.message_id));
        }
    }
    let mut at: HashMap<(Topic, Place), Uuid> = HashMap::new();
    let mut seen = |topic: Topic, place: Place, message_id: Uuid, when: Micros| {
        // Another message may have its position now; there the session check compares the `prev` of each message.
        if index.rollback_of(message_id).is_some() {
            return;
        }
        findings.look(Check::Inconsistent);
        let first = *at.entry((topic, place)).or_insert(message_id);
        if first != message_id {
            findings.find(
                Check::Inconsistent,
                when,
                format!("{place:?} of {topic:?} is both {first} and {message_id}"),
            );
        }
    };
    for (topic, log) in &index.logs {
        for (seq, entry) in &log.entries {
            seen(*topic, Place { epoch: log.epoch, seq: *seq }, entry.message_id, index.end);
        }
    }
    for line in &index.history.lines {
        match &line.event {
            Event::Received { topic, at, message_id, .. } => seen(*topic, *at, *message_id, line.at),
            Event::Stored { op, at, message_id, .. } => {
                let attempt = &index.attempts[op];
                let own = match attempt.topic {
                    Topic::Room(_) => attempt.topic,
                    Topic::Inbox(_) => Topic::Inbox(index.user(attempt.client)),
                };
                seen(own, *at, *message_id, line.at);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Sample, two_private_messages};
    use super::*;
    use crate::history::{Damage, LogEntry};

    #[test]
    fn swapped_entries_in_the_recipients_log_are_reordered() {
        assert_eq!(two_private_messages(&[1, 0], None), [Check::Reorder]);
    }

    #[test]
    fn private_message_completed_by_a_repeat_keeps_its_place() {
        for is_unknown in [true, false] {
            let mut run = Sample::new(2);
            run.connect(0, 0);
            let (first, half) = run.whisper(1, 1);
            match is_unknown {
                true => run.record(Event::Unknown { op: first }),
                false => run.refuse(first),
            }
            let (second, whole) = run.whisper(1, 2);
            let (again, _) = run.whisper(1, 1);
            let mut own = Vec::new();
            for (seq, (op, entry)) in (1..).zip([(second, &whole), (again, &half)]) {
                let (at, message_id) = (Place { epoch: run.epoch, seq }, entry.message_id);
                run.record(Event::Stored { op, at, message_id, duplicate: false });
                let prev = own.last().map_or(Uuid::nil(), |last: &LogEntry| last.message_id);
                own.push(LogEntry { seq, prev, ..entry.clone() });
            }
            let theirs = vec![
                LogEntry { seq: 1, ..half.clone() },
                LogEntry { seq: 2, prev: half.message_id, ..whole.clone() },
            ];
            for (user, entries) in [(0, own), (1, theirs)] {
                run.record(Event::Log { topic: Topic::Inbox(user), epoch: run.epoch, entries });
            }
            run.finish();
            assert_eq!(run.names().contains(&Check::Reorder), !is_unknown, "{:?}", run.names());
        }
    }

    #[test]
    fn swapped_publishes_of_one_connection_are_reordered() {
        let mut run = Sample::new(1);
        run.enter(0, 0);
        let first = run.send(0, 1);
        let second = run.send(0, 2);
        let stored = run.append(second);
        run.deliver(0, stored);
        let stored = run.append(first);
        run.deliver(0, stored);
        run.acknowledge(first);
        run.acknowledge(second);
        run.finish();
        assert_eq!(run.names(), [Check::Reorder]);
    }

    #[test]
    fn only_a_rolled_back_store_may_reuse_earlier_positions() {
        for (damage, fine) in [(true, true), (false, false)] {
            let mut run = Sample::new(1);
            run.enter(0, 0);
            run.say(0, 1);
            run.say(0, 2);
            let since = run.now - 4_000;
            let damage = if damage { Damage::RolledBack { since } } else { Damage::Wiped };
            run.begin_fault("fault", damage);
            run.roll_back(1);
            run.end_fault("fault");
            run.gap(0, 2);
            run.say(0, 3);
            run.finish();
            let found = run.names();
            assert_eq!(found.contains(&Check::Reorder), !fine, "{found:?}");
            assert_eq!(found.contains(&Check::Inconsistent), !fine, "{found:?}");
        }
    }

    #[test]
    fn entry_seen_before_a_rollback_stays_valid() {
        let mut run = Sample::new(1);
        run.enter(0, 0);
        run.say(0, 1);
        run.say(0, 2);
        run.wait(5);
        let since = run.now;
        run.begin_fault("stale-replica", Damage::RolledBack { since });
        run.swap_last();
        run.end_fault("stale-replica");
        run.finish();
        assert_eq!(run.names(), [Check::LostAcknowledged, Check::Inconsistent]);
    }

    #[test]
    fn two_messages_at_one_position_are_inconsistent() {
        let mut run = Sample::new(1);
        run.enter(0, 0);
        run.say(0, 1);
        run.swap_last();
        run.finish();
        assert!(run.names().contains(&Check::Inconsistent));
    }
}
