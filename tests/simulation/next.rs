//! What may come next to a member, from the log as it is.

use chatnode::protocol::{Epoch, MessageId, Position};

use crate::store::Log;

/// What may come next of the log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    Nothing,
    /// Any message: the node chose the place, and no message has come yet.
    Any,
    /// The message after this place, and after this message if it is known.
    After(Epoch, u64, Option<MessageId>),
    /// A message after the last one of these, up to the position; between them are only changes. Then what comes after it.
    Folded(Folded),
}

/// The newest messages that a join asked for, as far as they have come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Folded {
    pub wanted: usize,
    pub until: Position,
    pub count: usize,
    /// The `seq` and the id of the last one.
    pub last: Option<(u64, MessageId)>,
}

impl Folded {
    /// Checks that no message is missing between the last one and an entry of the log, or the position.
    fn check(&self, log: &Log, mut id: MessageId) {
        let Some((_, last)) = self.last else { return };
        while log.is_change(id) {
            id = log.prev[&id];
        }
        assert_eq!(id, last, "a message is missing in {self:?}");
    }

    fn check_end(&self, log: &Log) {
        self.check(log, self.until.message_id);
        let (mut held, mut id) = (0, self.until.message_id);
        while id != MessageId::NONE {
            held += usize::from(!log.is_change(id));
            id = log.prev[&id];
        }
        let most = self.wanted.min(held);
        assert!(
            self.count == most || log.first_held > 0 && self.count < most,
            "{} came of {held}: {self:?}",
            self.count
        );
    }
}

impl Next {
    /// What comes after an entry, if it may come.
    pub fn after(self, at: Position, log: &Log, is_change: bool) -> Option<Self> {
        let place = match self {
            Self::Nothing => return None,
            Self::Any => None,
            Self::After(epoch, seq, id) => Some((epoch, seq, id)),
            // The node took a message for the newest one that the log had lost.
            Self::Folded(folded) if !log.holds(&folded.until) => None,
            Self::Folded(folded) if at.seq > folded.until.seq => {
                folded.check_end(log);
                Some((folded.until.epoch, folded.until.seq, Some(folded.until.message_id)))
            }
            Self::Folded(folded) => {
                let is_later = folded.last.is_none_or(|(last, _)| at.seq > last);
                if at.epoch != folded.until.epoch || !is_later || is_change {
                    return None;
                }
                folded.check(log, log.prev[&at.message_id]);
                let (count, last) = (folded.count + 1, Some((at.seq, at.message_id)));
                return Some(Self::Folded(Folded { count, last, ..folded }));
            }
        };
        let fits = place.is_none_or(|(epoch, seq, known)| {
            (epoch, seq + 1) == (at.epoch, at.seq) && known.is_none_or(|id| id == log.prev[&at.message_id])
        });
        fits.then_some(Self::After(at.epoch, at.seq, Some(at.message_id)))
    }

    /// Whether nothing is left to come.
    pub fn is_at_top(self, log: &Log) -> bool {
        let top = log.top();
        match self {
            Self::Nothing => false,
            Self::Any => true,
            Self::Folded(folded) => {
                let is_at_top = folded.until == top || !log.holds(&folded.until);
                if folded.until == top {
                    folded.check_end(log);
                }
                is_at_top
            }
            Self::After(epoch, seq, id) => {
                (epoch, seq) == (top.epoch, top.seq) && id.is_none_or(|id| id == top.message_id)
            }
        }
    }
}
