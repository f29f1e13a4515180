//! A message that a program writes. Owns its text and what it says beside it, and which of that a node has to know; sends nothing. Made by
//! programs and by the terminal client, kept by the outbox.

use std::borrow::Cow;

use chatnode_protocol::{Attachment, Data, Extras, MessageId, UserName};

/// A message to be sent: a text, and what it says beside its text. A text alone is one too.
///
/// ```no_run
/// # use chatnode_client::{Client, Message, NewMessage, SendError};
/// # async fn example(client: Client, question: &Message) -> Result<(), SendError> {
/// let answer = NewMessage::new("at noon, @bob").reply_to(question.id()).mention(question.sender.clone());
/// client.send("ops", answer).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    pub(crate) content: String,
    pub(crate) extras: Extras,
}

impl NewMessage {
    /// A message with this text.
    pub fn new(content: impl Into<String>) -> Self {
        Self { content: content.into(), extras: Extras::default() }
    }

    /// The text.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// It answers this message.
    #[must_use]
    pub fn reply_to(mut self, message_id: MessageId) -> Self {
        self.extras.reply_to = Some(message_id);
        self
    }

    /// It belongs to the thread that begins with this message.
    #[must_use]
    pub fn thread(mut self, first: MessageId) -> Self {
        self.extras.thread = Some(first);
        self
    }

    /// It mentions this user: at most 20. The text does not have to contain the name.
    #[must_use]
    pub fn mention(mut self, user: UserName) -> Self {
        if !self.extras.mentions.contains(&user) {
            self.extras.mentions.push(user);
        }
        self
    }

    /// This is attached: at most 10 times.
    #[must_use]
    pub fn attach(mut self, attachment: Attachment) -> Self {
        self.extras.attachments.push(attachment);
        self
    }

    /// An object of the application's own.
    #[must_use]
    pub fn data(mut self, data: Data) -> Self {
        self.extras.data = Some(data);
        self
    }

    /// The words in `features` that a node must have, or it would store the message without these fields.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &'static str> {
        let Extras { reply_to, thread, mentions, attachments, data } = &self.extras;
        let fields = [
            ("reply_to", reply_to.is_some()),
            ("thread", thread.is_some()),
            ("mentions", !mentions.is_empty()),
            ("attachments", !attachments.is_empty()),
            ("data", data.is_some()),
        ];
        fields.into_iter().filter(|(_, is_used)| *is_used).map(|(word, _)| word)
    }
}

macro_rules! from_text {
    ($($text:ty),+) => {$(
        impl From<$text> for NewMessage {
            fn from(text: $text) -> Self {
                Self::new(text)
            }
        }
    )+};
}

from_text!(String, &str, &String, Box<str>, Cow<'_, str>, char);
