//! One room, or the private messages with one user. Owns the lines to show and their limit, the members, and the position in
//! the log; does not know the connection. Called by the model, read by the screen.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use chatnode_protocol::{GapReason, MessageId, Position, Topic, UserName, Word};

use crate::attention::Attention;
use crate::event::{Event, Message, describe_gap};
use crate::seen::Seen;
use crate::text::harmless;

/// The most lines kept for scrolling back.
const MAX_LINES: usize = 5_000;

/// Something to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A message, exactly as it came: [`Line::text`] makes it safe for a terminal.
    Message(Message),
    /// Messages may be missing here.
    Gap(Word<GapReason>),
    /// Something failed, or is delayed: a message that was not sent, a room that can't be entered, an error of the node.
    Event(Event),
    /// A text of this program.
    Note(String),
}

impl Line {
    /// What to show, safe for a terminal.
    pub fn text(&self) -> String {
        match self {
            Self::Message(message) => message.plain(),
            Self::Gap(reason) => describe_gap(reason),
            Self::Event(event) => harmless(&event.to_string()),
            Self::Note(text) => text.clone(),
        }
    }

    /// The message, if it is one.
    pub fn message(&self) -> Option<&Message> {
        match self {
            Self::Message(message) => Some(message),
            Self::Gap(_) | Self::Event(_) | Self::Note(_) => None,
        }
    }
}

/// Whether the client is in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// It is not, and will enter it, not before this time.
    Out(Option<Instant>),
    /// The request to enter is on its way.
    Entering,
    /// It is.
    In,
    /// The node refused it.
    Refused,
}

/// A room, or the private messages with one user.
#[derive(Debug)]
pub struct Conversation {
    /// The room or the user.
    pub topic: Topic,
    /// What to show, oldest first.
    pub lines: VecDeque<Line>,
    /// How many lines were ever added at the end.
    pub added: usize,
    /// Messages and gaps that came while another conversation was on show.
    pub unread: usize,
    /// Of a room: whether the client is in it.
    pub membership: Membership,
    /// Of a room: its members, once they were asked for.
    pub members: Option<BTreeSet<UserName>>,
    /// Of a room: the position of the last message that came.
    pub(crate) position: Option<Position>,
    /// Of a room that the node can't let the client into yet: this was reported.
    pub(crate) is_late: bool,
    /// Whether the log holds older messages.
    pub(crate) more: bool,
    pub(crate) attention: Attention,
    seen: Seen<MessageId>,
    /// The last of the old messages that the node sends after `Enter`, until it has come.
    expected: Option<MessageId>,
}

/// Whether a message can be sent there: to a user always, to a room while the client is in it.
pub(crate) fn is_open(conversations: &[Conversation], topic: &Topic) -> bool {
    let mut found = conversations.iter().filter(|each| each.topic == *topic);
    matches!(topic, Topic::User(_)) || found.any(Conversation::is_in)
}

impl Conversation {
    /// An empty one.
    pub fn new(topic: Topic) -> Self {
        Self {
            topic,
            lines: VecDeque::new(),
            added: 0,
            unread: 0,
            membership: Membership::Out(None),
            members: None,
            position: None,
            is_late: false,
            more: true,
            attention: Attention::default(),
            seen: Seen::default(),
            expected: None,
        }
    }

    /// The users who are typing now, in words; `None` if there are none.
    pub fn typing(&self, now: Instant) -> Option<String> {
        self.attention.typing(now)
    }

    /// The newest message of this user that the other user has read. (Ids sort by time.)
    pub fn read_by_peer(&self, me: &UserName) -> Option<MessageId> {
        let read = self.attention.peer_read?;
        let own = self.lines.iter().rev().filter_map(Line::message).filter(|message| message.sender == *me);
        own.map(Message::id).find(|id| *id <= read)
    }

    /// Whether it is a room that the client is in.
    pub(crate) fn is_in(&self) -> bool {
        self.membership == Membership::In
    }

    /// Whether it is a room.
    pub(crate) fn is_room(&self) -> bool {
        matches!(self.topic, Topic::Room(_))
    }

    /// False if the message came before: after a position that can't be proved, the node sends everything again that it
    /// holds.
    pub(crate) fn is_new(&mut self, message: &Message) -> bool {
        self.expected.take_if(|expected| *expected == message.id());
        self.seen.insert(&message.id())
    }

    /// This message will come, unless it has.
    pub(crate) fn expects(&mut self, message_id: Option<MessageId>) {
        self.expected = message_id.filter(|id| !self.seen.contains(id));
    }

    /// Whether old messages of the room are still on their way.
    pub(crate) fn is_behind(&self) -> bool {
        self.expected.is_some()
    }

    /// Adds a line at the end. Drops the oldest line above the bound.
    pub fn push(&mut self, line: Line) {
        self.lines.push_back(line);
        self.added += 1;
        if self.lines.len() > MAX_LINES {
            self.lines.pop_front();
            self.more = true;
        }
    }

    /// Puts older messages before all others, up to the bound.
    pub fn prepend(&mut self, lines: Vec<Line>) {
        for line in lines.into_iter().rev() {
            if self.lines.len() < MAX_LINES {
                self.lines.push_front(line);
            }
        }
    }

    /// The oldest message.
    pub(crate) fn oldest(&self) -> Option<&Message> {
        self.lines.iter().find_map(Line::message)
    }
}
