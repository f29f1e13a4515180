//! From where to resume in one log. Owns the rules of which frame moves this position; does not know which log it is. Held by
//! each room, and by the private log.

use chatnode_protocol::requests::Joined;
use chatnode_protocol::{GapReason, Position, Word};

/// The position to resume from. `None` until something is known of the log.
#[derive(Debug, Default)]
pub(crate) struct ResumePoint {
    since: Option<Position>,
    /// The newest entry that the node ever named: further than what has come.
    newest: Option<Position>,
}

impl ResumePoint {
    /// The position to send as `since`.
    pub(crate) fn get(&self) -> Option<Position> {
        self.since
    }

    /// The newest entry of the log that is known.
    pub(crate) fn newest_known(&self) -> Option<Position> {
        self.newest
    }

    fn has(&mut self, position: Position) {
        // By their ids: a log that was rolled back has lower numbers again.
        let is_newest =
            |known: Position| known.epoch != position.epoch || known.message_id < position.message_id;
        if self.newest.is_none_or(is_newest) {
            self.newest = Some(position);
        }
    }

    /// Moves to the position of a message that came, or of the answer to the first `Enter`.
    pub(crate) fn move_to(&mut self, position: Position) {
        self.has(position);
        self.since = Some(position);
    }

    /// An answer came. It moves the position only if this client's could not be proved and no message follows that would
    /// bring another: the node would report the same gap again each time.
    pub(crate) fn answered(&mut self, joined: &Joined) {
        self.has(joined.position);
        let is_unproved = joined.recovered == Some(false);
        if is_unproved && joined.next_seq.is_some_and(|next| next > joined.position.seq) {
            self.since = Some(joined.position);
        }
    }
}

/// The reason for a gap, where the position of this client could not be proved.
pub(crate) fn gap(joined: &Joined) -> Option<Word<GapReason>> {
    let no_reason = || Word::Other("the node gives no reason".into());
    (joined.recovered == Some(false)).then(|| joined.reason.clone().unwrap_or_else(no_reason))
}

/// Positions and answers for tests.
#[cfg(test)]
pub(crate) mod examples {
    use serde_json::{Value, json};

    use super::*;

    fn object(epoch: u8, seq: u64) -> Value {
        json!({ "epoch": format!("{epoch:016x}"), "seq": seq, "dedupe_ms": 300_000,
            "message_id": format!("00000000-0000-7000-8000-{seq:012x}") })
    }

    pub(crate) fn position(epoch: u8, seq: u64) -> Position {
        serde_json::from_value(object(epoch, seq)).unwrap()
    }

    /// The answer to a request without `since`.
    pub(crate) fn joined(epoch: u8, seq: u64) -> Joined {
        serde_json::from_value(object(epoch, seq)).unwrap()
    }

    /// The answer to a request whose `since` could not be proved.
    pub(crate) fn unproved(epoch: u8, seq: u64, next_seq: u64) -> Joined {
        Joined {
            recovered: Some(false),
            reason: Some(GapReason::Epoch.into()),
            next_seq: Some(next_seq),
            ..joined(epoch, seq)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::examples::{joined, position, unproved};
    use super::*;

    #[test]
    fn answer_moves_the_position_only_after_a_gap_without_messages() {
        let mut point = ResumePoint::default();
        assert_eq!(point.get(), None);
        point.answered(&joined(1, 9));
        assert_eq!(point.get(), None);
        point.move_to(position(1, 5));
        point.answered(&Joined { recovered: Some(true), ..joined(1, 9) });
        assert_eq!(point.get(), Some(position(1, 5)), "6 to 9 are on their way");
        point.answered(&unproved(2, 2, 1));
        assert_eq!(point.get(), Some(position(1, 5)), "1 and 2 are on their way");
        point.answered(&unproved(3, 0, 1));
        assert_eq!(point.get(), Some(position(3, 0)));
    }

    #[test]
    fn newest_entry_is_known_before_it_comes() {
        let mut point = ResumePoint::default();
        assert_eq!(point.newest_known(), None);
        point.answered(&joined(1, 9));
        point.move_to(position(1, 5));
        assert_eq!(point.newest_known(), Some(position(1, 9)));
        point.move_to(position(1, 10));
        assert_eq!(point.newest_known(), Some(position(1, 10)));
        point.answered(&unproved(2, 2, 1));
        assert_eq!(point.newest_known(), Some(position(2, 2)));
    }

    #[test]
    fn gap_has_the_reason_of_the_node_or_says_that_there_is_none() {
        assert_eq!(gap(&joined(1, 0)), None);
        assert_eq!(gap(&Joined { recovered: Some(true), ..joined(1, 0) }), None);
        assert_eq!(gap(&unproved(1, 0, 1)), Some(GapReason::Epoch.into()));
        let unexplained = Joined { reason: None, ..unproved(1, 0, 1) };
        assert_eq!(gap(&unexplained), Some(Word::Other("the node gives no reason".into())));
    }
}
