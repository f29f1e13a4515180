//! What a room with rights is to this user. Owns what each entry of the room's log changes of it; decides nothing about what a user may do. Held
//! by the conversation.
//!
//! The answer to `Enter` says how it is, and entries that are older may follow it. They change nothing in the end: the last entry about each
//! part follows too.

use chatnode_protocol::{Action, Role, RoomKind, RoomRights, UserName, Word, events};

/// The rights of a room, while the client is in it. Nothing for a room without rights.
#[derive(Debug, Default)]
pub(crate) struct OwnRights(Option<Box<RoomRights>>);

impl OwnRights {
    pub(crate) fn get(&self) -> Option<&RoomRights> {
        self.0.as_deref()
    }

    /// The node let the user in, and said this.
    pub(crate) fn answered(&mut self, rights: Option<Box<RoomRights>>) {
        self.0 = rights;
    }

    /// The client is no longer in the room, and learns nothing of it.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    pub(crate) fn room_changed(&mut self, room: &events::Room, me: &UserName) {
        let rights = self.known();
        if let Some(kind) = &room.kind {
            rights.kind = kind.clone();
        }
        if let Some(topic) = &room.topic {
            rights.topic = Some(topic.clone()).filter(|topic| !topic.is_empty());
        }
        if let Some(slow) = room.slow_mode_ms {
            rights.slow_mode_ms = Some(slow).filter(|slow| *slow > 0);
        }
        if room.owner.as_ref() == Some(me) {
            rights.role = Some(Role::Owner.into());
        }
    }

    pub(crate) fn moderated(&mut self, moderation: &events::Moderation, me: &UserName) {
        let rights = self.known();
        if moderation.target_username != *me {
            return;
        }
        match moderation.action.known() {
            Some(Action::Remove | Action::Ban) => rights.role = None,
            Some(Action::Mute) => rights.muted_until = Some(moderation.until.unwrap_or(0)),
            Some(Action::Unmute) => rights.muted_until = None,
            _ => {}
        }
        if let Some(role) = &moderation.role {
            rights.role = Some(role.clone());
        }
    }

    /// A room gets rights with its first entry about them. If an administrator only acted on a user, it is open.
    fn known(&mut self) -> &mut RoomRights {
        self.0.get_or_insert_with(|| {
            let kind = Word::Known(RoomKind::Open);
            Box::new(RoomRights {
                kind,
                topic: None,
                slow_mode_ms: None,
                role: None,
                muted_until: None,
                may_write: false,
            })
        })
    }
}
