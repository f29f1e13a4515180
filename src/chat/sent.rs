//! What a connection was sent of a topic, and what it may still be sent of what was read. Owns these questions of the session; the
//! topic owns the answers.

use super::topic::LocalTopic;
use super::topic_member::MemberState;
use crate::protocol::{ConnectionId, MessageId, Position};

impl LocalTopic {
    /// How far a member was sent the topic's messages; `None` while it joins, or if the position is not proved.
    pub(super) fn sent_to(&self, id: ConnectionId) -> Option<Position> {
        let state = self.lock();
        state.members.get(&id)?.sent(state.last)?.position()
    }

    /// Whether a member was sent the message at this position. False also where this node no longer knows which message
    /// was there.
    pub(super) fn was_sent(&self, id: ConnectionId, position: &Position) -> bool {
        let state = self.lock();
        let Some(last) = state.last else { return false };
        let ring_has =
            || last.epoch == position.epoch && state.ring.id_at(position.seq) == Some(position.message_id);
        match state.members.get(&id).map(|member| &member.state) {
            Some(MemberState::Live | MemberState::SkipUntil(_)) => last == *position || ring_has(),
            Some(MemberState::Lagging(cursor)) => {
                cursor.position() == Some(*position)
                    || cursor.epoch == Some(position.epoch) && position.seq < cursor.seq && ring_has()
            }
            Some(MemberState::Joining) | None => false,
        }
    }

    /// How many retractions members were sent: to be asked before the log is read.
    pub(super) fn retractions(&self) -> u64 {
        self.lock().retractions.count()
    }

    /// Calls `queue`, which queues what was read of these messages. `since` is the number of retractions before the read. If one of
    /// the messages was taken back since then, the function calls nothing and returns false: the caller has to read again.
    #[must_use]
    pub(super) fn queue_read(&self, messages: &[MessageId], since: u64, queue: impl FnOnce()) -> bool {
        // Under the lock under which retractions are queued, so that none comes in between.
        let state = self.lock();
        let is_valid = !state.retractions.concern(messages, since);
        if is_valid {
            queue();
        }
        is_valid
    }
}
