//! What became of messages after they were sent. Owns the last edits and retractions of one conversation, so that they also reach a
//! message that comes later, such as one of a page that was read before; does not own the messages. Held by a conversation.

use std::collections::{HashMap, VecDeque};

use chatnode_protocol::MessageId;

use crate::event::Message;

/// The most messages whose last change is remembered.
const MAX_REVISIONS: usize = 1_000;

/// What a message says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Revision {
    /// Its author replaced its text by this edit.
    Edited { version: MessageId, content: String },
    /// It was taken back.
    Retracted,
}

impl Revision {
    /// Changes a message, unless it is newer already.
    pub(crate) fn apply(&self, message: &mut Message) {
        match self {
            Self::Retracted => {
                message.content = String::new();
                message.is_retracted = true;
            }
            Self::Edited { version, content } => {
                let is_newer = message.version.is_none_or(|known| known < *version);
                if is_newer && !message.is_retracted {
                    message.content.clone_from(content);
                    message.version = Some(*version);
                }
            }
        }
    }
}

/// The last changes of a conversation.
#[derive(Debug, Default)]
pub(crate) struct Revisions {
    last: HashMap<MessageId, Revision>,
    /// The messages in the order of their first change.
    order: VecDeque<MessageId>,
}

impl Revisions {
    /// A message was changed.
    pub(crate) fn insert(&mut self, message_id: MessageId, revision: Revision) {
        match self.last.get_mut(&message_id) {
            Some(Revision::Retracted) => {}
            Some(known) => *known = revision,
            None => {
                self.last.insert(message_id, revision);
                self.order.push_back(message_id);
                if self.order.len() > MAX_REVISIONS
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.last.remove(&oldest);
                }
            }
        }
    }

    /// Changes a message that comes, if it was changed before.
    pub(crate) fn apply(&self, message: &mut Message) {
        if let Some(revision) = self.last.get(&message.id()) {
            revision.apply(message);
        }
    }
}
