//! All conversations of the user, and which one is on show. Owns their order, when a line counts as unread, and which rooms
//! are to be entered; sends nothing. Held by the model.

use std::time::Instant;

use chatnode_protocol::{Position, RoomName, Topic, UserName};

use crate::conversation::{Conversation, Line};

/// Rooms and users, in the order in which they were opened. The conversation on show has no unread lines.
#[derive(Debug)]
pub(crate) struct Conversations {
    all: Vec<Conversation>,
    /// The index of the conversation on show.
    current: usize,
    /// Whether lines are kept to be shown. If not, a user costs no memory beyond the messages on their way.
    keep_history: bool,
}

impl Conversations {
    /// No conversation.
    pub(crate) fn new(keep_history: bool) -> Self {
        Self { all: Vec::new(), current: 0, keep_history }
    }

    /// Whether lines are kept to be shown.
    pub(crate) fn keeps_history(&self) -> bool {
        self.keep_history
    }

    pub(crate) fn all(&self) -> &[Conversation] {
        &self.all
    }

    pub(crate) fn current_index(&self) -> usize {
        self.current
    }

    pub(crate) fn current(&self) -> Option<&Conversation> {
        self.all.get(self.current)
    }

    pub(crate) fn current_mut(&mut self) -> Option<&mut Conversation> {
        self.all.get_mut(self.current)
    }

    pub(crate) fn index_of(&self, topic: &Topic) -> Option<usize> {
        self.all.iter().position(|conversation| conversation.topic == *topic)
    }

    pub(crate) fn find(&mut self, topic: &Topic) -> Option<&mut Conversation> {
        self.all.iter_mut().find(|conversation| conversation.topic == *topic)
    }

    /// The conversation with this topic; a new one at the end if there was none.
    pub(crate) fn find_or_add(&mut self, topic: Topic) -> &mut Conversation {
        let index = self.index_or_add(topic);
        &mut self.all[index]
    }

    fn index_or_add(&mut self, topic: Topic) -> usize {
        self.index_of(&topic).unwrap_or_else(|| {
            self.all.push(Conversation::new(topic));
            self.all.len() - 1
        })
    }

    /// Puts a conversation on show. A new one is added.
    pub(crate) fn open(&mut self, topic: Topic) {
        let index = self.index_or_add(topic);
        self.put_on_show(index);
    }

    /// Puts the next conversation on show, or the previous one.
    pub(crate) fn switch(&mut self, forwards: bool) {
        let count = self.all.len();
        if count > 0 {
            self.put_on_show((self.current + if forwards { 1 } else { count - 1 }) % count);
        }
    }

    /// Removes the conversation at this index. If it was on show, the one after it is, or the last one.
    pub(crate) fn remove(&mut self, index: usize) -> Option<Conversation> {
        if index >= self.all.len() {
            return None;
        }
        let removed = self.all.remove(index);
        let current = self.current - usize::from(index < self.current);
        self.put_on_show(current.min(self.all.len().saturating_sub(1)));
        Some(removed)
    }

    fn put_on_show(&mut self, index: usize) {
        self.current = index;
        if let Some(conversation) = self.current_mut() {
            conversation.unread = 0;
        }
    }

    /// A line came: for its conversation if that is open, or for the one on show if it belongs to none.
    pub(crate) fn push(&mut self, topic: Option<&Topic>, line: &Line, me: &UserName) {
        let current = self.current;
        let index = topic.map_or(Some(current), |topic| self.index_of(topic));
        let Some(index) = index else { return };
        let Some(conversation) = self.all.get_mut(index) else { return };
        if self.keep_history {
            conversation.push(line.clone());
        }
        conversation.unread += usize::from(index != current && line.is_unread_by(me));
    }

    /// The users with whom there is a conversation.
    pub(crate) fn users(&self) -> Vec<Topic> {
        let users = self.all.iter().filter(|conversation| !conversation.is_room());
        users.map(|conversation| conversation.topic.clone()).collect()
    }

    /// Whether a message can be sent there: to a user always, to a room while the client is in it.
    pub(crate) fn is_open(&self, topic: &Topic) -> bool {
        matches!(topic, Topic::User(_)) || self.index_of(topic).is_some_and(|index| self.all[index].is_open())
    }

    /// The connection is lost.
    pub(crate) fn lost(&mut self) {
        self.all.iter_mut().for_each(Conversation::lost);
    }

    /// Starts to enter the next room whose time has come. Returns it and the position to send as `since`.
    pub(crate) fn enter_next(&mut self, now: Instant) -> Option<(RoomName, Option<Position>)> {
        self.all.iter_mut().find_map(|conversation| conversation.enter(now))
    }

    /// When the next room is entered that has to wait until then.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.all.iter().filter_map(|conversation| conversation.membership.waits_until()).min()
    }

    /// How many rooms the client was never in, or whose old messages are on their way. With `without_late`, rooms that the
    /// node can't let the client into yet do not count.
    pub(crate) fn awaited(&self, without_late: bool) -> usize {
        self.all.iter().filter(|conversation| conversation.is_awaited(without_late)).count()
    }

    /// Whether every room was refused, so that no message can be sent.
    pub(crate) fn is_shut_out(&self) -> bool {
        !self.all.is_empty() && self.all.iter().all(Conversation::is_refused)
    }
}

#[cfg(test)]
mod tests {

    use chatnode_protocol::GapReason;

    use super::*;

    fn room(name: &str) -> Topic {
        Topic::Room(RoomName::parse(name).unwrap())
    }

    fn user(name: &str) -> Topic {
        Topic::User(UserName::parse(name).unwrap())
    }

    fn conversations(topics: &[Topic]) -> Conversations {
        let mut conversations = Conversations::new(true);
        for topic in topics {
            conversations.find_or_add(topic.clone());
        }
        conversations
    }

    fn names(conversations: &Conversations) -> Vec<String> {
        conversations.all().iter().map(|each| each.topic.to_string()).collect()
    }

    fn unread(conversations: &Conversations) -> Vec<usize> {
        conversations.all().iter().map(|each| each.unread).collect()
    }

    #[test]
    fn each_topic_has_one_conversation_and_one_is_on_show() {
        let mut conversations = conversations(&[room("a"), user("bob"), room("a"), room("c")]);
        assert_eq!(names(&conversations), ["#a", "@bob", "#c"]);
        conversations.switch(false);
        assert_eq!(conversations.current_index(), 2);
        conversations.switch(true);
        assert_eq!(conversations.current_index(), 0);
        conversations.open(user("dan"));
        assert_eq!((conversations.current_index(), conversations.users().len()), (3, 2));
        assert!(conversations.remove(4).is_none());
        conversations.remove(0);
        assert_eq!(conversations.current().unwrap().topic, user("dan"), "an earlier one was removed");
        conversations.remove(2);
        assert_eq!(conversations.current().unwrap().topic, room("c"), "the last one");
        conversations.remove(0);
        conversations.remove(0);
        assert!(conversations.current().is_none() && conversations.all().is_empty());
        conversations.switch(true);
        assert_eq!(conversations.current_index(), 0);
    }

    #[test]
    fn line_is_unread_unless_its_conversation_is_on_show() {
        let me = UserName::parse("ann").unwrap();
        let mut conversations = conversations(&[room("a"), room("b"), room("c")]);
        let (gap, note) = (Line::Gap(GapReason::Trimmed.into()), Line::Note("note".into()));
        for topic in [Some(room("a")), Some(room("b")), Some(room("c")), Some(room("unknown")), None] {
            conversations.push(topic.as_ref(), &gap, &me);
            conversations.push(topic.as_ref(), &note, &me);
        }
        assert_eq!(unread(&conversations), [0, 1, 1], "a note does not count");
        let lines: Vec<usize> = conversations.all().iter().map(|each| each.lines.len()).collect();
        assert_eq!(lines, [4, 2, 2]);
        conversations.switch(true);
        assert_eq!(unread(&conversations), [0, 0, 1]);
        conversations.remove(1);
        assert_eq!(unread(&conversations), [0, 0], "the next one is on show");

        let mut conversations = Conversations::new(false);
        conversations.find_or_add(room("a"));
        conversations.push(None, &gap, &me);
        assert!(!conversations.keeps_history() && conversations.current().unwrap().lines.is_empty());
    }

    #[test]
    fn rooms_are_entered_in_order_and_at_their_time() {
        let mut conversations = conversations(&[room("a"), user("bob"), room("b")]);
        let now = Instant::now();
        let next = |conversations: &mut Conversations, now| {
            conversations.enter_next(now).map(|(room, since)| (room.as_str().to_owned(), since))
        };
        assert!(conversations.find(&room("b")).unwrap().postpone(now, None));
        let later = conversations.wake().unwrap();
        assert!(later > now);
        assert_eq!(next(&mut conversations, now), Some(("a".to_owned(), None)));
        assert_eq!(next(&mut conversations, now), None, "it is not time");
        assert_eq!(next(&mut conversations, later), Some(("b".to_owned(), None)));
        assert_eq!((next(&mut conversations, later), conversations.wake()), (None, None));
        assert!(conversations.is_open(&user("bob")) && conversations.is_open(&user("unknown")));
        assert!(!conversations.is_open(&room("a")) && !conversations.is_open(&room("unknown")));
        conversations.lost();
        assert_eq!(next(&mut conversations, now), Some(("a".to_owned(), None)));
    }

    #[test]
    fn client_is_shut_out_once_every_room_is_refused() {
        let mut conversations = conversations(&[room("a"), room("b")]);
        assert!(!Conversations::new(true).is_shut_out() && !conversations.is_shut_out());
        assert_eq!((conversations.awaited(false), conversations.awaited(true)), (2, 2));
        conversations.find(&room("a")).unwrap().refused();
        assert!(conversations.find(&room("b")).unwrap().postpone(Instant::now(), None));
        assert_eq!((conversations.awaited(false), conversations.awaited(true)), (1, 0));
        assert!(!conversations.is_shut_out());
        conversations.find(&room("b")).unwrap().refused();
        assert!(conversations.is_shut_out());
        conversations.lost();
        assert!(conversations.is_shut_out());
    }
}
