//! What the rights of a room mean to its members on this node. Owns the roles of these members, and that a member is taken out exactly at
//! the entry that says so: it gets nothing that comes later in the log. The store decides what is allowed. Called for each entry about
//! rights that is delivered or replayed, and by joins.

use std::sync::Arc;

use super::member_rights::MemberRights;
use super::outbox::Outbox;
use super::topic::{LocalTopic, State};
use super::topic_member::{Member, MemberState};
use crate::backend::{UserRights, unix_ms};
use crate::failpoints::{self, Failpoint};
use crate::protocol::events::{Removed, RemovedBy};
use crate::protocol::stored_rights::RightsChange;
use crate::protocol::{ConnectionId, MessageId, RoomKind, UserName, encode};

/// What is told to a member that is taken out.
fn removed(topic: &LocalTopic, action: RemovedBy, change: Option<&RightsChange>) -> Option<Removed> {
    let (until, reason) = match change {
        Some(RightsChange::User { until, reason, .. }) => (*until, reason.clone()),
        _ => (None, None),
    };
    Some(Removed { room: topic.name.room()?.clone(), action: action.into(), until, reason })
}

impl LocalTopic {
    /// Whether the room is known to have rights.
    pub(super) fn has_rights(&self) -> bool {
        self.lock().has_rights
    }

    /// Whether the connection is a member.
    pub(super) fn is_member(&self, id: ConnectionId) -> bool {
        self.lock().members.contains_key(&id)
    }

    /// An entry about rights was delivered: takes the members out that may not stay.
    pub(super) fn apply_rights(&self, state: &mut State, id: MessageId, change: &RightsChange) {
        state.has_rights = true;
        if let RightsChange::Block { user, on } = change {
            state.note_block(user, *on);
            return;
        }
        if failpoints::is(Failpoint::KeepMembers) {
            return;
        }
        let mut out = Vec::new();
        for (member_id, member) in &mut state.members {
            if let Some(action) = member.rights.apply(id, change, member.outbox.user()) {
                out.push((*member_id, action));
            }
        }
        for (member_id, action) in out {
            self.take_out(state, member_id, action, Some(change));
        }
    }

    /// Takes a member out, and tells it why.
    pub(super) fn take_out(
        &self,
        state: &mut State,
        id: ConnectionId,
        action: RemovedBy,
        change: Option<&RightsChange>,
    ) {
        let Some(Member { outbox, state: member_state, .. }) = state.members.swap_remove(&id) else { return };
        // One that is about to enter gets an error in the place of its `Ack`.
        if member_state != MemberState::Joining
            && let Some(event) = removed(self, action, change)
        {
            let frame = encode::event(&event);
            // First: a client that has read the event may enter again at once.
            outbox.note_removed(event.room);
            outbox.write_now(frame);
        }
    }

    /// The store says what the user of a member is. Returns false if it may not be in the room: then it is taken out.
    pub(super) fn set_rights(&self, outbox: &Outbox, rights: &UserRights) -> bool {
        let mut state = self.lock();
        state.has_rights = true;
        let Some(member) = state.members.get_mut(&outbox.id()) else { return false };
        if rights.as_of.message_id >= member.rights.as_of {
            let (role, as_of) = (rights.user.role, rights.as_of.message_id);
            member.rights = MemberRights { role, as_of, ..member.rights };
        }
        let is_closed = rights.kind == RoomKind::Private && !member.rights.may_stay_in_private();
        let action = match () {
            () if rights.user.is_banned(unix_ms()) => RemovedBy::Ban,
            () if is_closed => RemovedBy::Private,
            () => return true,
        };
        self.take_out(&mut state, outbox.id(), action, None);
        false
    }

    /// Notes whether the token of a member grants it to read. Returns whether it did, and no longer does.
    pub(super) fn set_granted(&self, outbox: &Outbox, is_granted: bool) -> bool {
        let mut state = self.lock();
        let Some(member) = state.members.get_mut(&outbox.id()) else { return false };
        std::mem::replace(&mut member.rights.is_granted, is_granted) && !is_granted
    }

    /// The members and their users, to ask the store about them.
    pub(super) fn members_and_users(&self) -> Vec<(Arc<Outbox>, UserName)> {
        let state = self.lock();
        let members = state.members.values();
        members.filter_map(|member| Some((member.outbox.clone(), member.outbox.user()?.clone()))).collect()
    }
}
