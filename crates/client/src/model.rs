//! The model of one user's chat over all the connections it takes. Owns conversations, positions, requests under way and
//! what each frame means; pure: it neither sends nor draws, and is told the time. Driven by the session, read by the screen.
//!
//! The order of a connection: `Auth` with our place in the private log, then the rooms, each with its own place, then what
//! was left unanswered, under the same ids.

pub use crate::conversation::{Conversation, Line, Membership};
pub use crate::wire::{Place, Target};

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::conversation::is_open;
use crate::outbox::{Outbox, Publish};
use crate::text::harmless;
use crate::wire::{self, Seen};
use chatnode_protocol::{RoomName, UserName};

/// What the model wants done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send a frame.
    Send(String),
    /// Show a line of a conversation, or of none.
    Show(Option<Target>, Line),
    /// Give this connection up and come again, after this time where one is given.
    Restart(Option<Duration>),
    /// It makes no sense to go on.
    Stop(String),
}

/// How the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// None was made yet.
    Connecting,
    /// It stands, and the node has not taken us in yet.
    SigningIn,
    /// The node has taken us in.
    Live,
    /// Lost; the next try comes at this time.
    Waiting(Instant, String),
}

/// What an answer is the answer to. Answers to publishes are the outbox's.
#[derive(Debug)]
pub(crate) enum Asked {
    Auth {
        resumed: bool,
    },
    Enter {
        room: Target,
        resumed: bool,
    },
    /// Which message is the last of the old ones, that a room which was entered sends by itself.
    Newest(Target),
    Leave,
    History(Target),
    Members(Target),
}

/// One user's chat.
#[derive(Debug)]
pub struct Model {
    pub(crate) me: UserName,
    /// Rooms and persons, in the order of their opening.
    pub(crate) conversations: Vec<Conversation>,
    /// Index of the one on show.
    pub(crate) current: usize,
    pub(crate) connection: Connection,
    pub(crate) outbox: Outbox,
    /// Messages that were given up or refused.
    pub(crate) failed: usize,
    pub(crate) asked: HashMap<String, Asked>,
    /// Our place in the private log.
    pub(crate) private: Option<Place>,
    /// The place of the `Ack` of an `Auth` without ours: what was said up to it, was said before we came. No position: what
    /// had waited for us comes after it, some time later, and no answer to anything shows that it has. None until a node took
    /// us in.
    pub(crate) came_at: Option<Place>,
    /// How many old messages to ask for on entering.
    pub(crate) history: u32,
    /// Whether what was said is kept to be looked at. Otherwise nobody is asked for the members of
    /// a room, and a person costs nothing beyond their messages.
    pub(crate) keep_history: bool,
    /// Of all persons: their messages are one log.
    pub(crate) seen_private: Seen,
    effects: VecDeque<Effect>,
}

impl Model {
    /// A user without conversations. `history` is how many old messages each room is entered with, at most 200.
    pub fn new(me: UserName, history: u32) -> Self {
        Self {
            me,
            conversations: Vec::new(),
            current: 0,
            connection: Connection::Connecting,
            outbox: Outbox::new(),
            failed: 0,
            asked: HashMap::new(),
            private: None,
            came_at: None,
            history,
            keep_history: true,
            seen_private: Seen::default(),
            effects: VecDeque::new(),
        }
    }

    /// The user.
    pub fn me(&self) -> &UserName {
        &self.me
    }

    /// Rooms and persons, in the order of their opening.
    pub fn conversations(&self) -> &[Conversation] {
        &self.conversations
    }

    /// The index of the conversation on show.
    pub fn current_index(&self) -> usize {
        self.current
    }

    /// How the connection stands.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How many messages are on their way: not yet known to be stored.
    pub fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// How many messages were given up or refused, and rooms refused.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Counts something that failed before the model came to know of it.
    pub fn count_failure(&mut self) {
        self.failed += 1;
    }

    /// How many old messages each room is entered with.
    pub fn history(&self) -> u32 {
        self.history
    }

    /// What is to be done now.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether something is to be done now.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// The connection stands: who we are comes first.
    pub fn opened(&mut self) {
        self.connection = Connection::SigningIn;
        let body = self.private.as_ref().map_or_else(|| json!({}), |since| json!({ "since": since }));
        self.ask("Auth", body, Asked::Auth { resumed: self.private.is_some() });
    }

    /// The connection is gone.
    pub fn lost(&mut self, why: &str, until: Instant) {
        let why = harmless(why);
        self.outbox.lost(&why);
        self.connection = Connection::Waiting(until, why);
        self.asked.clear();
        for conversation in &mut self.conversations {
            if conversation.membership != Membership::Refused {
                conversation.membership = Membership::Out(None);
            }
            conversation.members = None;
            conversation.attention.lost();
        }
    }

    /// The conversation on show.
    pub fn current(&self) -> Option<&Conversation> {
        self.conversations.get(self.current)
    }

    /// Shows a conversation, which is opened (and entered) if it is new.
    pub fn open(&mut self, target: Target, now: Instant) {
        self.current = self.find_or_add(target);
        self.conversations[self.current].unread = 0;
        self.look_back();
        self.enter_again(self.current, now);
    }

    /// Enters a room, which may have been refused before.
    pub(crate) fn join(&mut self, room: RoomName, now: Instant) {
        let index = self.find_or_add(Target::Room(room));
        self.enter_again(index, now);
    }

    fn enter_again(&mut self, index: usize, now: Instant) {
        let membership = &mut self.conversations[index].membership;
        if *membership == Membership::Refused {
            *membership = Membership::Out(None);
        }
        self.tick(now);
    }

    /// A room is entered with its history; a person's is asked for once the person is on show.
    pub(crate) fn look_back(&mut self) {
        let is_blank = |each: &Conversation| matches!(each.target, Target::User(_)) && each.lines.is_empty();
        if self.history > 0 && self.current().is_some_and(is_blank) {
            self.ask_history(self.history);
        }
    }

    /// Shows the next conversation, or the one before.
    pub fn switch(&mut self, forwards: bool) {
        let count = self.conversations.len();
        if count > 0 {
            self.current = (self.current + if forwards { 1 } else { count - 1 }) % count;
            self.conversations[self.current].unread = 0;
        }
    }

    /// Leaves the room on show, or closes the person.
    pub fn leave(&mut self) {
        self.close(self.current);
    }

    /// Leaves the room at this index, or closes the person. Nothing where there is none.
    pub(crate) fn close(&mut self, index: usize) {
        if index >= self.conversations.len() {
            return;
        }
        let closed = self.conversations.remove(index);
        self.current -= usize::from(index < self.current);
        self.current = self.current.min(self.conversations.len().saturating_sub(1));
        if let Some(conversation) = self.conversations.get_mut(self.current) {
            conversation.unread = 0;
        }
        self.fail_all(&closed.target, "the conversation was closed");
        let is_in = matches!(closed.membership, Membership::In | Membership::Entering);
        if matches!(closed.target, Target::Room(_)) && is_in && self.connection == Connection::Live {
            self.ask("Leave", closed.target.body(), Asked::Leave);
        }
    }

    /// Says something in the conversation on show. False if there is none.
    pub fn say(&mut self, content: String, now: Instant) -> bool {
        let Some(target) = self.current().map(|conversation| conversation.target.clone()) else {
            return false;
        };
        self.say_to(target, content, now);
        true
    }

    /// Says something to a room or a person; the id that it keeps.
    pub(crate) fn say_to(&mut self, target: Target, content: String, now: Instant) -> String {
        let is_refused = self.find(&target).is_some_and(|each| each.membership == Membership::Refused);
        let id = self.outbox.add(target.clone(), content);
        if is_refused {
            self.fail_all(&target, "the room can't be entered");
        }
        self.tick(now);
        id
    }

    /// Asks who is in the room on show.
    pub fn ask_members(&mut self) {
        match self.current().map(|conversation| conversation.target.clone()) {
            Some(room @ Target::Room(_)) => self.load_members(&room),
            Some(Target::User(_)) => self.show(None, Line::Note("only a room has members".into())),
            None => {}
        }
    }

    pub(crate) fn load_members(&mut self, target: &Target) {
        if self.is_open(target) && matches!(target, Target::Room(_)) {
            self.ask("Members", target.body(), Asked::Members(target.clone()));
        }
    }

    /// Asks for messages older than those on show.
    pub fn ask_history(&mut self, limit: u32) {
        let Some(conversation) = self.current() else { return };
        let target = conversation.target.clone();
        let under_way = |asked: &Asked| matches!(asked, Asked::History(of) if *of == target);
        if !conversation.more || !self.is_open(&target) || self.asked.values().any(under_way) {
            return;
        }
        let mut body = target.body();
        body["limit"] = json!(limit);
        if let Some(oldest) = conversation.oldest() {
            body["before"] = json!(oldest.seq);
            body["epoch"] = json!(oldest.epoch);
        }
        self.ask("History", body, Asked::History(target));
    }

    /// Whether the node has taken us in.
    pub fn is_live(&self) -> bool {
        self.connection == Connection::Live
    }

    /// Whether a private message was said before we came, by its place.
    pub fn was_said_before(&self, place: &Place) -> bool {
        self.came_at.as_ref().is_some_and(|came| came.epoch == place.epoch && place.seq <= came.seq)
    }

    /// Whether something can be said there now.
    pub(crate) fn is_open(&self, target: &Target) -> bool {
        self.is_live() && is_open(&self.conversations, target)
    }

    pub(crate) fn ask(&mut self, kind: &str, body: serde_json::Value, asked: Asked) {
        let id = uuid::Uuid::now_v7().to_string();
        self.effect(Effect::Send(wire::request(kind, &self.me, body, &id)));
        self.asked.insert(id, asked);
    }

    pub(crate) fn index_of(&self, target: &Target) -> Option<usize> {
        self.conversations.iter().position(|conversation| conversation.target == *target)
    }

    pub(crate) fn find(&mut self, target: &Target) -> Option<&mut Conversation> {
        self.conversations.iter_mut().find(|conversation| conversation.target == *target)
    }

    pub(crate) fn find_or_add(&mut self, target: Target) -> usize {
        self.index_of(&target).unwrap_or_else(|| {
            self.conversations.push(Conversation::new(target));
            self.conversations.len() - 1
        })
    }

    /// Shows a line, in the conversation it belongs to where that is open.
    pub fn show(&mut self, target: Option<Target>, line: Line) {
        let current = self.current;
        let index = match &target {
            Some(target) => self.index_of(target),
            None => Some(current),
        };
        if let Some(index) = index
            && let Some(conversation) = self.conversations.get_mut(index)
        {
            if self.keep_history {
                conversation.push(line.clone());
            }
            let counts = match &line {
                // Said on another of our devices.
                Line::Said { from, .. } => *from != self.me,
                Line::Gap(_) => true,
                Line::NotSent { .. } | Line::Note(_) => false,
            };
            conversation.unread += usize::from(counts && index != current);
        }
        self.effect(Effect::Show(target, line));
    }

    /// Says that a message will not be sent.
    pub(crate) fn fail(&mut self, publish: &Publish, why: &str) {
        self.failed += 1;
        let Publish { id, to, content, .. } = publish.clone();
        self.show(Some(to.clone()), Line::NotSent { id, to, content, why: harmless(why) });
    }

    /// Gives up all that is on its way to a conversation.
    pub(crate) fn fail_all(&mut self, target: &Target, why: &str) {
        for publish in self.outbox.close(target) {
            self.fail(&publish, &format!("{why}; {}", publish.fate()));
        }
    }

    /// Opens the rooms and the person of the command line.
    pub fn begin(&mut self, rooms: Vec<RoomName>, to: Option<UserName>) {
        for target in rooms.into_iter().map(Target::Room).chain(to.clone().map(Target::User)) {
            self.find_or_add(target);
        }
        if let Some(to) = to {
            self.current = self.find_or_add(Target::User(to));
        }
    }
}

#[cfg(test)]
mod tests;
