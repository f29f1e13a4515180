//! One room, or the private messages with one user. Owns the lines to show and their limit, the members, how far the user has
//! read, and the position in the log; does not know the connection. Held by `Conversations`, read by the screen.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use chatnode_protocol::requests::Joined;
use chatnode_protocol::{GapReason, MessageId, Position, RoomName, RoomRights, Topic, UserName, Word};

use crate::attention::Attention;
use crate::back_off::BackOff;
use crate::event::{Event, Message};
use crate::event_text::describe_gap;
use crate::membership::Membership;
use crate::own_rights::OwnRights;
use crate::resume_point::ResumePoint;
use crate::revisions::{Revision, Revisions};
use crate::seen::Seen;
use crate::text::harmless;

/// The pause before the next attempt to enter a room, if the node does not name one. A random, growing one is added.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The highest ceiling of the random part.
const MAX_PAUSE: Duration = Duration::from_secs(10);

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

    /// Whether it counts as unread. The user's own messages, which come from their other devices, do not.
    pub(crate) fn is_unread_by(&self, me: &UserName) -> bool {
        match self {
            Self::Message(message) => message.sender != *me,
            Self::Gap(_) => true,
            Self::Event(_) | Self::Note(_) => false,
        }
    }
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
    /// How many times a line was changed that was shown before.
    pub changed: usize,
    /// Messages and gaps that came while another conversation was on show.
    pub unread: usize,
    /// Of a room: whether the client is in it.
    pub membership: Membership,
    /// Of a room: its members, once they were asked for.
    pub members: Option<BTreeSet<UserName>>,
    /// Of a room with rights: what it is, and what this user is there.
    pub(crate) own_rights: OwnRights,
    /// Of a room: the position of the last message that came.
    resume: ResumePoint,
    /// Of a room that the node can't let the client into yet: this was reported.
    is_late: bool,
    back_off: BackOff,
    /// Whether the log holds older messages.
    more: bool,
    pub(crate) attention: Attention,
    seen: Seen<MessageId>,
    revisions: Revisions,
    /// The last of the old messages that the node sends after `Enter`, until it has come.
    expected: Option<MessageId>,
}

impl Conversation {
    /// An empty one.
    pub fn new(topic: Topic) -> Self {
        Self {
            topic,
            lines: VecDeque::new(),
            added: 0,
            changed: 0,
            unread: 0,
            membership: Membership::Out(None),
            members: None,
            own_rights: OwnRights::default(),
            resume: ResumePoint::default(),
            is_late: false,
            back_off: BackOff::default(),
            more: true,
            attention: Attention::default(),
            seen: Seen::default(),
            revisions: Revisions::default(),
            expected: None,
        }
    }

    /// The users who are typing now, in words; `None` if there are none.
    pub fn typing(&self, now: Instant) -> Option<String> {
        self.attention.typing(now)
    }

    /// The newest message of this user that the other user has read. (The ids of a log sort by `seq`.)
    pub fn read_by_peer(&self, me: &UserName) -> Option<MessageId> {
        let read = self.attention.peer_read()?;
        let own = self.lines.iter().rev().filter_map(Line::message).filter(|message| message.sender == *me);
        own.map(Message::id).find(|id| *id <= read)
    }

    /// What the room is and what this user is there, if it has rights and the client is in it. A mute may have ended since.
    pub fn rights(&self) -> Option<&RoomRights> {
        self.own_rights.get()
    }

    /// Whether it is a room that the node refused to let the client into.
    pub(crate) fn is_refused(&self) -> bool {
        self.membership == Membership::Refused
    }

    /// Whether it is a room that the client is in.
    pub(crate) fn is_in(&self) -> bool {
        self.membership == Membership::In
    }

    /// Whether it is a room.
    pub(crate) fn is_room(&self) -> bool {
        matches!(self.topic, Topic::Room(_))
    }

    /// Whether a message can be sent here: to a user always, to a room while the client is in it.
    pub(crate) fn is_open(&self) -> bool {
        !self.is_room() || self.is_in()
    }

    /// Starts to enter the room, if it is one and it is time. Returns the room and the position to send as `since`.
    pub(crate) fn enter(&mut self, now: Instant) -> Option<(RoomName, Option<Position>)> {
        let Topic::Room(room) = &self.topic else { return None };
        self.membership.enter(now).then(|| (room.clone(), self.resume.get()))
    }

    /// The client is in the room; `resumed` if the request had `since`.
    pub(crate) fn entered(&mut self, joined: &Joined, resumed: bool) {
        self.membership = Membership::In;
        self.is_late = false;
        self.back_off.reset();
        if !resumed && !joined.already {
            self.resume.move_to(joined.position);
        }
        self.resume.answered(joined);
    }

    /// The node can't let the client into the room now, and may say when to try again. True if this was not reported yet.
    pub(crate) fn postpone(&mut self, now: Instant, ordered: Option<Duration>) -> bool {
        let pause = self.back_off.next(Some(ordered.unwrap_or(RETRY_AFTER)), MAX_PAUSE);
        self.membership = Membership::Out(Some(now + pause));
        !std::mem::replace(&mut self.is_late, true)
    }

    /// The node refused to let the client into the room.
    pub(crate) fn refused(&mut self) {
        self.membership = Membership::Refused;
        self.members = None;
        self.own_rights.forget();
    }

    /// The node removed the client from the room, which it enters again.
    pub(crate) fn removed(&mut self) {
        self.membership = Membership::Out(None);
    }

    /// The connection is lost.
    pub(crate) fn lost(&mut self) {
        self.membership.lost();
        self.members = None;
        self.attention.reset();
    }

    /// Whether something of the room is still to come: the client was never in it, or old messages are on their way. With
    /// `without_late`, a room that the node can't let the client into yet does not count.
    pub(crate) fn is_awaited(&self, without_late: bool) -> bool {
        let was_never_in = self.resume.get().is_none() && !self.is_refused();
        self.expected.is_some() || (self.is_room() && was_never_in && !(self.is_late && without_late))
    }

    /// A user entered the room, or left it.
    pub(crate) fn set_present(&mut self, user: &UserName, is_present: bool) {
        if !is_present {
            self.attention.stop_typing(user);
        }
        if let Some(members) = &mut self.members {
            if is_present {
                members.insert(user.clone());
            } else {
                members.remove(user);
            }
        }
    }

    /// A new message came. False if it came before: after a position that can't be proved, the node sends everything again
    /// that it holds.
    pub(crate) fn receive(&mut self, message: &mut Message) -> bool {
        if self.is_room() {
            self.resume.move_to(message.position);
        }
        self.attention.stop_typing(&message.sender);
        let is_new = self.is_new(message);
        if is_new {
            self.revisions.apply(message);
        }
        is_new
    }

    /// An entry of the room's log came that is no message.
    pub(crate) fn passed(&mut self, position: Position) {
        if self.is_room() {
            self.resume.move_to(position);
        }
    }

    /// A message was changed: now if it is here, or once it comes.
    pub(crate) fn revise(&mut self, message_id: MessageId, revision: Revision) {
        match self.find_mut(message_id) {
            Some(message) => {
                revision.apply(message);
                self.changed += 1;
            }
            None => self.revisions.wait_for(message_id, revision),
        }
    }

    /// A message that is here.
    pub fn find(&self, message_id: MessageId) -> Option<&Message> {
        self.lines.iter().rev().filter_map(Line::message).find(|message| message.id() == message_id)
    }

    fn find_mut(&mut self, message_id: MessageId) -> Option<&mut Message> {
        self.lines.iter_mut().rev().find_map(|line| match line {
            Line::Message(message) if message.id() == message_id => Some(message),
            _ => None,
        })
    }

    /// The beginning of a message that is here, as [`Message::quote`].
    pub fn quote(&self, message_id: MessageId) -> Option<String> {
        self.find(message_id).map(Message::quote)
    }

    /// What a message answers: the beginning of the other message, or that it is not here. `None` if it is no answer.
    pub fn answered_by(&self, message: &Message) -> Option<String> {
        let answered = message.extras.reply_to?;
        Some(self.quote(answered).unwrap_or_else(|| "an older message".into()))
    }

    /// A page of older messages came. Adds those that did not come before, and returns them.
    pub(crate) fn receive_page(&mut self, messages: Vec<Message>, more: bool) -> Vec<Line> {
        self.more = more;
        let mut lines = Vec::new();
        for mut message in messages {
            if self.is_new(&message) {
                self.revisions.apply(&mut message);
                lines.push(Line::Message(message));
            }
        }
        self.prepend(lines.clone());
        lines
    }

    fn is_new(&mut self, message: &Message) -> bool {
        self.is_new_entry(&message.id())
    }

    /// False if this entry of the log came before.
    pub(crate) fn is_new_entry(&mut self, message_id: &MessageId) -> bool {
        self.expected.take_if(|expected| *expected == *message_id);
        self.seen.insert(message_id)
    }

    /// The newest entry of the room's log that is known.
    pub(crate) fn newest_known(&self) -> Option<Position> {
        self.resume.newest_known()
    }

    /// This message will come, unless it has.
    pub(crate) fn expects(&mut self, message_id: Option<MessageId>) {
        self.expected = message_id.filter(|id| !self.seen.contains(id));
    }

    /// Adds a line at the end. Drops the oldest line above the bound.
    pub fn push(&mut self, line: Line) {
        if let Line::Gap(Word::Known(GapReason::Rollback)) = &line {
            let messages = self.lines.iter_mut().filter_map(|line| match line {
                Line::Message(message) => Some(message),
                _ => None,
            });
            messages.for_each(|message| message.reactions.log_was_rolled_back());
        }
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

    /// Whether the log holds messages older than the lines.
    pub(crate) fn has_more(&self) -> bool {
        self.more
    }

    /// The position of the oldest message.
    pub(crate) fn oldest(&self) -> Option<Position> {
        self.lines.iter().find_map(Line::message).map(|message| message.position)
    }

    /// The user sees the newest message of others. Returns its position if a read marker is due there, which is sent then.
    pub(crate) fn take_marker(&mut self, me: &UserName) -> Option<Position> {
        let mut messages = self.lines.iter().rev().filter_map(Line::message);
        let newest = messages.find(|message| message.sender != *me)?.position;
        (self.is_open() && self.attention.take_marker(newest.message_id)).then_some(newest)
    }

    /// This user has read the conversation on another device, up to the messages that fit.
    pub(crate) fn read_elsewhere(&mut self, me: &UserName, is_read: impl Fn(&Message) -> bool, set: bool) {
        let newer = self.lines.iter().rev().map_while(|line| match line {
            Line::Message(message) if is_read(message) => None,
            line => Some(usize::from(line.is_unread_by(me))),
        });
        let unread = newer.sum();
        self.unread = if set { unread } else { self.unread.min(unread) };
    }
}

#[cfg(test)]
mod tests;
