//! The newest messages that a join asked for, as far as they have come to a client. Owns the rule of which they are: their `seq` skip
//! changes, and nothing but changes. Kept by the stream.

use uuid::Uuid;

use crate::checks::Check;
use crate::checks::index::RawLog;
use crate::history::{Kind, Place, Position};

#[derive(Debug, Clone, Copy)]
pub struct Replay {
    wanted: usize,
    /// The newest entry in the `Ack`.
    pub until: Position,
    /// The `seq` of the first one, if the node named it.
    first: Option<u64>,
    count: usize,
    last: Option<Position>,
}

impl Replay {
    pub fn new(wanted: u32, until: Position, first: Option<u64>) -> Self {
        Self { wanted: wanted as usize, until, first, count: 0, last: None }
    }

    /// Whether an entry is one of these messages.
    pub fn covers(&self, place: Place) -> bool {
        place.epoch == self.until.epoch && place.seq <= self.until.seq
    }

    /// Whether the log still has all that came, so that what is missing now was there.
    pub fn is_in(&self, log: &RawLog<'_>) -> bool {
        let holds = |at: Position| log.holds(at.place(), at.message_id);
        holds(self.until) && self.last.is_none_or(holds)
    }

    /// Takes the next entry, and returns what is wrong with it.
    pub fn take(
        &mut self,
        log: Option<&RawLog<'_>>,
        at: Position,
        kind: Kind,
    ) -> Result<(), (Check, String)> {
        let (before, place) = (*self, at.place());
        self.count += 1;
        self.last = Some(at);
        if kind.is_change() {
            return Err((
                Check::Changes,
                format!("the change {place:?} came among messages as they are now"),
            ));
        }
        if before.last.is_some_and(|last| last.seq >= at.seq) {
            return Err((Check::Reorder, format!("{place:?} came after {:?}", before.last)));
        }
        if self.count > self.wanted {
            let text = format!("{place:?} came after the {} messages that were asked for", self.wanted);
            return Err((Check::PhantomOrLeak, text));
        }
        if let (None, Some(first)) = (before.last, self.first)
            && first != at.seq
        {
            return Err((Check::LostAtMember, format!("{place:?} came instead of {first}")));
        }
        let missing = before.last.and_then(|last| self.between(log?, last.seq, at.seq));
        missing.map_or(Ok(()), |missing| {
            Err((Check::LostAtMember, format!("{missing} is missing before {place:?}")))
        })
    }

    /// What is missing when everything has come: a message after the last one, or before the first one.
    pub fn missing_at_end(&self, log: Option<&RawLog<'_>>) -> Option<String> {
        let log = log.filter(|log| self.is_in(log))?;
        if let Some(missing) = self.last.and_then(|last| self.between(log, last.seq, self.until.seq + 1)) {
            return Some(format!("{missing} is missing before {:?}", self.until));
        }
        let held = log.entries.range(..=self.until.seq).filter(|(_, entry)| !entry.kind.is_change()).count();
        let least = self.wanted.min(held);
        (self.first.is_none() && self.count < least)
            .then(|| format!("{} messages came of {least} before {:?}", self.count, self.until))
    }

    /// A message in the log between these.
    fn between(&self, log: &RawLog<'_>, after: u64, before: u64) -> Option<Uuid> {
        let is_comparable = log.holds(self.until.place(), self.until.message_id) && after + 1 < before;
        let mut between = log.entries.range(after + 1..before.max(after + 1));
        let missing = between.find(|(_, entry)| !entry.kind.is_change()).filter(|_| is_comparable);
        missing.map(|(_, entry)| entry.message_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::sample::Sample;
    use crate::history::{Damage, Reason, Verdict};

    /// Four messages with a change after each of the first three. Client 1 joins anew with the newest three, and is sent those at
    /// these places of the log. Then comes one more.
    fn joined(sent: &[usize], verdict: Option<Verdict>) -> Sample {
        let mut run = Sample::conversation();
        run.say(0, 3);
        for index in 0..3 {
            let target = run.log[index].message_id;
            run.change(0, 10 + index as u128, Kind::React { target, on: true });
        }
        run.say(0, 4);
        run.close(1);
        run.connect(1, 0);
        let forged = verdict.map(|_| Position { message_id: Uuid::from_u128(5), ..run.top() });
        run.join_with_history(1, forged, verdict, 3);
        for index in sent {
            run.deliver_now(1, *index);
        }
        run.say(0, 5);
        run.finish();
        run
    }

    #[test]
    fn newest_messages_skip_changes_and_no_message() {
        for (sent, found) in [
            (&[1, 2, 6][..], vec![]),
            (&[1, 6], vec![Check::LostAtMember]),
            (&[1, 2], vec![Check::LostAtMember]),
            (&[2, 6], vec![Check::LostAtMember]),
            (&[], vec![Check::LostAtMember]),
            (&[0, 1, 2, 6], vec![Check::PhantomOrLeak]),
            (&[2, 1, 6], vec![Check::LostAtMember, Check::Reorder]),
        ] {
            assert_eq!(joined(sent, None).names(), found, "{sent:?}");
        }
        assert!(joined(&[2, 5, 6], None).names().contains(&Check::Changes));
    }

    #[test]
    fn named_first_message_comes_first() {
        let verdict = Some(Verdict::Not { reason: Reason::Rollback, next_seq: 2 });
        assert_eq!(joined(&[1, 2, 6], verdict).names(), []);
        assert_eq!(joined(&[2, 6], verdict).names(), [Check::LostAtMember]);
    }
    /// The messages were sent as they were, and then the log lost its newest ones: what their `seq` skip is known of no log any longer.
    #[test]
    fn newest_messages_of_a_log_that_lost_its_end_are_not_judged() {
        for (sent, is_found) in [(&[1, 2, 6][..], false), (&[1, 2, 2], true)] {
            let mut run = Sample::conversation();
            run.say(0, 3);
            run.begin_fault("stale-replica", Damage::RolledBack { since: run.now });
            for index in 0..3 {
                let target = run.log[index].message_id;
                run.change(0, 10 + index as u128, Kind::React { target, on: true });
            }
            run.say(0, 4);
            run.close(1);
            run.connect(1, 0);
            run.join_with_history(1, None, None, 3);
            for index in sent {
                run.deliver_now(1, *index);
            }
            run.end_fault("stale-replica");
            run.roll_back(4);
            run.gap(1, 4);
            run.gap(0, 4);
            run.say(0, 5);
            run.finish();
            assert_eq!(run.names().contains(&Check::Duplicate), is_found, "{sent:?}");
            assert!(is_found || run.names().is_empty(), "{:?}", run.names());
        }
    }
}
