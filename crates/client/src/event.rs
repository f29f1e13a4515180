//! What a program hears of its chat. Owns the shape of it; decides nothing. Made from the session's news by the client.

use std::time::Duration;

use crate::conversation::Line;
use crate::outbox::Publish;
use crate::session::News;
use crate::text::harmless;
use crate::wire::Target;
use chatnode_protocol::UserName;

/// Something that a program should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connection stands.
    Connected,
    /// The connection is gone, for this reason; the next try comes after this time. Nothing is to be done.
    Lost(String, Duration),
    /// Somebody said something. Each message comes once, in the order of its log.
    Message(Message),
    /// Before the next message, some may be missing here, for this reason. Without a conversation, private ones.
    Gap(Option<Target>, String),
    /// A message is given up.
    NotSent {
        /// What [`Client::say`](crate::Client::say) returned.
        id: String,
        /// Where it was to go.
        to: Target,
        /// What was to be said.
        content: String,
        /// Why, and whether it may have been stored all the same.
        why: String,
    },
    /// Something for a person to read, such as that a room can't be entered, of a conversation or of none.
    Notice(Option<Target>, String),
    /// It makes no sense to go on, for this reason: the token is not valid any more, or an administrator removed the user.
    Closed(String),
}

/// A chat message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The room, or the person at the other end.
    pub conversation: Target,
    /// Who said it.
    pub sender: UserName,
    /// What was said, as it was sent: hostile until it is made harmless for where it is shown.
    pub content: String,
    /// When it was stored, Unix time in ms.
    pub sent_at: u64,
    /// Its id in the log; the ids of a log sort by their age.
    pub message_id: String,
    /// Of a message that this client said: what [`Client::say`](crate::Client::say) returned.
    pub own_id: Option<String>,
}

impl Message {
    /// The content on one line, without control characters, escape sequences and marks that turn the direction of others: for
    /// a terminal or a log.
    pub fn plain(&self) -> String {
        harmless(&self.content)
    }
}

impl Event {
    pub(super) fn given_up(publish: Publish) -> Self {
        let why = publish.fate().into();
        let Publish { id, to, content, .. } = publish;
        Self::NotSent { id, to, content, why }
    }

    pub(super) fn of(news: News) -> Self {
        match news {
            News::Connected => Self::Connected,
            News::Lost(why, wait) => Self::Lost(why, wait),
            News::Stopped(why) => Self::Closed(why),
            News::Line(Some(conversation), Line::Said { from, text, sent_at, place, own }) => {
                Self::Message(Message {
                    conversation,
                    sender: from,
                    content: text,
                    sent_at,
                    message_id: place.message_id,
                    own_id: own,
                })
            }
            News::Line(_, Line::NotSent { id, to, content, why }) => Self::NotSent { id, to, content, why },
            News::Line(conversation, Line::Gap(why)) => Self::Gap(conversation, why),
            News::Line(conversation, line) => Self::Notice(conversation, line.text()),
        }
    }
}
