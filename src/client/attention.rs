//! Who is typing, and how far was read. Owns when either is told to others; both are fleeting, and nothing is asked again. Called by
//! the terminal with what the person does, and by the model with what comes.

use std::time::{Duration, Instant};

use serde_json::json;

use super::conversation::{Conversation, Line};
use super::state::{Chat, Connection, Effect};
use super::wire::{self, Place, Target};
use crate::protocol::UserName;

/// Typing is told to others at most once per this time.
const TELL_EVERY: Duration = Duration::from_secs(3);

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
    told: Option<Instant>,
    /// The newest message of others that they, or our other devices, know we have read.
    read: Option<String>,
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

impl Conversation {
    /// The newest message of ours that the other has read. (Ids sort by their time.)
    pub(crate) fn read_by_peer(&self, me: &UserName) -> Option<&str> {
        let read = self.attention.peer_read.as_deref()?;
        self.lines.iter().rev().find_map(|line| match line {
            Line::Said { from, place, .. } if from == me && *place.message_id <= *read => {
                Some(place.message_id.as_str())
            }
            _ => None,
        })
    }
}

impl Chat {
    /// The person types something in the conversation on show.
    pub(crate) fn typing(&mut self, now: Instant) {
        let Some(target) = self.current().map(|conversation| conversation.target.clone()) else { return };
        if !self.is_open(&target) {
            return;
        }
        let told = &mut self.conversations[self.current].attention.told;
        if told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY) {
            *told = Some(now);
            self.effect(Effect::Send(wire::tell("Typing", &self.me, target.body())));
        }
    }

    /// The person looks at the newest of the conversation on show: the other one, and our other devices, may know.
    pub(crate) fn looked(&mut self) {
        if self.connection != Connection::Live {
            return;
        }
        let Some(conversation) = self.conversations.get_mut(self.current) else { return };
        let newest = conversation.lines.iter().rev().find_map(|line| match line {
            Line::Said { from, place, .. } if *from != self.me => Some(place),
            _ => None,
        });
        let is_news = |id: &String| conversation.attention.read.as_ref().is_none_or(|read| read < id);
        let Some(newest) = newest.filter(|place| is_news(&place.message_id)).cloned() else { return };
        let mut body = conversation.target.body();
        match conversation.target {
            Target::Room(_) if conversation.is_in() => body["seq"] = json!(newest.seq),
            Target::Room(_) => return,
            Target::User(_) => body["message_id"] = json!(newest.message_id),
        }
        conversation.attention.read = Some(newest.message_id);
        self.effect(Effect::Send(wire::tell("Read", &self.me, body)));
    }

    /// Somebody has read a private conversation: the person at the other end, or we on another device.
    pub(crate) fn read_in_private(&mut self, user: UserName, target: UserName, message_id: String) {
        if user == self.me {
            return self.read_elsewhere(&Target::User(target), |place| place.message_id <= message_id);
        }
        if let Some(person) = self.find(&Target::User(user)) {
            let read = &mut person.attention.peer_read;
            *read = read.take().max(Some(message_id));
        }
    }

    /// We have read a conversation on another device, as far as it says.
    pub(crate) fn read_elsewhere(&mut self, target: &Target, is_read: impl Fn(&Place) -> bool) {
        let me = self.me.clone();
        let Some(conversation) = self.find(target) else { return };
        let newer = conversation.lines.iter().rev().map_while(|line| match line {
            Line::Said { place, .. } if is_read(place) => None,
            Line::Said { from, .. } => Some(usize::from(*from != me)),
            Line::Gap(_) => Some(1),
            Line::NotSent { .. } | Line::Note(_) => Some(0),
        });
        conversation.unread = conversation.unread.min(newer.sum());
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
