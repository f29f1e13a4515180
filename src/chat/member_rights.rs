//! What one member of a room with rights is there, as far as a node knows. Owns which entry takes a member out. Pure. Kept by the member.

use crate::backend::Entry;
use crate::protocol::events::RemovedBy;
use crate::protocol::stored_rights::{RightsChange, rights_change};
use crate::protocol::{MessageId, Role, RoomKind, UserName};

/// What a member is in the room, as far as the node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemberRights {
    pub(super) role: Option<Role>,
    /// The last entry that it takes into account. The ids of a log grow, also in the place of entries that were lost.
    pub(super) as_of: MessageId,
    /// The token of its connection grants it to read.
    pub(super) is_granted: bool,
}

impl Default for MemberRights {
    fn default() -> Self {
        Self { role: None, as_of: MessageId::NONE, is_granted: false }
    }
}

impl MemberRights {
    /// Whether it may be in a private room, if it is not banned.
    pub(super) fn may_stay_in_private(&self) -> bool {
        self.is_granted || self.role.map_or(0, Role::rank) > 0
    }

    /// Takes an entry into account. Returns why the member is taken out of the room, if it is.
    pub(super) fn apply(
        &mut self,
        id: MessageId,
        change: &RightsChange,
        user: Option<&UserName>,
    ) -> Option<RemovedBy> {
        if id <= self.as_of {
            return None;
        }
        match change {
            RightsChange::Room { kind, owner } => {
                if owner.is_some() && owner.as_ref() == user {
                    (self.role, self.as_of) = (Some(Role::Owner), id);
                }
                let is_out = *kind == Some(RoomKind::Private) && !self.may_stay_in_private();
                is_out.then_some(RemovedBy::Private)
            }
            RightsChange::Block { .. } => None,
            RightsChange::User { action, user: target, role, .. } => {
                if user != Some(target) {
                    return None;
                }
                self.as_of = id;
                let removed = RemovedBy::action(*action);
                match (removed, role) {
                    (Some(RemovedBy::Remove | RemovedBy::Ban), _) => self.role = None,
                    (_, Some(role)) => self.role = Some(*role),
                    _ => {}
                }
                removed
            }
        }
    }

    /// The entry among these that takes the member out of the room: how many it is sent up to there, why, and what the entry says.
    pub(super) fn removal_in(
        &self,
        entries: &[Entry],
        user: Option<&UserName>,
    ) -> Option<(usize, RemovedBy, RightsChange)> {
        let mut rights = *self;
        entries.iter().enumerate().find_map(|(index, entry)| {
            let change = rights_change(&entry.body)?;
            let action = rights.apply(entry.message_id, &change, user)?;
            Some((index + 1, action, change))
        })
    }
}
