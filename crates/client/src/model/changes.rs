//! Changes of messages. Owns what an edit, a retraction and a reaction mean to the model; the conversations own the messages. Called
//! for each frame of these kinds.

use chatnode_protocol::{MessageId, Position, RequestId, Topic, UserName, events};

use super::{Effect, Model};
use crate::change::ChangeReceipt;
use crate::event::Event;
use crate::reactions::Reaction;
use crate::retraction::Retraction;
use crate::revisions::Revision;

/// What all changes have in common.
struct Entry {
    topic: Topic,
    sender: UserName,
    message_id: MessageId,
    position: Position,
    client_id: Option<RequestId>,
    sent_at: u64,
}

macro_rules! entry {
    ($event:expr) => {
        Entry {
            position: $event.position(),
            topic: $event.topic,
            sender: $event.sender_username,
            message_id: $event.target.message_id,
            client_id: $event.client_id,
            sent_at: $event.sent_at,
        }
    };
}

impl Model {
    pub(super) fn edited(&mut self, edit: events::Edit) {
        let (version, sent_at, content) = (edit.message_id, edit.sent_at, edit.content.clone());
        let revision = Revision::Edited { version, sent_at, content };
        let content = edit.content.clone();
        self.changed(entry!(edit), revision, |topic, sender, message_id, own_id| Event::Edited {
            topic,
            sender,
            message_id,
            version,
            content,
            own_id,
        });
    }

    pub(super) fn retracted(&mut self, retract: events::Retract) {
        let retraction = Retraction {
            reason: retract.reason.clone(),
            is_moderated: retract.moderated,
            moderator: retract.moderator.clone(),
        };
        let revision = Revision::Retracted(retraction.clone());
        self.changed(entry!(retract), revision, |topic, sender, message_id, own_id| Event::Retracted {
            topic,
            sender,
            message_id,
            retraction,
            own_id,
        });
    }

    pub(super) fn reacted(&mut self, react: events::React) {
        let (position, on, reaction) = (react.position(), react.on, react.reaction.clone());
        let user = react.sender_username.clone();
        let change = Reaction { is_mine: user == self.me, user, reaction: reaction.clone(), on, position };
        let revision = Revision::Reacted(change);
        self.changed(entry!(react), revision, |topic, sender, message_id, own_id| Event::Reacted {
            topic,
            sender,
            message_id,
            reaction,
            on,
            own_id,
        });
    }

    /// A change came: for the message that it is about, for the program, and for the position to resume from.
    fn changed(
        &mut self,
        entry: Entry,
        revision: Revision,
        event: impl FnOnce(Topic, UserName, MessageId, Option<RequestId>) -> Event,
    ) {
        let Entry { topic, sender, message_id, position, client_id, sent_at } = entry;
        let own_id = client_id.filter(|id| sender == self.me && self.outbox.is_own(id));
        // It is in the log, whatever became of the answer.
        if let Some(id) = &own_id
            && self.outbox.stored(id)
        {
            let Position { epoch, seq, message_id } = position;
            let seq = Some(seq);
            let receipt =
                ChangeReceipt { message_id, epoch, seq, sent_at, duplicate: false, unchanged: false };
            self.effect(Effect::Changed(id.clone(), receipt));
        }
        let topic = self.topic_as_seen(topic, &sender);
        let keeps_history = self.conversations.keeps_history();
        let conversation = self.conversations.find(&topic);
        let is_new = match (conversation, &topic) {
            (Some(conversation), _) => {
                let is_new = conversation.is_new_entry(&position.message_id);
                if is_new && keeps_history {
                    self.pending.revise(&topic, message_id, &revision);
                    conversation.revise(message_id, revision);
                }
                is_new
            }
            (None, Topic::Room(_)) => false,
            (None, Topic::User(_)) => {
                let is_new = self.private_log.is_new(&position.message_id);
                if is_new && keeps_history {
                    self.private_log.wait_for(message_id, revision);
                }
                is_new
            }
        };
        if is_new {
            self.effect(Effect::Report(event(topic.clone(), sender, message_id, own_id)));
        }
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
