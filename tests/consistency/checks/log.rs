//! C1, C3, C4, C5 and C7 as far as the raw log and the acknowledgements tell. Owns what must be in a log and what must
//! not; does not look at sessions. Called by `all`.

use std::collections::HashMap;

use uuid::Uuid;

use super::index::{End, Index, RawLog};
use super::{Check, Findings};
use crate::history::{Event, Micros, Place, Topic};

pub fn check(index: &Index<'_>, findings: &mut Findings) {
    lost(index, findings);
    stored_twice(index, findings);
    publishes_in_order(index, findings);
    consistent(index, findings);
    aborted(index, findings);
}

/// C1: every acknowledged publish is in the final log, unless trimmed or destroyed by a fault that may. Only a full log
/// is trimmed: any other begins with its first entry.
fn lost(index: &Index<'_>, findings: &mut Findings) {
    for (topic, log) in &index.logs {
        if log.first() != 1 && !index.trims(log) {
            findings.find(
                Check::LostAcknowledged,
                index.end,
                format!("{topic:?} begins with {}, and nothing was to be trimmed", log.first()),
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
                format!("publish {op} was acknowledged as {message_id} at {at:?} of {own:?}, which does not hold it"),
            );
        }
        // The target's half of a private message: its place was not told, its id was.
        if attempt.topic != own {
            let log = index.logs.get(&attempt.topic);
            let trimmed = |log: &RawLog<'_>| log.first() > 1 && index.trims(log);
            if log.is_none_or(|log| !trimmed(log) && !log.by_message.contains_key(message_id)) {
                findings.find(
                    Check::LostAcknowledged,
                    *acknowledged,
                    format!("publish {op}, {message_id}, is not in the target's {:?}", attempt.topic),
                );
            }
        }
    }
}

/// C3: one `id` at two positions, in a log or in what was acknowledged.
fn stored_twice(index: &Index<'_>, findings: &mut Findings) {
    for (topic, log) in &index.logs {
        let mut seen: HashMap<(Uuid, Option<u16>), u64> = HashMap::new();
        for (seq, entry) in &log.entries {
            let Some(id) = entry.id else { continue };
            findings.look(Check::Duplicate);
            if let Some(first) = seen.insert((id, entry.sender), *seq) {
                // A repeat after the store lost its memory is no repeat to it.
                let mut ops = index.by_id.get(&id).into_iter().flatten();
                let excused = ops.any(|op| index.excused(&index.attempts[op]));
                if !excused {
                    findings.find(
                        Check::Duplicate,
                        index.end,
                        format!("publish id {id} is in {topic:?} at {first} and again at {seq}"),
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
                            format!("publish id {id} was acknowledged at {place:?} as {message} and at {at:?} as {message_id}"),
                        );
                    }
                }
            }
        }
    }
}

/// C4: what one connection published to one topic is stored in the order sent, and a private message in the target's
/// log too, whose places nobody was told.
fn publishes_in_order(index: &Index<'_>, findings: &mut Findings) {
    let mut last: HashMap<(u64, Topic), (Place, u64)> = HashMap::new();
    let mut theirs: HashMap<(u64, Topic), (u64, u64)> = HashMap::new();
    for (op, attempt) in &index.attempts {
        let Some((acknowledged, End::Stored { at, message_id, duplicate: false })) = &attempt.end else {
            continue;
        };
        findings.look(Check::Reorder);
        if matches!(attempt.topic, Topic::Inbox(_))
            && let Some(entry) = index.logs.get(&attempt.topic).and_then(|log| log.by_message.get(message_id))
            && let Some((seq, before)) = theirs.insert((attempt.conn, attempt.topic), (entry.seq, *op))
            && seq >= entry.seq
        {
            findings.find(
                Check::Reorder,
                *acknowledged,
                format!(
                    "publish {op} is at {} of the target's {:?}, publish {before}, sent before it, at {seq}",
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
                format!("publish {op} is at {at:?}, publish {before}, sent before it, at {place:?}"),
            );
        }
    }
}

/// C5: one message per place, and each entry names the one before it.
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
                    format!("{topic:?} holds {seq} after {last}, and it names {} before it", entry.prev),
                );
            }
            before = Some((*seq, entry.message_id));
        }
    }
    let mut at: HashMap<(Topic, Place), Uuid> = HashMap::new();
    let mut seen = |topic: Topic, place: Place, message_id: Uuid, when: Micros| {
        // Its place may have another message now; sessions are held to the chain of `prev` there.
        if index.undone(message_id).is_some() {
            return;
        }
        findings.look(Check::Inconsistent);
        let first = *at.entry((topic, place)).or_insert(message_id);
        if first != message_id {
            findings.find(
                Check::Inconsistent,
                when,
                format!("{place:?} of {topic:?} is {first} and {message_id}"),
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

/// C7: a publish all of whose attempts were refused is seen by nobody.
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
                        format!("{topic:?} holds the refused publish {id}"),
                    );
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;
    use crate::history::{Damage, LogEntry};

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
            run.fault("empty-redis", Damage::Wiped);
            run.wipe();
            run.healed("empty-redis");
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

    /// Two private messages, the way the target's log holds them.
    fn whispered(entries: &[u64], keeps: Option<usize>) -> Vec<Check> {
        let mut run = Sample::new(2);
        run.history.setup.bounds.keeps = keeps;
        run.connect(0, 0);
        let said: Vec<_> = [1, 2].into_iter().map(|id| run.whisper(1, id)).collect();
        let mut prev = Uuid::nil();
        let mut own = Vec::new();
        for (seq, (op, entry)) in (1..).zip(&said) {
            let at = Place { epoch: run.epoch, seq };
            let message_id = entry.message_id;
            run.record(Event::Stored { op: *op, at, message_id, duplicate: false });
            own.push(LogEntry { seq, prev, ..entry.clone() });
            prev = message_id;
        }
        let mut theirs: Vec<LogEntry> = Vec::new();
        for (seq, which) in (1..).zip(entries) {
            let prev = theirs.last().map_or(Uuid::nil(), |last| last.message_id);
            theirs.push(LogEntry { seq, prev, ..said[*which as usize].1.clone() });
        }
        if keeps.is_some() {
            theirs.remove(0);
        }
        for (user, entries) in [(0, own), (1, theirs)] {
            run.record(Event::Log { topic: Topic::Inbox(user), epoch: run.epoch, entries });
        }
        run.finish();
        run.names()
    }

    #[test]
    fn private_message_must_be_in_the_recipients_log() {
        assert_eq!(whispered(&[0, 1], None), []);
        assert_eq!(whispered(&[0], None), [Check::LostAcknowledged]);
        assert_eq!(whispered(&[0, 1], Some(1)), []);
        assert_eq!(whispered(&[0, 1], Some(2)), [Check::LostAcknowledged]);
    }

    #[test]
    fn swapped_entries_in_the_recipients_log_are_reordered() {
        assert_eq!(whispered(&[1, 0], None), [Check::Reorder]);
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
    fn refused_publish_that_was_stored_is_found() {
        for seen in [false, true] {
            let mut run = Sample::new(1);
            run.enter(0, 0);
            run.fault("out-of-memory", Damage::None);
            let op = run.send(0, 1);
            run.refuse(op);
            run.healed("out-of-memory");
            if seen {
                let stored = run.append(op);
                run.deliver(0, stored);
            }
            run.finish();
            assert_eq!(run.names(), if seen { vec![Check::AbortedRead] } else { vec![] });
        }
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
            run.fault("fault", damage);
            run.roll_back(1);
            run.healed("fault");
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
        run.fault("stale-replica", Damage::RolledBack { since });
        run.swap_last();
        run.healed("stale-replica");
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
