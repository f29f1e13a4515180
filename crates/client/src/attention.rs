//! The short-lived state of one conversation: who types now, and how far each side has read. Owns how long a typing notice
//! lasts and how often our own is sent; sends nothing. Called by the conversation's model.

use std::time::{Duration, Instant};

use chatnode_protocol::UserName;

/// Typing is told to others at most once per this time.
pub(crate) const SEND_TYPING_EVERY: Duration = Duration::from_secs(3);

/// Who has told of it this long ago types no more.
const TYPING_FOR: Duration = Duration::from_secs(5);

/// More are not named at a time.
const MOST_NAMES: usize = 3;

/// What is fleeting about one conversation.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    /// The last few who type, and since when.
    typing: Vec<(UserName, Instant)>,
    /// When others were told last that we type.
    pub(crate) told: Option<Instant>,
    /// The newest message of others that they, or our other devices, know we have read.
    pub(crate) read: Option<String>,
    /// Of a person: the newest message that they have read.
    pub(crate) peer_read: Option<String>,
}

impl Attention {
    /// Somebody types.
    pub(crate) fn types(&mut self, user: UserName, now: Instant) {
        self.stops(&user);
        self.typing.truncate(MOST_NAMES - 1);
        self.typing.insert(0, (user, now));
    }

    /// What was typed has arrived, or who typed is gone.
    pub(crate) fn stops(&mut self, user: &UserName) {
        self.typing.retain(|(each, _)| each != user);
    }

    /// The connection is gone: nobody is known to type, and what was told last may not have arrived.
    pub(crate) fn lost(&mut self) {
        *self = Self { peer_read: self.peer_read.take(), ..Self::default() };
    }

    /// Who types now, in words; nothing if nobody does.
    pub(crate) fn typing(&self, now: Instant) -> Option<String> {
        let lately = |since: Instant| now.saturating_duration_since(since) < TYPING_FOR;
        let mut names: Vec<&str> =
            self.typing.iter().filter(|(_, since)| lately(*since)).map(|(user, _)| user.as_str()).collect();
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
    fn who_types_is_named_for_a_while() {
        let (mut attention, now) = (Attention::default(), Instant::now());
        assert_eq!(attention.typing(now), None);
        attention.types(user("bob"), now);
        attention.types(user("bob"), now);
        assert_eq!(attention.typing(now).as_deref(), Some("bob is typing"));
        attention.types(user("ann"), now + Duration::from_secs(3));
        assert_eq!(attention.typing(now).as_deref(), Some("ann and bob are typing"));
        assert_eq!(attention.typing(now + TYPING_FOR).as_deref(), Some("ann is typing"));
        attention.stops(&user("ann"));
        assert_eq!(attention.typing(now).as_deref(), Some("bob is typing"));
        for name in ["c", "d", "e", "f"] {
            attention.types(user(name), now);
        }
        assert_eq!(attention.typing.len(), MOST_NAMES);
    }
}
