//! The model of one user's chat over all the connections it takes. Owns conversations, positions, requests under way and
//! what each frame means; pure: it neither sends nor draws, and is told the time. Driven by the session, read by the screen.
//!
//! The order of a connection: `Auth` with our place in the private log, then the rooms, each with its own place, then what
//! was left unanswered, under the same ids.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::json;

use super::conversation::{Conversation, Line, Membership};
use super::outbox::{Outbox, Publish};
use super::text::harmless;
use super::wire::{self, Place, Target};
use crate::protocol::{RoomName, UserName};

/// What the model wants done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
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
pub(super) enum Connection {
    Connecting,
    SigningIn,
    Live,
    /// Lost; the next try comes at this time.
    Waiting(Instant, String),
}

/// What an answer is the answer to. Answers to publishes are the outbox's.
#[derive(Debug)]
pub(super) enum Asked {
    Auth {
        resumed: bool,
    },
    /// Its `Ack` comes after the private messages that had waited.
    Proof,
    Enter {
        room: Target,
        resumed: bool,
    },
    Leave,
    History(Target),
    Members(Target),
}

/// One user's chat.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) me: UserName,
    /// Rooms and persons, in the order of their opening.
    pub(super) conversations: Vec<Conversation>,
    /// Index of the one on show.
    pub(super) current: usize,
    pub(super) connection: Connection,
    pub(super) outbox: Outbox,
    /// Messages that were given up or refused.
    pub(super) failed: usize,
    pub(super) asked: HashMap<String, Asked>,
    /// Our place in the private log.
    pub(super) private: Option<Place>,
    /// The place of the `Ack` of an `Auth` without ours: what had waited for us comes after it.
    pub(super) unproven: Option<Place>,
    /// How many old messages to ask for on entering.
    pub(super) history: u32,
    effects: VecDeque<Effect>,
}

impl Chat {
    pub(super) fn new(me: UserName, history: u32) -> Self {
        Self {
            me,
            conversations: Vec::new(),
            current: 0,
            connection: Connection::Connecting,
            outbox: Outbox::new(),
            failed: 0,
            asked: HashMap::new(),
            private: None,
            unproven: None,
            history,
            effects: VecDeque::new(),
        }
    }

    /// What is to be done now.
    pub(super) fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// The connection stands: who we are comes first.
    pub(super) fn opened(&mut self) {
        self.connection = Connection::SigningIn;
        let body = self.private.as_ref().map_or_else(|| json!({}), |since| json!({ "since": since }));
        self.ask("Auth", body, Asked::Auth { resumed: self.private.is_some() });
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self, why: &str, until: Instant) {
        let why = harmless(why);
        self.outbox.lost(&why);
        self.connection = Connection::Waiting(until, why);
        self.asked.clear();
        self.unproven = None;
        for conversation in &mut self.conversations {
            if conversation.membership != Membership::Refused {
                conversation.membership = Membership::Out(None);
            }
            conversation.members = None;
            conversation.attention.lost();
        }
    }

    /// The conversation on show.
    pub(super) fn current(&self) -> Option<&Conversation> {
        self.conversations.get(self.current)
    }

    /// Shows a conversation, which is opened (and entered) if it is new.
    pub(super) fn open(&mut self, target: Target, now: Instant) {
        self.current = self.find_or_add(target);
        let conversation = &mut self.conversations[self.current];
        conversation.unread = 0;
        if conversation.membership == Membership::Refused {
            conversation.membership = Membership::Out(None);
        }
        self.look_back();
        self.tick(now);
    }

    /// A room is entered with its history; a person's is asked for once the person is on show.
    pub(super) fn look_back(&mut self) {
        let is_blank = |each: &Conversation| matches!(each.target, Target::User(_)) && each.lines.is_empty();
        if self.history > 0 && self.current().is_some_and(is_blank) {
            self.ask_history(self.history);
        }
    }

    /// Shows the next conversation, or the one before.
    pub(super) fn switch(&mut self, forwards: bool) {
        let count = self.conversations.len();
        if count > 0 {
            self.current = (self.current + if forwards { 1 } else { count - 1 }) % count;
            self.conversations[self.current].unread = 0;
        }
    }

    /// Leaves the room on show, or closes the person.
    pub(super) fn leave(&mut self) {
        if self.current >= self.conversations.len() {
            return;
        }
        let closed = self.conversations.remove(self.current);
        self.current = self.current.min(self.conversations.len().saturating_sub(1));
        if let Some(conversation) = self.conversations.get_mut(self.current) {
            conversation.unread = 0;
        }
        for publish in self.outbox.close(&closed.target) {
            self.fail(&publish, "the conversation was closed");
        }
        let is_in = matches!(closed.membership, Membership::In | Membership::Entering);
        if matches!(closed.target, Target::Room(_)) && is_in && self.connection == Connection::Live {
            self.ask("Leave", closed.target.body(), Asked::Leave);
        }
    }

    /// Says something in the conversation on show. False if there is none.
    pub(super) fn say(&mut self, content: String, now: Instant) -> bool {
        let Some(target) = self.current().map(|conversation| conversation.target.clone()) else {
            return false;
        };
        self.outbox.add(target, content);
        self.tick(now);
        true
    }

    /// Asks who is in the room on show.
    pub(super) fn ask_members(&mut self) {
        if let Some(target) = self.current().map(|conversation| conversation.target.clone()) {
            self.load_members(&target);
        }
    }

    pub(super) fn load_members(&mut self, target: &Target) {
        if self.is_open(target) && matches!(target, Target::Room(_)) {
            self.ask("Members", target.body(), Asked::Members(target.clone()));
        }
    }

    /// Asks for messages older than those on show.
    pub(super) fn ask_history(&mut self, limit: u32) {
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

    /// Whether something can be said there now.
    pub(super) fn is_open(&self, target: &Target) -> bool {
        let mut found = self.conversations.iter().filter(|each| each.target == *target);
        let is_in = matches!(target, Target::User(_)) || found.any(Conversation::is_in);
        self.connection == Connection::Live && is_in
    }

    pub(super) fn ask(&mut self, kind: &str, body: serde_json::Value, asked: Asked) {
        let id = uuid::Uuid::now_v7().to_string();
        self.effect(Effect::Send(wire::request(kind, &self.me, body, &id)));
        self.asked.insert(id, asked);
    }

    pub(super) fn find(&mut self, target: &Target) -> Option<&mut Conversation> {
        self.conversations.iter_mut().find(|conversation| conversation.target == *target)
    }

    pub(super) fn find_or_add(&mut self, target: Target) -> usize {
        let found = self.conversations.iter().position(|conversation| conversation.target == target);
        found.unwrap_or_else(|| {
            self.conversations.push(Conversation::new(target));
            self.conversations.len() - 1
        })
    }

    /// Shows a line, in the conversation it belongs to where that is open.
    pub(super) fn show(&mut self, target: Option<Target>, line: Line) {
        let current = self.current;
        let index = match &target {
            Some(target) => self.conversations.iter().position(|each| each.target == *target),
            None => Some(current),
        };
        if let Some(index) = index
            && let Some(conversation) = self.conversations.get_mut(index)
        {
            conversation.push(line.clone());
            let counts = matches!(line, Line::Said { .. } | Line::Gap(_));
            conversation.unread += usize::from(counts && index != current);
        }
        self.effect(Effect::Show(target, line));
    }

    /// Says that a message will not be sent.
    pub(super) fn fail(&mut self, publish: &Publish, why: &str) {
        self.failed += 1;
        let content: String = harmless(&publish.content).chars().take(60).collect();
        let note = format!("not sent to {}: {}: {content}", publish.to, harmless(why));
        self.show(Some(publish.to.clone()), Line::Note(note));
    }

    /// Opens the rooms and the person of the command line.
    pub(super) fn begin(&mut self, rooms: Vec<RoomName>, to: Option<UserName>) {
        for target in rooms.into_iter().map(Target::Room).chain(to.clone().map(Target::User)) {
            self.find_or_add(target);
        }
        if let Some(to) = to {
            self.current = self.find_or_add(Target::User(to));
        }
    }
}
