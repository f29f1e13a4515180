//! A log as one connection receives it: the check of each delivery. Owns the position, what was delivered, and the holes;
//! knows nothing of other connections. Fed by the session, judged by `verdict`.

use std::ops::RangeInclusive;

use chatnode_protocol::{Epoch, MessageId, Position, Since};

use crate::stamp::Stamp;

const EPOCH_LENGTH: usize = 16;
const MESSAGE_ID_LENGTH: usize = 36;

/// What a delivery is, by its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The next one.
    Next,
    /// Behind a hole of so many messages.
    AfterHole(u64),
    /// It was in a hole, and comes after later ones.
    Late,
    /// It was delivered before.
    Repeated,
    /// Its log started again without a word.
    OtherEpoch,
}

/// One log at one connection.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// The room or the user, by its index in the run.
    pub(crate) topic: u32,
    epoch: [u8; EPOCH_LENGTH],
    message_id: [u8; MESSAGE_ID_LENGTH],
    /// The last `seq`; none until the position is known.
    seq: Option<u64>,
    has_message: bool,
    /// The messages of this run that came, each counted once.
    pub(crate) delivered: u64,
    /// The sum of their digests.
    pub(crate) digest: u64,
    holes: Vec<RangeInclusive<u64>>,
    /// The position was told by the server and not by a delivery, so that the messages before it are not missed here.
    pub(crate) is_whole: bool,
}

impl Log {
    /// The log of this topic before anything is known.
    pub(crate) fn new(topic: u32) -> Self {
        Self {
            topic,
            epoch: [0; EPOCH_LENGTH],
            message_id: [0; MESSAGE_ID_LENGTH],
            seq: None,
            has_message: false,
            delivered: 0,
            digest: 0,
            holes: Vec::new(),
            is_whole: true,
        }
    }

    /// From now on it continues after this position: the server said so, or the client comes back with it.
    pub(crate) fn start_at(&mut self, position: Position) {
        self.epoch.copy_from_slice(position.epoch.to_string().as_bytes());
        self.has_message = !position.message_id.is_none();
        if self.has_message {
            self.message_id.copy_from_slice(position.message_id.to_string().as_bytes());
        }
        self.seq = Some(position.seq);
    }

    /// The server said that the next message is this one, and that others may be missing.
    pub(crate) fn skip_to(&mut self, epoch: &[u8], next_seq: u64) {
        if epoch.len() == EPOCH_LENGTH {
            self.epoch.copy_from_slice(epoch);
        }
        self.seq = Some(next_seq.saturating_sub(1));
        // No message is known there that proves the position.
        self.has_message = false;
        self.is_whole = false;
    }

    /// The last `seq`, 0 before the first.
    pub(crate) fn seq(&self) -> u64 {
        self.seq.unwrap_or(0)
    }

    /// Whether the position is known.
    pub(crate) fn is_started(&self) -> bool {
        self.seq.is_some()
    }

    /// How many messages its holes have.
    pub(crate) fn missing(&self) -> u64 {
        self.holes.iter().map(|hole| hole.end() - hole.start() + 1).sum()
    }

    /// With what the client comes back; none if it has no position yet.
    pub(crate) fn since(&self) -> Option<Since> {
        let epoch: Epoch = std::str::from_utf8(&self.epoch).ok()?.parse().ok()?;
        let seq = self.seq?;
        let message_id = match self.has_message {
            true => std::str::from_utf8(&self.message_id).ok()?.parse().ok()?,
            false if seq == 0 => MessageId::NONE,
            false => return None,
        };
        Some(Position { epoch, seq, message_id }.into())
    }

    /// Takes a delivery. `stamp` is none for a message of somebody else, which has a place but does not count.
    pub(crate) fn take(
        &mut self,
        (epoch, seq, message_id): (&[u8], u64, &[u8]),
        stamp: Option<&Stamp>,
    ) -> Place {
        let is_same = self.seq.is_none() || epoch == self.epoch;
        let place = match self.seq {
            Some(_) if !is_same => Place::OtherEpoch,
            None => Place::Next,
            Some(last) if seq == last + 1 => Place::Next,
            Some(last) if seq > last => {
                self.holes.push(last + 1..=seq - 1);
                Place::AfterHole(seq - last - 1)
            }
            Some(_) => match self.fill(seq) {
                true => Place::Late,
                false => return Place::Repeated,
            },
        };
        if place != Place::Late {
            if let (Ok(epoch), Ok(message_id)) = (epoch.try_into(), message_id.try_into()) {
                (self.epoch, self.message_id, self.has_message) = (epoch, message_id, true);
            }
            self.seq = Some(seq);
        }
        if let Some(stamp) = stamp {
            self.delivered += 1;
            self.digest = self.digest.wrapping_add(stamp.digest());
        }
        place
    }

    /// Takes one number out of the holes; false if it is in none.
    fn fill(&mut self, seq: u64) -> bool {
        let Some(at) = self.holes.iter().position(|hole| hole.contains(&seq)) else { return false };
        let hole = self.holes.swap_remove(at);
        let parts = [*hole.start()..=seq - 1, seq + 1..=*hole.end()];
        self.holes.extend(parts.into_iter().filter(|part| part.start() <= part.end()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: &[u8] = b"9f2c61d07b3a4e58";
    const ID: &[u8] = b"0193a1c2-8a4b-7e02-b1c5-6d2f9a7e4c31";

    fn log() -> Log {
        let mut log = Log::new(0);
        log.start_at(Position::start(std::str::from_utf8(EPOCH).unwrap().parse().unwrap()));
        log
    }

    fn stamp(number: u32) -> Stamp {
        Stamp { run: 1, publisher: 2, number, intended: 3 }
    }

    #[test]
    fn each_fault_of_the_order_is_told_apart() {
        let mut log = log();
        let mut take = |seq| log.take((EPOCH, seq, ID), Some(&stamp(seq as u32)));
        assert_eq!(take(1), Place::Next);
        assert_eq!(take(1), Place::Repeated);
        assert_eq!(take(5), Place::AfterHole(3));
        assert_eq!(take(3), Place::Late);
        assert_eq!(take(3), Place::Repeated);
        assert_eq!(take(6), Place::Next);
        assert_eq!((log.missing(), log.delivered, log.seq()), (2, 4, 6));
        assert_eq!(log.take((b"0000000000000001", 1, ID), None), Place::OtherEpoch);
        assert_eq!(log.delivered, 4);
    }

    #[test]
    fn the_position_is_that_of_the_last_message() {
        assert_eq!(Log::new(0).since(), None);
        let mut log = log();
        assert_eq!(log.since().unwrap().seq, 0);
        log.take((EPOCH, 1, ID), None);
        let since = log.since().unwrap();
        assert_eq!((since.seq, since.message_id.unwrap().to_string().as_bytes()), (1, ID));
        log.skip_to(b"0000000000000001", 4);
        assert_eq!((log.since(), log.is_whole), (None, false));
        assert_eq!(log.take((b"0000000000000001", 4, ID), None), Place::Next);
    }

    #[test]
    fn the_first_delivery_starts_an_unknown_log() {
        let mut log = Log::new(0);
        assert_eq!(log.take((EPOCH, 17, ID), None), Place::Next);
        assert_eq!(log.take((EPOCH, 18, ID), None), Place::Next);
        assert_eq!(log.take((EPOCH, 20, ID), None), Place::AfterHole(1));
    }
}
