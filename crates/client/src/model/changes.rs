//! Changes of messages. Owns what an edit, a retraction and a reaction mean to the model; the conversations own the messages. Called
//! for each frame of these kinds.

use chatnode_protocol::{Position, Topic, UserName, events};

use super::{Effect, Model};
use crate::event::Event;
use crate::revisions::Revision;

impl Model {
    pub(super) fn edited(&mut self, edit: events::Edit) {
        let position = edit.position();
        let topic = self.topic_as_seen(edit.topic, &edit.sender_username);
        let (message_id, version) = (edit.target.message_id, edit.message_id);
        let revision = Revision::Edited { version, content: edit.content.clone() };
        if let Some(conversation) = self.conversations.find(&topic) {
            conversation.revise(message_id, revision);
        }
        let (sender, content) = (edit.sender_username, edit.content);
        let event = Event::Edited { topic: topic.clone(), sender, message_id, version, content };
        self.effect(Effect::Report(event));
        self.passed(&topic, position);
    }

    pub(super) fn retracted(&mut self, retract: events::Retract) {
        let position = retract.position();
        let topic = self.topic_as_seen(retract.topic, &retract.sender_username);
        let message_id = retract.target.message_id;
        if let Some(conversation) = self.conversations.find(&topic) {
            conversation.revise(message_id, Revision::Retracted);
        }
        let sender = retract.sender_username;
        self.effect(Effect::Report(Event::Retracted { topic: topic.clone(), sender, message_id }));
        self.passed(&topic, position);
    }

    pub(super) fn reacted(&mut self, react: events::React) {
        let position = react.position();
        let topic = self.topic_as_seen(react.topic, &react.sender_username);
        let (sender, message_id) = (react.sender_username, react.target.message_id);
        let (reaction, on) = (react.reaction, react.on);
        let event = Event::Reacted { topic: topic.clone(), sender, message_id, reaction, on };
        self.effect(Effect::Report(event));
        self.passed(&topic, position);
    }

    /// An entry that is no message moves the position to resume from as a message does.
    pub(super) fn passed(&mut self, topic: &Topic, position: Position) {
        match topic {
            Topic::Room(_) => {
                if let Some(room) = self.conversations.find(topic) {
                    room.passed(position);
                }
            }
            Topic::User(_) => {
                self.private_log.move_to(position);
                // A program has its events only once it has taken them.
                if self.conversations.keeps_history() {
                    self.effect(Effect::HandedOn(position));
                }
            }
        }
    }

    /// The conversation that an entry belongs to, as this user sees it.
    pub(super) fn topic_as_seen(&self, topic: Topic, sender: &UserName) -> Topic {
        match topic {
            Topic::User(_) if *sender != self.me => Topic::User(sender.clone()),
            topic => topic,
        }
    }
}
