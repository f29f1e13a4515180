//! The proof that private messages arrived. Owns which pings of a connection are not answered yet, and how far its
//! user's private log had been sent when each was queued. Used by the session; the transport sends the pings.

use std::collections::VecDeque;

use crate::protocol::Position;

/// Pings that a client with a slow line may leave unanswered, at one a second, before the proof of arrival waits.
const MAX_AWAITED: usize = 8;

/// Pings that are not answered yet, at most [`MAX_AWAITED`].
#[derive(Debug, Default)]
pub(super) struct Arrival {
    awaited: VecDeque<(u64, Position)>,
}

impl Arrival {
    /// A ping with this payload is queued behind the message at `sent`.
    pub(super) fn ping_queued(&mut self, payload: u64, sent: Position) {
        // A client that answers late answers all the same: of too many only the newest is replaced.
        self.awaited.truncate(MAX_AWAITED - 1);
        self.awaited.push_back((payload, sent));
    }

    /// A pong came: the positions that it proves, oldest first; none if it answers no ping of ours. It answers the pings
    /// before its own too, since a client need not answer each.
    pub(super) fn pong(&mut self, payload: &[u8]) -> impl Iterator<Item = Position> {
        let answered = payload.try_into().map(u64::from_be_bytes).ok();
        let index = self.awaited.iter().position(|(awaited, _)| Some(*awaited) == answered);
        self.awaited.drain(..index.map_or(0, |index| index + 1)).map(|(_, sent)| sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Epoch, MessageId};

    fn proved(arrival: &mut Arrival, payload: &[u8]) -> Vec<u64> {
        arrival.pong(payload).map(|position| position.seq).collect()
    }

    fn sent(count: u64) -> Arrival {
        let (epoch, mut arrival) = (Epoch::generate(), Arrival::default());
        for n in 1..=count {
            arrival.ping_queued(n, Position { epoch, seq: 10 * n, message_id: MessageId::NONE });
        }
        arrival
    }

    #[test]
    fn pong_proves_what_was_sent_before_its_ping() {
        let mut arrival = sent(3);
        assert!(proved(&mut arrival, b"not ours").is_empty());
        assert_eq!(proved(&mut arrival, &2_u64.to_be_bytes()), [10, 20]);
        assert!(proved(&mut arrival, &1_u64.to_be_bytes()).is_empty(), "the later pong answered it");
        assert_eq!(proved(&mut arrival, &3_u64.to_be_bytes()), [30]);
    }

    #[test]
    fn too_many_unanswered_pings_replace_the_newest() {
        let mut arrival = sent(20);
        assert_eq!(arrival.awaited.len(), MAX_AWAITED);
        assert_eq!(proved(&mut arrival, &20_u64.to_be_bytes()), [10, 20, 30, 40, 50, 60, 70, 200]);
    }
}
