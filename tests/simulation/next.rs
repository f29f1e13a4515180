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
    /// Whether a message at this place may be one of these.
    fn may_have(&self, at: Position) -> bool {
        let is_later = self.last.is_none_or(|(last, _)| at.seq > last);
        at.epoch == self.until.epoch && at.seq <= self.until.seq && is_later
    }

    /// The message at this place has come.
    fn with(self, at: Position) -> Self {
        Self { count: self.count + 1, last: Some((at.seq, at.message_id)), ..self }
    }

    /// Whether no message is missing between the last one and an entry of the log, or the position.
    fn reaches(&self, log: &Log, mut id: MessageId) -> bool {
        let Some((_, last)) = self.last else { return true };
        while log.is_change(id) {
            id = log.prev[&id];
        }
        id == last
    }

    /// Whether all of them have come.
    fn is_complete(&self, log: &Log) -> bool {
        let (mut held, mut id) = (0, self.until.message_id);
        while id != MessageId::NONE {
            held += usize::from(!log.is_change(id));
            id = log.prev[&id];
        }
        let most = self.wanted.min(held);
        let is_enough = self.count == most || log.first_held > 0 && self.count < most;
        is_enough && self.reaches(log, self.until.message_id)
    }
}

impl Next {
    /// What comes after an entry, if it may come.
    pub fn after(self, at: Position, log: &Log, is_change: bool) -> Option<Self> {
        let place = match self {
            Self::Nothing => return None,
            Self::Any => None,
            Self::After(epoch, seq, id) => Some((epoch, seq, id)),
            // The node took a message for the newest one that the log had lost, or does not know yet that the log has lost it: then what
            // was read before comes, as it was to come. A gap says from where on the log counts again.
            Self::Folded(folded) if !log.holds(&folded.until) => {
                if folded.may_have(at) && !is_change {
                    return Some(Self::Folded(folded.with(at)));
                }
                None
            }
            Self::Folded(folded) if at.seq > folded.until.seq => {
                if !folded.is_complete(log) {
                    return None;
                }
                Some((folded.until.epoch, folded.until.seq, Some(folded.until.message_id)))
            }
            Self::Folded(folded) => {
                if !folded.may_have(at) || is_change || !folded.reaches(log, log.prev[&at.message_id]) {
                    return None;
                }
                return Some(Self::Folded(folded.with(at)));
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
                !log.holds(&folded.until) || folded.until == top && folded.is_complete(log)
            }
            Self::After(epoch, seq, id) => {
                (epoch, seq) == (top.epoch, top.seq) && id.is_none_or(|id| id == top.message_id)
            }
        }
    }
}
