//! What the user sends: messages, and changes of messages. Owns where they go and what is told if they fail; the outbox owns their order and
//! their attempts. Part of the model.

use std::time::Instant;

use chatnode_protocol::{MessageId, RequestId, Topic};

use super::{Line, Model};
use crate::change::Change;
use crate::event::Event;
use crate::new_message::NewMessage;
use crate::pending::new_id;
use crate::publish::{Payload, Publish};
use crate::sending::{SendError, StopReason};

impl Model {
    /// Sends a message in the conversation on show. False if there is none.
    pub fn send(&mut self, message: impl Into<NewMessage>, now: Instant) -> bool {
        let Some(topic) = self.current_topic() else { return false };
        self.publish(new_id(), topic, Payload::Message(message.into()), now);
        true
    }

    /// Changes a message of the conversation on show. False if there is none.
    pub fn change(&mut self, message_id: MessageId, change: Change, now: Instant) -> bool {
        let Some(topic) = self.current_topic() else { return false };
        self.publish(new_id(), topic, Payload::Change { message_id, change }, now);
        true
    }

    /// Whether a message to the conversation on show is on its way: the newest of this user may not be among its lines.
    pub fn is_sending(&self) -> bool {
        let is_message = |payload: &Payload| matches!(payload, Payload::Message(_));
        self.current().is_some_and(|current| self.outbox.payloads(&current.topic).any(is_message))
    }

    /// Whether a change of this message of the conversation on show is on its way.
    pub fn is_changing(&self, message_id: MessageId) -> bool {
        let is_change = |payload: &Payload| matches!(payload, Payload::Change { message_id: of, .. } if *of == message_id);
        self.current().is_some_and(|current| self.outbox.payloads(&current.topic).any(is_change))
    }

    /// Sends a message or a change with this id to a room or a user.
    pub(crate) fn publish(&mut self, id: RequestId, topic: Topic, payload: Payload, now: Instant) {
        let is_refused =
            self.conversations.find(&topic).is_some_and(|conversation| conversation.is_refused());
        self.outbox.add(id, topic.clone(), payload);
        if is_refused {
            self.fail_all(&topic, &StopReason::RoomRefused);
        }
        self.tick(now);
    }

    /// Reports that a message or a change is not stored.
    pub(super) fn fail(&mut self, publish: Publish, error: SendError) {
        self.failed += 1;
        let Publish { id, topic, payload, .. } = publish;
        let event = match payload {
            Payload::Message(NewMessage { content, extras }) => {
                Event::NotSent { id, topic: topic.clone(), content, extras, error }
            }
            Payload::Change { message_id, change } => {
                Event::NotChanged { id, topic: topic.clone(), message_id, change, error }
            }
        };
        self.show(Some(topic), Line::Event(event));
    }

    /// Gives up all messages to a topic.
    pub(super) fn fail_all(&mut self, topic: &Topic, reason: &StopReason) {
        for publish in self.outbox.close(topic) {
            let error = publish.stopped(reason.clone());
            self.fail(publish, error);
        }
    }

    /// Gives up all messages, since the client ends, and reports each.
    pub fn fail_everything(&mut self) {
        for publish in self.outbox.close_all() {
            let error = publish.stopped(StopReason::Closed);
            self.fail(publish, error);
        }
    }
}
