//! Rights of rooms, and blocked users. Owns what the entries about them, an invitation and a removal mean to the model, and what the user asks for about
//! them; what a user may do is decided by the node. Called for each frame of these kinds, and by the commands of a chat.

use std::time::Instant;

use chatnode_protocol::requests::{Block, Moderate, RightsAck};
use chatnode_protocol::{Ack, Position, RoomName, RoomRights, Topic, UserName, events};

use super::{Line, Model};
use crate::event::Event;
use crate::moderation::Moderation;
use crate::own_rights::OwnRights;
use crate::pending::Asked;
use crate::rights_request::RightsRequest;
use crate::room_settings::RoomSettings;
use crate::sending::StopReason;

impl Model {
    /// What a room is, and what the user is there: if it has rights, and the client is in it.
    pub fn rights(&self, room: &RoomName) -> Option<&RoomRights> {
        self.conversations()[self.index_of(&Topic::Room(room.clone()))?].rights()
    }

    /// Makes a room, which is on show once the node has made it. Does nothing without a connection.
    pub fn make_room(&mut self, room: RoomName, settings: RoomSettings) {
        self.ask_room(RightsRequest::Make(room.clone()), room, settings);
    }

    /// Changes a room. Does nothing without a connection.
    pub fn change_room(&mut self, room: RoomName, settings: RoomSettings) {
        self.ask_room(RightsRequest::Change(room.clone()), room, settings);
    }

    /// Does something to a user of the room on show. Does nothing without a room and a connection.
    pub fn moderate(&mut self, user: UserName, moderation: Moderation, reason: Option<String>) {
        let Some(Topic::Room(room)) = self.current_topic() else { return };
        if self.is_live() {
            let from = Some(Topic::Room(room.clone()));
            let request = RightsRequest::Moderate(moderation.action(), user.clone());
            let moderate = moderation.request(&self.me, room, user, reason);
            self.ask(&moderate, Asked::Rights { from, request });
        }
    }

    /// Blocks a user, or ends that. Does nothing without a connection.
    pub fn block(&mut self, user: UserName, on: bool) {
        if self.is_live() {
            let (from, request) = (self.current_topic(), RightsRequest::Block(on, user.clone()));
            let block = Block { sender_username: self.me.clone(), target_username: user, on };
            self.ask(&block, Asked::Rights { from, request });
        }
    }

    fn ask_room(&mut self, request: RightsRequest, room: RoomName, settings: RoomSettings) {
        if self.is_live() {
            let (from, room) = (self.current_topic(), settings.request(&self.me, room));
            self.ask(&room, Asked::Rights { from, request });
        }
    }

    pub(super) fn rights_granted(
        &mut self,
        from: Option<Topic>,
        request: RightsRequest,
        ack: &Ack,
        now: Instant,
    ) {
        // `Room` and `Block` have the same answer.
        let is_unchanged = ack.read::<Moderate>().is_ok_and(|RightsAck { unchanged, .. }| unchanged);
        match request {
            RightsRequest::Make(room) => self.open(Topic::Room(room), now),
            _ if is_unchanged => self.note_where_asked(from, "nothing changed: it was so already".into()),
            // The entry about it says what was done.
            _ => {}
        }
    }

    pub(super) fn rights_refused(&mut self, from: Option<Topic>, request: &RightsRequest, why: &str) {
        self.note_where_asked(from, request.failed(why));
    }

    /// The connection was lost, and with it the answer.
    pub(super) fn rights_unanswered(&mut self, from: Option<Topic>, request: &RightsRequest) {
        let why = "the connection was lost before an answer came, so it may be done or not";
        self.note_where_asked(from, request.failed(why));
    }

    fn note_where_asked(&mut self, from: Option<Topic>, text: String) {
        let from = from.filter(|topic| self.index_of(topic).is_some());
        self.show(from, Line::Note(text));
    }

    pub(super) fn room_changed(&mut self, room: events::Room) {
        let me = self.me.clone();
        self.room_entry(&room.room.clone(), room.position(), |rights| {
            rights.room_changed(&room, &me);
            let events::Room { sender_username: by, room, kind, topic, slow_mode_ms, .. } = room;
            Event::RoomChanged { room, by, kind, topic, slow_mode_ms }
        });
    }

    pub(super) fn moderated(&mut self, moderation: events::Moderation) {
        let me = self.me.clone();
        self.room_entry(&moderation.room.clone(), moderation.position(), |rights| {
            rights.moderated(&moderation, &me);
            let events::Moderation { sender_username: by, room, action, role, until, reason, .. } =
                moderation;
            Event::Moderated { room, by, action, user: moderation.target_username, role, until, reason }
        });
    }

    pub(super) fn invited(&mut self, invitation: events::Invitation) {
        let position = invitation.position();
        if self.private_log.is_new(&position.message_id) {
            let events::Invitation { sender_username: by, room, reason, .. } = invitation;
            // It needs a place to be seen.
            if let Some(by) = by.clone()
                && self.current().is_none()
                && self.conversations.keeps_history()
            {
                self.conversations.find_or_add(Topic::User(by));
            }
            self.show(None, Line::Event(Event::Invited { room, by, reason }));
        }
        let me = self.me.clone();
        self.passed(&Topic::User(me), position);
    }

    /// This user has blocked another one, or has ended that, on any device.
    pub(super) fn blocked(&mut self, block: events::Block) {
        let position = block.position();
        if self.private_log.is_new(&position.message_id) {
            let events::Block { target_username: user, on, .. } = block;
            let topic = Topic::User(user.clone());
            let topic = self.index_of(&topic).is_some().then_some(topic);
            self.show(topic, Line::Event(Event::Blocked { user, on }));
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
        self.failed += 1;
        self.show(Some(topic.clone()), Line::Event(Event::Removed { room, action, until, reason }));
        self.fail_all(&topic, &StopReason::RoomRefused);
    }

    /// An entry about the rights of a room: the room is changed by it, and it is shown, once.
    fn room_entry(
        &mut self,
        room: &RoomName,
        position: Position,
        apply: impl FnOnce(&mut OwnRights) -> Event,
    ) {
        let topic = Topic::Room(room.clone());
        let Some(conversation) = self.conversations.find(&topic) else { return };
        if conversation.is_new_entry(&position.message_id) {
            let event = apply(&mut conversation.own_rights);
            self.show(Some(topic.clone()), Line::Event(event));
        }
        self.passed(&topic, position);
    }
}
