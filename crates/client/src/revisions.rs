//! What became of messages after they were sent. Owns what a change does to a message, and the changes that came before their message,
//! such as one of a page that is still to come; does not own the messages. Held by a conversation.

use std::collections::VecDeque;

use chatnode_protocol::{Extras, MessageId};

use crate::event::Message;
use crate::reactions::{Reaction, Reactions};
use crate::retraction::Retraction;

/// The most changes that wait for their message.
const MAX_WAITING: usize = 1_000;

/// A change of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Revision {
    /// Its author replaced its text by this edit.
    Edited { version: MessageId, sent_at: u64, content: String },
    /// It was taken back.
    Retracted(Retraction),
    /// Somebody reacted to it.
    Reacted(Reaction),
}

impl Revision {
    /// Changes a message, unless it is newer already. Nothing changes a message that was taken back.
    pub(crate) fn apply(&self, message: &mut Message) {
        match self {
            _ if message.is_retracted() => {}
            Self::Retracted(retraction) => {
                message.content = String::new();
                message.extras = Extras::default();
                message.reactions = Reactions::default();
                message.retraction = Some(retraction.clone());
            }
            Self::Edited { version, sent_at, content } => {
                if message.version.is_none_or(|known| known < *version) {
                    message.content.clone_from(content);
                    message.version = Some(*version);
                    message.edited_at = Some(*sent_at);
                }
            }
            Self::Reacted(reaction) => message.reactions.apply(reaction),
        }
    }
}

/// The changes that wait for their message, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Revisions {
    waiting: VecDeque<(MessageId, Revision)>,
}

impl Revisions {
    /// A change came before its message. The oldest that waits is dropped above the bound.
    pub(crate) fn wait_for(&mut self, message_id: MessageId, revision: Revision) {
        self.waiting.push_back((message_id, revision));
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
        }
    }

    /// Changes a message that has come.
    pub(crate) fn apply(&mut self, message: &mut Message) {
        let id = message.id();
        if self.waiting.iter().any(|(of, _)| *of == id) {
            self.waiting.retain(|(of, revision)| {
                if *of == id {
                    revision.apply(message);
                }
                *of != id
            });
        }
    }
}
