//! What is on its way to the log: a message, or a change of one. Owns its frame, which is the same at every attempt, and what is known of
//! the attempts; decides nothing. Kept by the outbox.

use std::time::Instant;

use chatnode_protocol::requests::{Edit, Features, GroupChat, PrivateChat, React, Retract};
use chatnode_protocol::{ClientMessage, MessageId, Request, RequestId, Since, Topic, UserName};

use crate::back_off::BackOff;
use crate::change::Change;
use crate::new_message::NewMessage;
use crate::sending::{SendError, StopReason};

/// What is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    Message(NewMessage),
    Change { message_id: MessageId, change: Change },
}

impl Payload {
    /// A word that a node needs in its `features` for this, and does not have there.
    pub(crate) fn lacks(&self, features: &Features) -> Option<&'static str> {
        match self {
            Self::Message(message) => message.needs().find(|word| !features.has(word)),
            Self::Change { change, .. } => change.needs().filter(|word| !features.has(word)),
        }
    }
}

/// A message or a change on its way.
#[derive(Debug, Clone)]
pub(crate) struct Publish {
    pub(crate) id: RequestId,
    pub(crate) topic: Topic,
    pub(crate) payload: Payload,
    /// When its turn came.
    pub(crate) began: Option<Instant>,
    /// When it was sent first, if it may have been stored since.
    pub(crate) first_sent: Option<Instant>,
    /// An earlier attempt may have stored it.
    pub(crate) is_unknown: bool,
    pub(crate) is_in_flight: bool,
    /// The node could not store it, and this was reported.
    pub(crate) is_late: bool,
    pub(crate) not_before: Option<Instant>,
    pub(crate) back_off: BackOff,
}

impl Publish {
    pub(crate) fn new(id: RequestId, topic: Topic, payload: Payload) -> Self {
        Self {
            id,
            topic,
            payload,
            began: None,
            first_sent: None,
            is_unknown: false,
            is_in_flight: false,
            is_late: false,
            not_before: None,
            back_off: BackOff::default(),
        }
    }

    /// The error if the client stops trying now.
    pub(crate) fn stopped(&self, reason: StopReason) -> SendError {
        if self.is_unknown || self.is_in_flight {
            SendError::Unknown(reason)
        } else {
            SendError::NotStored(reason)
        }
    }

    pub(crate) fn frame(&self, me: &UserName, received: &Since) -> String {
        let sender_username = me.clone();
        let (room, target_username) = match self.topic.clone() {
            Topic::Room(room) => (Some(room), None),
            Topic::User(user) => (None, Some(user)),
        };
        match self.payload.clone() {
            Payload::Message(NewMessage { content, extras }) => match target_username {
                None => self
                    .encode(&GroupChat::text(sender_username, room, content).with_extras(extras), received),
                Some(user) => self
                    .encode(&PrivateChat::text(sender_username, user, content).with_extras(extras), received),
            },
            Payload::Change { message_id, change: Change::Edit { content, if_version } } => {
                let edit = Edit { sender_username, room, target_username, message_id, content, if_version };
                self.encode(&edit, received)
            }
            Payload::Change { message_id, change: Change::Retract { reason } } => {
                let retract = Retract { sender_username, room, target_username, message_id, reason };
                self.encode(&retract, received)
            }
            Payload::Change { message_id, change: Change::React { reaction, on } } => {
                let react = React { sender_username, room, target_username, message_id, reaction, on };
                self.encode(&react, received)
            }
        }
    }

    fn encode<R: Request>(&self, request: &R, received: &Since) -> String {
        ClientMessage::encode(request, Some(&self.id), None, Some(received))
    }
}
