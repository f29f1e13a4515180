//! The short-lived state of one conversation: the users who type now, and how far each side has read. Owns how long a typing
//! notice lasts; sends nothing. Held by the conversation, changed by the model.

use std::time::{Duration, Instant};

use chatnode_protocol::{MessageId, UserName};

/// A typing notice is sent at most once per this time.
const SEND_TYPING_EVERY: Duration = Duration::from_secs(3);

/// A typing notice lasts for this time.
const TYPING_FOR: Duration = Duration::from_secs(5);

/// The most names shown at a time.
const MAX_NAMES: usize = 3;

/// The short-lived state of one conversation.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    /// The last few users who typed, and when.
    typing: Vec<(UserName, Instant)>,
    /// When a typing notice of this user was sent last.
    notice_sent: Option<Instant>,
    /// The newest message of others for which a read marker was sent.
    read: Option<MessageId>,
    /// Of a private conversation: the newest message that the other user has read.
    peer_read: Option<MessageId>,
}

impl Attention {
    /// A user types.
    pub(crate) fn start_typing(&mut self, user: UserName, now: Instant) {
        self.stop_typing(&user);
        self.typing.truncate(MAX_NAMES - 1);
        self.typing.insert(0, (user, now));
    }

    /// The message of this user has come, or the user is gone.
    pub(crate) fn stop_typing(&mut self, user: &UserName) {
        self.typing.retain(|(each, _)| each != user);
    }

    /// Whether it is time for another typing notice of this user, which is sent then.
    pub(crate) fn take_notice(&mut self, now: Instant) -> bool {
        let is_due =
            self.notice_sent.is_none_or(|sent| now.saturating_duration_since(sent) >= SEND_TYPING_EVERY);
        if is_due {
            self.notice_sent = Some(now);
        }
        is_due
    }

    /// Whether a read marker at this message is news, which is sent then.
    pub(crate) fn take_marker(&mut self, newest: MessageId) -> bool {
        let is_news = self.read.is_none_or(|read| read < newest);
        if is_news {
            self.read = Some(newest);
        }
        is_news
    }

    /// The other user has read up to this message. An older marker changes nothing.
    pub(crate) fn peer_has_read(&mut self, message_id: MessageId) {
        self.peer_read = self.peer_read.max(Some(message_id));
    }

    /// The newest message that the other user has read.
    pub(crate) fn peer_read(&self) -> Option<MessageId> {
        self.peer_read
    }

    /// The connection is lost: nobody is known to type, and what was sent last may not have arrived.
    pub(crate) fn reset(&mut self) {
        *self = Self { peer_read: self.peer_read, ..Self::default() };
    }

    /// The users who are typing now, in words; `None` if there are none.
    pub(crate) fn typing(&self, now: Instant) -> Option<String> {
        let is_recent = |since: Instant| now.saturating_duration_since(since) < TYPING_FOR;
        let mut names: Vec<&str> = self
            .typing
            .iter()
            .filter(|(_, since)| is_recent(*since))
            .map(|(user, _)| user.as_str())
            .collect();
        names.sort_unstable();
        let verb = if names.len() == 1 { "is" } else { "are" };
        (!names.is_empty()).then(|| format!("{} {verb} typing", names.join(" and ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    #[test]
    fn a_typing_notice_lasts_five_seconds() {
        let (mut attention, now) = (Attention::default(), Instant::now());
        assert_eq!(attention.typing(now), None);
        attention.start_typing(user("bob"), now);
        attention.start_typing(user("bob"), now);
        assert_eq!(attention.typing(now).as_deref(), Some("bob is typing"));
        attention.start_typing(user("ann"), now + Duration::from_secs(3));
        assert_eq!(attention.typing(now).as_deref(), Some("ann and bob are typing"));
        assert_eq!(attention.typing(now + TYPING_FOR).as_deref(), Some("ann is typing"));
        attention.stop_typing(&user("ann"));
        assert_eq!(attention.typing(now).as_deref(), Some("bob is typing"));
        for name in ["c", "d", "e", "f"] {
            attention.start_typing(user(name), now);
        }
        assert_eq!(attention.typing.len(), MAX_NAMES);
    }
}
