//! That a connection was taken out of rooms. Owns the way from the topic, which does it, to the session, which leaves the rooms; and whose
//! connection it is, so that topics know whom they take out.

use super::{FOR_REMOVAL, Outbox};
use crate::protocol::{RoomName, UserName};

impl Outbox {
    /// The user that the connection is bound to.
    pub(in crate::chat) fn user(&self) -> Option<&UserName> {
        self.user.get()
    }

    /// The connection is bound to this user from now on.
    pub(in crate::chat) fn bind(&self, user: &UserName) {
        self.user.get_or_init(|| user.clone());
    }

    /// The connection was taken out of a room. Its session has to know.
    pub(in crate::chat) fn note_removed(&self, room: RoomName) {
        self.change(FOR_REMOVAL, |state| state.removed.push(room));
    }

    /// Waits until the connection was taken out of a room.
    pub async fn removed(&self) {
        self.until(FOR_REMOVAL, |state| (!state.removed.is_empty()).then_some(())).await;
    }

    /// Takes the rooms that the connection was taken out of.
    pub(in crate::chat) fn take_removed(&self) -> Vec<RoomName> {
        std::mem::take(&mut self.lock().removed)
    }
}
