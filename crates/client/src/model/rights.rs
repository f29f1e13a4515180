//! Rights of rooms. Owns what the entries about them, an invitation and a removal mean to the model; what a user may do is decided by the
//! node. Called for each frame of these kinds.

use chatnode_protocol::{Position, RoomName, Topic, events};

use super::{Effect, Line, Model};
use crate::event::Event;
use crate::sending::StopReason;

impl Model {
    pub(super) fn room_changed(&mut self, room: events::Room) {
        let (position, name) = (room.position(), room.room.clone());
        let events::Room { sender_username: by, kind, topic, slow_mode_ms, .. } = room;
        self.room_entry(
            &name,
            position,
            Event::RoomChanged { room: name.clone(), by, kind, topic, slow_mode_ms },
        );
    }

    pub(super) fn moderated(&mut self, moderation: events::Moderation) {
        let (position, room) = (moderation.position(), moderation.room.clone());
        let events::Moderation { sender_username: by, action, target_username: user, .. } = moderation;
        let events::Moderation { role, until, reason, .. } = moderation;
        self.room_entry(
            &room,
            position,
            Event::Moderated { room: room.clone(), by, action, user, role, until, reason },
        );
    }

    pub(super) fn invited(&mut self, invitation: events::Invitation) {
        let position = invitation.position();
        if self.private_log.is_new(&position.message_id) {
            let events::Invitation { sender_username: by, room, reason, .. } = invitation;
            self.show(None, Line::Event(Event::Invited { room, by, reason }));
        }
        let me = self.me.clone();
        self.passed(&Topic::User(me), position);
    }

    /// The connection is no longer in a room. The client enters it again only when the program asks for it.
    pub(super) fn removed(&mut self, removed: events::Removed) {
        let events::Removed { room, action, until, reason } = removed;
        let topic = Topic::Room(room.clone());
        let Some(conversation) = self.conversations.find(&topic) else { return };
        conversation.refused();
        self.show(Some(topic.clone()), Line::Event(Event::Removed { room, action, until, reason }));
        self.fail_all(&topic, &StopReason::RoomRefused);
    }

    fn room_entry(&mut self, room: &RoomName, position: Position, event: Event) {
        let topic = Topic::Room(room.clone());
        let Some(conversation) = self.conversations.find(&topic) else { return };
        if conversation.is_new_entry(&position.message_id) {
            self.effect(Effect::Report(event));
        }
        self.passed(&topic, position);
    }
}
