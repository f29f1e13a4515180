//! The judgement at the end of a run: is every acknowledged message at every member? Owns the comparison of what was
//! acknowledged with what was delivered; the faults of the order were counted before. Called by the fleet.

use std::collections::HashMap;

use crate::log::Log;
use crate::run::Topic;
use crate::tally::Expected;

/// What is wrong with the deliveries of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Acknowledged messages that did not reach a member, counted once for each member.
    pub(crate) lost: u64,
    /// Logs of a member that have the right number of messages, but not those that were acknowledged.
    pub(crate) altered: u64,
    /// Logs that were compared.
    pub(crate) logs: u64,
}

impl Verdict {
    /// Judges the log of one connection.
    pub(crate) fn judge(&mut self, log: &Log, topics: &[Topic], expected: &HashMap<u32, Expected>) {
        if !log.is_started() && topics[log.topic as usize].is_room() {
            // It never joined, which is counted there.
            return;
        }
        self.logs += 1;
        let expected = expected.get(&log.topic).copied().unwrap_or_default();
        let lost = match topics[log.topic as usize].is_room() {
            true => log.missing() + expected.top.saturating_sub(log.seq()),
            // An `Ack` does not tell the place of a private message in the log of the peer.
            false if log.is_whole => expected.acked.saturating_sub(log.delivered),
            false => log.missing(),
        };
        self.lost += lost;
        let is_comparable = lost == 0 && log.is_whole && expected.sent == expected.acked + expected.refused;
        if is_comparable && (log.delivered, log.digest) != (expected.acked, expected.digest) {
            self.altered += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use chatnode_protocol::{Epoch, MessageId, Position, RoomName, UserName};

    use super::*;
    use crate::run::Name;
    use crate::stamp::Stamp;

    fn stamp(number: u32) -> Stamp {
        Stamp { run: 1, publisher: 0, number, intended: 0 }
    }

    /// The verdict on a member that got these numbers of five messages.
    fn judged(name: Name, got: &[(u64, u32)]) -> Verdict {
        let (topics, epoch) = ([Topic::new(name)], Epoch::generate());
        let mut expected = Expected { sent: 5, ..Expected::default() };
        for number in 1..=5 {
            expected.acked(&stamp(number), if topics[0].is_room() { number.into() } else { 0 });
        }
        let mut log = Log::new(0);
        log.start_at(Position::start(epoch));
        let id = MessageId::generate().to_string();
        for (seq, number) in got {
            log.take((epoch.to_string().as_bytes(), *seq, id.as_bytes()), Some(&stamp(*number)));
        }
        let mut verdict = Verdict::default();
        verdict.judge(&log, &topics, &HashMap::from([(0, expected)]));
        verdict
    }

    #[test]
    fn lost_and_altered_messages_are_found() {
        let room = || Name::Room(RoomName::parse("r").unwrap());
        let user = || Name::User(UserName::parse("u").unwrap());
        for name in [room, user] {
            let all: Vec<(u64, u32)> = (1..=5).map(|n| (n.into(), n)).collect();
            assert_eq!(judged(name(), &all), Verdict { lost: 0, altered: 0, logs: 1 });
            assert_eq!(judged(name(), &all[..3]).lost, 2, "the end is missing");
            assert_eq!(judged(name(), &[(1, 1), (2, 2), (4, 4), (5, 5)]).lost, 1, "a hole");
            let other = [(1, 1), (2, 2), (3, 9), (4, 4), (5, 5)];
            assert_eq!(judged(name(), &other), Verdict { lost: 0, altered: 1, logs: 1 });
        }
    }
}
