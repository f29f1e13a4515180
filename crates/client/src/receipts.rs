//! Typing notices and read markers. Owns when the model sends either, and what those of others change; neither is sent again
//! after a lost connection. Called by the terminal with what its user does, and by the model with what arrives.

use std::time::Instant;

use chatnode_protocol::requests::{Read, Typing};
use chatnode_protocol::{MessageId, Topic, UserName};

use crate::conversation::Line;
use crate::event::Message;
use crate::model::Model;
use crate::requests;

impl Model {
    /// The user types in the conversation on show.
    pub fn typing(&mut self, now: Instant) {
        let Some(topic) = self.current().map(|conversation| conversation.topic.clone()) else { return };
        if self.is_open(&topic)
            && self.has::<Typing>()
            && self.conversations[self.current].attention.take_notice(now)
        {
            self.tell(&requests::typing(&self.me, topic));
        }
    }

    /// The user sees the newest message of the conversation on show: the other user and other devices of this user may know.
    pub fn looked(&mut self) {
        if !self.is_live() || !self.has::<Read>() {
            return;
        }
        let me = self.me.clone();
        let Some(conversation) = self.conversations.get_mut(self.current) else { return };
        let mut messages = conversation.lines.iter().rev().filter_map(Line::message);
        let Some(newest) = messages.find(|message| message.sender != me).map(|message| message.position)
        else {
            return;
        };
        if conversation.is_room() && !conversation.is_in() {
            return;
        }
        if conversation.attention.take_marker(newest.message_id) {
            let topic = conversation.topic.clone();
            self.tell(&requests::read(&self.me, topic, &newest));
        }
    }

    /// A private conversation was read: by the other user, or by this user on another device.
    pub(crate) fn read_in_private(&mut self, reader: &UserName, peer: &UserName, message_id: MessageId) {
        if *reader == self.me {
            return self.read_elsewhere(&Topic::User(peer.clone()), |message| message.id() <= message_id);
        }
        if let Some(conversation) = self.find(&Topic::User(reader.clone())) {
            let read = &mut conversation.attention.peer_read;
            *read = read.take().max(Some(message_id));
        }
    }

    /// This user has read a conversation on another device, up to the messages that fit.
    pub(crate) fn read_elsewhere(&mut self, topic: &Topic, is_read: impl Fn(&Message) -> bool) {
        let me = self.me.clone();
        let Some(conversation) = self.find(topic) else { return };
        let newer = conversation.lines.iter().rev().map_while(|line| match line {
            Line::Message(message) if is_read(message) => None,
            Line::Message(message) => Some(usize::from(message.sender != me)),
            Line::Gap(_) => Some(1),
            Line::Event(_) | Line::Note(_) => Some(0),
        });
        conversation.unread = conversation.unread.min(newer.sum());
    }
}
