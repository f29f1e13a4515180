//! What a connection holds of its topics. Owns the guards: dropping one leaves the topic at once. Made by the session and by requests
//! that enter a room.

use std::sync::Arc;

use super::outbox::Outbox;
use super::presence::PresenceGuard;
use super::registry::TopicGuard;
use crate::protocol::UserName;

/// Membership of one room. Dropping it leaves the room.
pub(super) struct Membership {
    pub(super) member: MemberGuard,
    /// `None` while the user is away.
    pub(super) present: Option<PresenceGuard>,
}

/// A member of a topic's fan-out; dropping it removes the member at once.
pub(super) struct MemberGuard {
    pub(super) hold: TopicGuard,
    outbox: Arc<Outbox>,
}

impl MemberGuard {
    /// Whether the connection is still a member.
    pub(super) fn is_member(&self) -> bool {
        self.hold.topic.is_member(self.outbox.id())
    }

    /// Adds the connection to a topic that is ready. `is_granted`: its token lets it read there.
    pub(super) fn begin(hold: TopicGuard, outbox: &Arc<Outbox>, is_granted: bool) -> Self {
        hold.topic.begin_join(outbox, is_granted);
        Self { hold, outbox: outbox.clone() }
    }
}

impl Drop for MemberGuard {
    fn drop(&mut self) {
        self.hold.topic.remove(self.outbox.id());
    }
}

/// The user of this connection, as a member of its private topic.
pub(super) struct BoundUser {
    pub(super) user: UserName,
    pub(super) inbox: MemberGuard,
}
