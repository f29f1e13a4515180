//! What the model does by itself when its time comes. Owns entering rooms, sending the next message, and giving up; what
//! the answers mean is not decided here. Called by the session, and by the model after every change.

use std::time::Instant;

use chatnode_protocol::requests::{Enter, GroupChat, PrivateChat};
use chatnode_protocol::{ClientMessage, ErrorBody, ErrorCode, Topic, UserName};

use crate::asked::Asked;
use crate::conversation::{Conversation, Membership, is_open};
use crate::model::{Connection, Effect, Model};
use crate::outbox::{Publish, Refusal};
use crate::sending::SendError;

/// The largest frame that a node accepts; it closes the connection above.
const MAX_FRAME_BYTES: usize = 131_072;

impl Model {
    /// Does what is due: enters rooms, sends the next messages, gives up messages whose time is over.
    pub fn tick(&mut self, now: Instant) {
        while let Some((publish, error)) = self.outbox.give_up(now) {
            self.fail(publish, error);
        }
        if !self.is_live() {
            return;
        }
        for index in 0..self.conversations.len() {
            self.enter(index, now);
        }
        while let Some(publish) = self.outbox.next(now, |topic| is_open(&self.conversations, topic)) {
            let (frame, id) = (encode(&self.me, publish), publish.id.clone());
            if frame.len() <= MAX_FRAME_BYTES {
                self.effect(Effect::Send(frame));
                continue;
            }
            let error = too_large();
            if let Some(Refusal::Final(publish)) = self.outbox.refused(&id, &error, now) {
                self.fail(publish, SendError::Refused { code: error.code, message: error.message });
            }
        }
    }

    fn enter(&mut self, index: usize, now: Instant) {
        let conversation = &mut self.conversations[index];
        let is_due = matches!(conversation.membership, Membership::Out(at) if at.is_none_or(|at| at <= now));
        let Topic::Room(room) = conversation.topic.clone() else { return };
        if !is_due {
            return;
        }
        conversation.membership = Membership::Entering;
        let since = conversation.position.map(Into::into);
        let enter = Enter {
            sender_username: self.me.clone(),
            room: Some(room.clone()),
            history: since.is_none().then_some(self.history),
            since,
        };
        self.ask(&enter, Asked::Enter { room, resumed: since.is_some() });
    }

    /// Whether there is nothing left to do.
    pub fn is_settled(&self) -> bool {
        self.unsettled() == 0
    }

    /// How much is left to do: messages on their way, rooms that were never entered, and history that was asked for. After
    /// a failure, rooms that the node can't let the client into yet do not count.
    pub fn unsettled(&self) -> usize {
        let is_due = |each: &&Conversation| {
            let is_new = each.position.is_none() && each.membership != Membership::Refused && each.is_room();
            each.is_behind() || (is_new && !(each.is_late && self.failed > 0))
        };
        let is_history = |asked: &&Asked| matches!(asked, Asked::History(_) | Asked::Newest(_));
        let history = self.asked.values().filter(is_history).count();
        let rooms = self.conversations.iter().filter(is_due).count();
        self.outbox.len() + rooms + history + usize::from(self.came_at.is_none())
    }

    /// Whether every room was refused, so that no message can be sent.
    pub fn is_shut_out(&self) -> bool {
        let mut all = self.conversations.iter();
        !self.conversations.is_empty() && all.all(|each| each.membership == Membership::Refused)
    }

    /// When [`Model::tick`] has something to do again.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        let is_live = self.connection == Connection::Live;
        let rooms = self.conversations.iter().filter_map(|conversation| match conversation.membership {
            Membership::Out(at) if is_live => at,
            _ => None,
        });
        rooms.chain(self.outbox.wake(now)).min()
    }
}

fn encode(me: &UserName, Publish { id, topic, content, .. }: &Publish) -> String {
    let (sender_username, content) = (me.clone(), content.clone());
    match topic.clone() {
        Topic::Room(room) => {
            ClientMessage::encode(&GroupChat { sender_username, content, room: Some(room) }, Some(id), None)
        }
        Topic::User(target_username) => {
            ClientMessage::encode(&PrivateChat { sender_username, target_username, content }, Some(id), None)
        }
    }
}

/// What a node would answer, if it read such a frame.
fn too_large() -> ErrorBody {
    let (code, message) = (ErrorCode::MessageTooLarge.into(), "the message is too long".into());
    ErrorBody { code, message, retry_after_ms: None, outcome: None }
}
