//! C1, C3 and C7: which messages the raw logs must contain, and which they must not. Compares the logs with the
//! acknowledgements; does not look at order or at sessions. Called by `all`.

use std::collections::HashMap;

use uuid::Uuid;

use super::index::{End, Index, RawLog};
use super::{Check, Findings};
use crate::history::{Event, Place, Topic};

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    lost(index, findings);
    stored_twice(index, findings);
    aborted(index, findings);
}

/// C1: the final log contains every acknowledged publish, except those that were trimmed, or destroyed by a fault that may
/// do so. Only a full log is trimmed: every other log begins with its first entry.
fn lost(index: &Index<'_>, findings: &mut Findings) {
    for (topic, log) in &index.logs {
        if log.first() != 1 && !index.trims(log) {
            findings.find(
                Check::LostAcknowledged,
                index.end,
                format!("{topic:?} begins with {}, although nothing had to be trimmed", log.first()),
            );
        }
    }
    for (op, attempt) in &index.attempts {
        let Some((acknowledged, End::Stored { at, message_id, .. })) = &attempt.end else { continue };
        findings.look(Check::LostAcknowledged);
        if index.excused(attempt) {
            continue;
        }
        let own = match attempt.topic {
            Topic::Room(_) => attempt.topic,
            Topic::Inbox(_) => Topic::Inbox(index.user(attempt.client)),
        };
        let there = index.logs.get(&own).is_some_and(|log| {
            let trimmed = log.epoch == at.epoch && at.seq < log.first() && index.trims(log);
            trimmed || log.holds(*at, *message_id)
        });
        if !there {
            findings.find(
                Check::LostAcknowledged,
                *acknowledged,
                format!("publish {op} was acknowledged as {message_id} at {at:?} of {own:?}, but the log does not contain it"),
            );
        }
        // The entry in the recipient's log: the `Ack` contains its id, but not its position.
        if attempt.topic != own {
            let log = index.logs.get(&attempt.topic);
            let trimmed = |log: &RawLog<'_>| log.first() > 1 && index.trims(log);
            if log.is_none_or(|log| !trimmed(log) && !log.by_message.contains_key(message_id)) {
                findings.find(
                    Check::LostAcknowledged,
                    *acknowledged,
                    format!("publish {op}, {message_id}, is not in the recipient's {:?}", attempt.topic),
                );
            }
        }
    }
}

/// C3: one `id` has two positions, in a log or in the acknowledgements.
fn stored_twice(index: &Index<'_>, findings: &mut Findings) {
    for (topic, log) in &index.logs {
        let mut seen: HashMap<(Uuid, Option<u16>), u64> = HashMap::new();
        for (seq, entry) in &log.entries {
            let Some(id) = entry.id else { continue };
            findings.look(Check::Duplicate);
            if let Some(first) = seen.insert((id, entry.sender), *seq) {
                // A store that lost its data can't recognise a repeat.
                let mut ops = index.by_id.get(&id).into_iter().flatten();
                let excused = ops.any(|op| index.excused(&index.attempts[op]));
                if !excused {
                    findings.find(
                        Check::Duplicate,
                        index.end,
                        format!("{topic:?} contains publish id {id} at {first} and at {seq}"),
                    );
                }
            }
        }
    }
    for (id, ops) in &index.by_id {
        let mut first: Option<(&u64, Place, Uuid)> = None;
        for op in ops {
            let Some((acknowledged, End::Stored { at, message_id, .. })) = &index.attempts[op].end else {
                continue;
            };
            match first {
                None => first = Some((op, *at, *message_id)),
                Some((before, place, message)) => {
                    if (place, message) != (*at, *message_id) && !index.excused(&index.attempts[before]) {
                        findings.find(
                            Check::Duplicate,
                            *acknowledged,
                            format!("publish id {id} was acknowledged as {message} at {place:?} and as {message_id} at {at:?}"),
                        );
                    }
                }
            }
        }
    }
}

/// C7: no client and no log has a publish if all its attempts were refused.
fn aborted(index: &Index<'_>, findings: &mut Findings) {
    let refused = |id: &Uuid| {
        index.by_id.get(id).is_some_and(|ops| {
            ops.iter().all(|op| matches!(index.attempts[op].end, Some((_, End::Refused { .. }))))
        })
    };
    for id in index.by_id.keys() {
        if refused(id) {
            findings.look(Check::AbortedRead);
        }
    }
    for line in &index.history.lines {
        match &line.event {
            Event::Received { id: Some(id), client, .. } if refused(id) => findings.find(
                Check::AbortedRead,
                line.at,
                format!("client {client} received the refused publish {id}"),
            ),
            Event::Log { topic, entries, .. } => {
                for id in entries.iter().filter_map(|entry| entry.id).filter(refused) {
                    findings.find(
                        Check::AbortedRead,
                        line.at,
                        format!("{topic:?} contains the refused publish {id}"),
                    );
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Sample, two_private_messages};
    use super::*;
    use crate::history::Damage;

    #[test]
    fn acknowledged_publish_in_the_log_passes() {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.say(0, 1);
        run.say(0, 2);
        run.finish();
        assert_eq!(run.names(), []);
    }

    #[test]
    fn acknowledged_publish_missing_from_the_log_is_lost() {
        let mut run = Sample::new(1);
        run.enter(0, 0);
        run.say(0, 1);
        run.say(0, 2);
        run.forget_last();
        run.finish();
        assert!(run.names().contains(&Check::LostAcknowledged));
    }

    #[test]
    fn wipe_excuses_only_earlier_publishes() {
        for after in [false, true] {
            let mut run = Sample::new(1);
            run.enter(0, 0);
            run.say(0, 1);
            run.begin_fault("empty-redis", Damage::Wiped);
            run.wipe();
            run.end_fault("empty-redis");
            run.gap(0, 1);
            run.say(0, 2);
            if after {
                run.forget_last();
            }
            run.finish();
            assert_eq!(run.names().contains(&Check::LostAcknowledged), after);
        }
    }

    #[test]
    fn only_a_full_log_may_drop_its_first_entries() {
        for (keeps, fine) in [(Some(1), true), (Some(2), false), (None, false)] {
            let mut run = Sample::new(1);
            run.history.setup.bounds.keeps = keeps;
            run.enter(0, 0);
            run.say(0, 1);
            run.say(0, 2);
            run.trim(1);
            run.finish();
            assert_eq!(run.names(), if fine { vec![] } else { vec![Check::LostAcknowledged] });
        }
    }

    #[test]
    fn private_message_must_be_in_the_recipients_log() {
        assert_eq!(two_private_messages(&[0, 1], None), []);
        assert_eq!(two_private_messages(&[0], None), [Check::LostAcknowledged]);
        assert_eq!(two_private_messages(&[0, 1], Some(1)), []);
        assert_eq!(two_private_messages(&[0, 1], Some(2)), [Check::LostAcknowledged]);
    }

    #[test]
    fn id_at_two_positions_is_a_duplicate() {
        let mut run = Sample::new(1);
        run.enter(0, 0);
        run.say(0, 1);
        run.say(0, 1);
        run.finish();
        assert_eq!(run.names(), [Check::Duplicate]);
    }

    #[test]
    fn repeat_acknowledged_with_first_position_passes() {
        let mut run = Sample::new(1);
        run.enter(0, 0);
        run.say(0, 1);
        run.repeat(0, 1);
        run.finish();
        assert_eq!(run.names(), []);
    }

    #[test]
    fn refused_publish_that_was_stored_is_found() {
        for seen in [false, true] {
            let mut run = Sample::new(1);
            run.enter(0, 0);
            run.begin_fault("out-of-memory", Damage::None);
            let op = run.send(0, 1);
            run.refuse(op);
            run.end_fault("out-of-memory");
            if seen {
                let stored = run.append(op);
                run.deliver(0, stored);
            }
            run.finish();
            assert_eq!(run.names(), if seen { vec![Check::AbortedRead] } else { vec![] });
        }
    }
}
