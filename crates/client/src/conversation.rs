//! One room or one person: what was said, who is there, how far we are. Owns the lines on show and their bound; does not
//! know the connection. Called by the model, and read by the screen.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use crate::attention::Attention;
use crate::text::harmless;
use crate::wire::{Message, Place, Seen, Target};
use chatnode_protocol::UserName;

/// The most lines kept for scrolling back.
const MAX_LINES: usize = 5_000;

/// Something to look at. What others wrote is as it came: who shows it makes it harmless. The rest is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A message.
    Said {
        /// Its sender.
        from: UserName,
        /// What it says.
        text: String,
        /// Unix ms.
        sent_at: u64,
        /// Its place in the log.
        place: Place,
        /// Of a message said by this very process: its id.
        own: Option<String>,
    },
    /// Something that isn't there.
    Gap(String),
    /// A message that is not, or not known to be, stored, and is not tried any more.
    NotSent {
        /// The id that it kept.
        id: String,
        /// Where it was to go.
        to: Target,
        /// What it says.
        content: String,
        /// Why, and whether it may have been stored.
        why: String,
    },
    /// What the program says.
    Note(String),
}

impl Line {
    pub(crate) fn said(message: &Message, own: Option<String>) -> Self {
        Self::Said {
            from: message.from.clone(),
            text: message.content.clone(),
            sent_at: message.sent_at,
            place: message.place.clone(),
            own,
        }
    }

    /// What it says, harmless for a terminal.
    pub fn text(&self) -> String {
        match self {
            Self::Said { text, .. } => harmless(text),
            Self::NotSent { to, content, why, .. } => {
                let content: String = harmless(content).chars().take(60).collect();
                format!("not sent to {to}: {why}: {content}")
            }
            Self::Gap(text) | Self::Note(text) => text.clone(),
        }
    }

    /// The line for a gap with this reason.
    pub fn gap(reason: &str) -> Self {
        let why = match reason {
            "trimmed" => "the log does not reach back so far",
            "epoch" => "the log was started afresh",
            "rollback" => "the store lost its newest messages",
            "too_many" => "too many to send again",
            other => return Self::Gap(format!("messages may be missing here ({})", harmless(other))),
        };
        Self::Gap(format!("messages may be missing here: {why}"))
    }
}

/// How a room stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// To be entered, not before this time.
    Out(Option<Instant>),
    /// The request is on its way.
    Entering,
    /// Entered.
    In,
    /// The node won't have us.
    Refused,
}

/// A room, or the private messages with one person.
#[derive(Debug)]
pub struct Conversation {
    /// The room or the person.
    pub target: Target,
    /// What there is to look at, oldest first.
    pub lines: VecDeque<Line>,
    /// How many lines were ever added at the end.
    pub added: usize,
    /// Messages and gaps that came while it was not on show.
    pub unread: usize,
    /// Of a room.
    pub membership: Membership,
    /// Of a room, once asked for.
    pub members: Option<BTreeSet<UserName>>,
    /// Of a room.
    pub(crate) place: Option<Place>,
    /// Of a room that the node can't let us into yet: the user was told.
    pub(crate) is_late: bool,
    /// Whether older messages are to be had.
    pub(crate) more: bool,
    pub(crate) attention: Attention,
    seen: Seen,
    /// The last of the old messages that a room sends after it was entered, until it has come.
    expected: Option<String>,
}

/// Whether something can be said there: to a person always, in a room that we are in.
pub(crate) fn is_open(conversations: &[Conversation], target: &Target) -> bool {
    let mut found = conversations.iter().filter(|each| each.target == *target);
    matches!(target, Target::User(_)) || found.any(Conversation::is_in)
}

impl Conversation {
    /// An empty one.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            lines: VecDeque::new(),
            added: 0,
            unread: 0,
            membership: Membership::Out(None),
            members: None,
            place: None,
            is_late: false,
            more: true,
            attention: Attention::default(),
            seen: Seen::default(),
            expected: None,
        }
    }

    /// Who types now, in words; nothing if nobody does.
    pub fn typing(&self, now: Instant) -> Option<String> {
        self.attention.typing(now)
    }

    /// Whether it is a room that we are in.
    pub(crate) fn is_in(&self) -> bool {
        self.membership == Membership::In
    }

    /// False if it was there already: after a position that couldn't be proved, all that is held comes again.
    pub(crate) fn is_new(&mut self, message: &Message) -> bool {
        self.expected.take_if(|expected| *expected == message.place.message_id);
        self.seen.insert(&message.place.message_id)
    }

    /// This message will come, unless it has.
    pub(crate) fn expects(&mut self, message_id: Option<String>) {
        self.expected = message_id.filter(|id| !self.seen.contains(id));
    }

    /// Whether old messages of the room are still on their way to us.
    pub(crate) fn is_behind(&self) -> bool {
        self.expected.is_some()
    }

    /// Adds a line at the end; the oldest goes where there are too many.
    pub fn push(&mut self, line: Line) {
        self.lines.push_back(line);
        self.added += 1;
        if self.lines.len() > MAX_LINES {
            self.lines.pop_front();
            self.more = true;
        }
    }

    /// Puts older messages before all others, as far as there is room for them.
    pub fn prepend(&mut self, lines: Vec<Line>) {
        for line in lines.into_iter().rev() {
            if self.lines.len() < MAX_LINES {
                self.lines.push_front(line);
            }
        }
    }

    /// The place of the oldest message on show.
    pub(crate) fn oldest(&self) -> Option<&Place> {
        self.lines.iter().find_map(|line| match line {
            Line::Said { place, .. } => Some(place),
            Line::Gap(_) | Line::NotSent { .. } | Line::Note(_) => None,
        })
    }
}
