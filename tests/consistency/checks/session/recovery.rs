//! C8: a node may claim that a client recovered only where nothing is missing, and may report a gap only where something
//! is. Owns the two judgements on one answer; which answers there were is the session's. Called by the session check.

use crate::checks::index::{Index, RawLog};
use crate::history::{Micros, Position, Reason};

/// Whether a recovery that was claimed is false. The client asked at `asked` with the position `since`; the node answered
/// that the topic's top is `top`.
pub fn is_false_recovery(
    index: &Index<'_>,
    log: Option<&RawLog<'_>>,
    asked: Micros,
    since: Position,
    top: Position,
) -> bool {
    let another_log = since.epoch != top.epoch
        || top.seq < since.seq
        || (top.seq == since.seq && top.message_id != since.message_id);
    let not_in_the_log = log.is_some_and(|log| {
        let comparable = log.epoch == since.epoch && log.first() <= since.seq;
        comparable && !log.holds(since.place(), since.message_id)
    });
    another_log
        || not_in_the_log && index.rollback_of(since.message_id).is_none_or(|window| asked > window.to)
}

/// Whether a reported gap is false: the log still holds the position and everything after it.
pub fn is_false_gap(log: Option<&RawLog<'_>>, position: Position, reason: Reason, next_seq: u64) -> bool {
    // Entries are never put back, so a position that the log still holds at the end was there when the node answered, with all
    // entries after it. The position before the first message names no message, so the first message must still be there.
    let provable = log.is_some_and(|log| {
        log.holds(position.place(), position.message_id) && (position.seq > 0 || log.first() == 1)
    });
    // If too many messages are missing, the node leaves out the oldest and sends the newest ones up to its limit.
    let too_many = reason == Reason::TooMany && next_seq > position.seq + 1;
    provable && !too_many
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::checks::Check;
    use crate::checks::sample::Sample;
    use crate::history::{Damage, Verdict};

    #[test]
    fn recovery_into_another_epoch_is_false() {
        let mut run = Sample::conversation();
        let since = run.top();
        run.close(1);
        run.begin_fault("empty-redis", Damage::Wiped);
        run.wipe();
        run.end_fault("empty-redis");
        run.gap(0, 1);
        run.say(0, 3);
        run.connect(1, 0);
        run.join(1, Some(since), Some(Verdict::Recovered));
        run.finish();
        assert_eq!(run.names(), [Check::FalseRecoveryOrGap, Check::Liveness]);
    }

    fn rolled_back(verdict: Verdict) -> Sample {
        let mut run = Sample::conversation();
        let since = run.top();
        run.close(1);
        let now = run.now;
        run.begin_fault("stale-replica", Damage::RolledBack { since: now - 4_000 });
        run.roll_back(1);
        run.end_fault("stale-replica");
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
    fn gap_over_entries_still_in_the_log_is_false() {
        let mut run = Sample::conversation();
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
            let mut run = Sample::conversation();
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
        let mut run = Sample::conversation();
        run.begin_fault("flush-all", Damage::Wiped);
        run.wipe();
        run.end_fault("flush-all");
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
            let mut run = Sample::conversation();
            let (since, now) = (run.top(), run.now);
            run.close(1);
            run.begin_fault("stale-replica", Damage::RolledBack { since: now - 4_000 });
            if !after {
                run.connect(1, 0);
                run.join(1, Some(since), Some(Verdict::Recovered));
            }
            run.roll_back(1);
            run.end_fault("stale-replica");
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
        let mut run = Sample::conversation();
        let mut since = run.top();
        since.message_id = Uuid::from_u128(5);
        run.close(1);
        run.connect(1, 0);
        run.join(1, Some(since), Some(Verdict::Recovered));
        run.finish();
        assert_eq!(run.names(), [Check::FalseRecoveryOrGap]);
    }
}
