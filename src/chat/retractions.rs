//! Which messages of a topic were taken back lately. Owns this memory, so that nothing which was read from the log before a retraction
//! is sent after it. Used by the topic under its lock.

use std::collections::VecDeque;

use crate::protocol::MessageId;

/// How many are remembered: more do not come during one read.
const MAX_REMEMBERED: usize = 256;

/// The retractions that were sent to members, in their order.
#[derive(Debug, Default)]
pub(super) struct Retractions {
    /// How many there were.
    count: u64,
    /// The messages of the latest.
    latest: VecDeque<MessageId>,
}

impl Retractions {
    pub(super) fn note(&mut self, target: MessageId) {
        if self.latest.len() == MAX_REMEMBERED {
            self.latest.pop_front();
        }
        self.latest.push_back(target);
        self.count += 1;
    }

    /// How many there were: to be asked before the log is read.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Whether one of these messages was taken back since there were so many retractions; or may have been, since too many came.
    pub(super) fn concern(&self, messages: &[MessageId], since: u64) -> bool {
        let new = usize::try_from(self.count - since).unwrap_or(usize::MAX);
        new > self.latest.len() || self.latest.iter().rev().take(new).any(|id| messages.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retractions_concern_their_messages_for_a_while() {
        let [a, b] = [(); 2].map(|()| MessageId::generate());
        let mut retractions = Retractions::default();
        assert!(!retractions.concern(&[a], 0));
        retractions.note(a);
        assert!(retractions.concern(&[b, a], 0));
        assert!(!retractions.concern(&[b], 0) && !retractions.concern(&[a], 1));
        for _ in 0..MAX_REMEMBERED {
            retractions.note(MessageId::generate());
        }
        // Forgotten, so anything may have been taken back.
        assert!(retractions.concern(&[b], 0));
        assert!(!retractions.concern(&[a], 1));
    }
}
