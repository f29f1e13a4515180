//! C2, C3, C4, C5, C6 and C8 in the sessions of the clients. Owns which events belong to which client's stream of which log;
//! the rules for one stream are the stream's. Called by `all`.

mod recovery;
mod replay;
mod stream;

use std::collections::BTreeMap;

use self::stream::Stream;
use super::Findings;
use super::index::Index;
use crate::history::{Event, Topic};

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

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;
    use crate::checks::Check;
    use crate::history::{Damage, Reason, Verdict};

    #[test]
    fn resume_without_a_gap_passes() {
        let mut run = Sample::conversation();
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
        let mut run = Sample::conversation();
        run.say_to(0, 3, &[0]);
        run.say(0, 4);
        run.finish();
        assert_eq!(run.names(), [Check::LostAtMember]);
    }

    #[test]
    fn resume_that_skips_a_message_is_a_loss() {
        let mut run = Sample::conversation();
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
        let mut run = Sample::conversation();
        let again = run.log[1].clone();
        run.deliver(1, again);
        run.finish();
        assert_eq!(run.names(), [Check::Duplicate]);
    }

    #[test]
    fn message_repeated_after_a_resume_is_a_duplicate() {
        let mut run = Sample::conversation();
        let since = run.top();
        run.close(1);
        run.connect(1, 0);
        run.join(1, Some(since), Some(Verdict::Recovered));
        let again = run.log[1].clone();
        run.deliver(1, again);
        run.finish();
        assert_eq!(run.names(), [Check::Duplicate]);
    }

    /// A client resumes on the same connection, from a position before its last message.
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
        let mut run = Sample::conversation();
        run.say_to(0, 3, &[0]);
        let (op, late) = (run.send(0, 4), run.log[2].clone());
        let early = run.append(op);
        run.acknowledge(op);
        run.deliver(0, early.clone());
        run.deliver(1, early);
        run.deliver(1, late);
        run.finish();
        // The client also ends before the top of the log.
        assert_eq!(run.names(), [Check::LostAtMember, Check::Reorder, Check::Liveness]);
    }

    #[test]
    fn rollback_without_a_gap_event_is_inconsistent() {
        let mut run = Sample::conversation();
        let now = run.now;
        run.begin_fault("stale-replica", Damage::RolledBack { since: now - 4_000 });
        run.roll_back(1);
        run.end_fault("stale-replica");
        run.gap(0, 2);
        run.say_to(0, 12, &[0]);
        run.say(0, 13);
        run.finish();
        assert_eq!(run.names(), [Check::Inconsistent]);
    }

    #[test]
    fn history_requested_again_is_no_duplicate() {
        let mut run = Sample::conversation();
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
        let mut run = Sample::conversation();
        run.leave(1);
        run.say_to(0, 3, &[0]);
        let leaked = run.log[2].clone();
        run.deliver(1, leaked);
        run.finish();
        assert_eq!(run.names(), [Check::PhantomOrLeak]);
    }

    #[test]
    fn message_without_entering_is_a_leak() {
        let mut run = Sample::conversation();
        run.close(1);
        run.connect(1, 0);
        run.say(0, 3);
        let leaked = run.log[2].clone();
        run.deliver(1, leaked);
        run.finish();
        assert_eq!(run.names(), [Check::PhantomOrLeak]);
    }

    /// A client that has been a member from the first message on sends the position of this message.
    fn late_position(seq: u64) -> Sample {
        let mut run = Sample::new(2);
        run.enter(0, 0);
        run.say(0, 1);
        let first = run.top();
        run.enter(1, 1);
        run.say(0, 2);
        run.say(0, 3);
        let since = if seq == 1 { first } else { run.top() };
        run.join_late(1, since, Verdict::Recovered);
        run
    }

    #[test]
    fn late_position_repeats_only_what_was_not_served() {
        // It was served from the first message on.
        for (seq, repeats, found) in [(3, 0..0, vec![]), (1, 0..0, vec![]), (1, 1..3, vec![Check::Duplicate])]
        {
            let mut run = late_position(seq);
            for index in repeats {
                let again = run.log[index].clone();
                run.deliver(1, again);
            }
            run.say(0, 4);
            run.finish();
            assert_eq!(run.names(), found, "{seq}");
        }
    }

    #[test]
    fn late_position_before_the_served_place_begins_anew() {
        for (repeats, found) in [(0..3, vec![]), (1..3, vec![Check::LostAtMember])] {
            let mut run = Sample::new(2);
            run.enter(0, 0);
            let start = run.top();
            run.say(0, 1);
            run.enter(1, 1);
            run.say(0, 2);
            run.say(0, 3);
            run.join_late(1, start, Verdict::Recovered);
            for index in repeats {
                let again = run.log[index].clone();
                run.deliver(1, again);
            }
            run.say(0, 4);
            run.finish();
            assert_eq!(run.names(), found);
        }
    }

    #[test]
    fn late_position_that_is_not_proved_begins_anew() {
        let mut run = Sample::conversation();
        let mut since = run.top();
        since.message_id = uuid::Uuid::from_u128(5);
        run.join_late(1, since, Verdict::Not { reason: Reason::Rollback, next_seq: 1 });
        for entry in run.log.clone() {
            run.deliver(1, entry);
        }
        run.finish();
        assert_eq!(run.names(), []);
    }

    #[test]
    fn message_after_a_second_enter_passes() {
        let mut run = Sample::conversation();
        let (conn, top) = (run.conn(1), run.top());
        run.record(Event::Join { client: 1, conn, topic: Topic::Room(0), since: None, history: 0 });
        let topic = Topic::Room(0);
        run.record(Event::Joined { client: 1, conn, topic, top, verdict: None, already: true });
        run.say(0, 3);
        run.finish();
        assert_eq!(run.names(), []);
    }
}
