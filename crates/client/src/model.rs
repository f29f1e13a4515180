//! The model of one user's chat, over all connections that it takes. Owns conversations, positions and requests under way;
//! pure: it neither sends nor draws, and the caller gives it the time. Driven by [`Session`](crate::Session), read by the
//! screen of `chatnode chat`.
//!
//! Each connection begins with `Auth` and the position in the private log. Then come the rooms, each with its own position,
//! then the messages that were not answered, with the same ids as before.

pub use crate::conversation::{Conversation, Line, Membership};

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use chatnode_protocol::requests::{Auth, Features, Leave};
use chatnode_protocol::{Ack, ErrorBody, MessageId, Position, RequestId, RoomName, Topic, UserName};

use crate::asked::{Asked, new_id};
use crate::conversation::is_open;
use crate::event::{Event, Message};
use crate::outbox::{Outbox, Publish, SEND_TIMEOUT};
use crate::reason::{ClosedReason, LostReason};
use crate::seen::Seen;
use crate::sending::{Receipt, SendError, StopReason};

/// What the model wants done, in this order.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Effect {
    /// Send a frame.
    Send(String),
    /// Show a line, in a conversation if it belongs to one.
    Show(Option<Topic>, Line),
    /// Report an event that is no line of a conversation.
    Report(Event),
    /// Report that a message of this client is stored.
    Stored(RequestId, Receipt),
    /// Report that the client is in a room.
    Joined(RoomName),
    /// Report the answer to a request of the program.
    Answer(RequestId, Result<Ack, ErrorBody>),
    /// The node can't sign the user in now: close this connection and open another one later.
    Restart(ErrorBody),
    /// End: the client can't go on.
    Stop(ClosedReason),
}

/// The state of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// There was no connection yet.
    Connecting,
    /// It is open, and the node has not signed the user in yet.
    SigningIn,
    /// The user is signed in.
    Live,
    /// It is lost; the next attempt starts at this time.
    Waiting(Instant, LostReason),
}

/// The chat of one user.
#[derive(Debug)]
pub struct Model {
    pub(crate) me: UserName,
    pub(crate) conversations: Vec<Conversation>,
    /// The index of the conversation on show.
    pub(crate) current: usize,
    pub(crate) connection: Connection,
    pub(crate) outbox: Outbox,
    pub(crate) failed: usize,
    pub(crate) asked: HashMap<RequestId, Asked>,
    /// The position in the private log.
    pub(crate) private: Option<Position>,
    /// The position in the `Ack` of an `Auth` without `since`: messages up to it are older than this client. It is not a
    /// position to resume from: what waited for the user comes after the `Ack`, some time later, and nothing shows when all
    /// of it has come. `None` until the user is signed in.
    pub(crate) came_at: Option<Position>,
    pub(crate) history: u32,
    /// Whether messages are kept to be shown. If not, the members of a room are not asked for, and a user costs no memory
    /// beyond the messages on their way.
    pub(crate) keep_history: bool,
    /// What the node knows.
    pub(crate) features: Features,
    /// Of all users: their messages are in one log.
    pub(crate) seen_private: Seen<MessageId>,
    effects: VecDeque<Effect>,
}

impl Model {
    /// A user without conversations. `history` is how many old messages to ask for with each room, at most 200.
    pub fn new(me: UserName, history: u32) -> Self {
        Self {
            me,
            conversations: Vec::new(),
            current: 0,
            connection: Connection::Connecting,
            outbox: Outbox::new(SEND_TIMEOUT),
            failed: 0,
            asked: HashMap::new(),
            private: None,
            came_at: None,
            history,
            keep_history: true,
            features: Features::default(),
            seen_private: Seen::default(),
            effects: VecDeque::new(),
        }
    }

    /// The user.
    pub fn me(&self) -> &UserName {
        &self.me
    }

    /// Rooms and users, in the order in which they were opened.
    pub fn conversations(&self) -> &[Conversation] {
        &self.conversations
    }

    /// The index of the conversation on show.
    pub fn current_index(&self) -> usize {
        self.current
    }

    /// The conversation on show.
    pub fn current(&self) -> Option<&Conversation> {
        self.conversations.get(self.current)
    }

    /// The state of the connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How many messages are on their way: not yet known to be stored.
    pub fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// How many messages were not sent, and how many rooms were refused.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Counts something that failed before it reached the model.
    pub fn count_failure(&mut self) {
        self.failed += 1;
    }

    /// How many old messages to ask for with each room.
    pub fn history(&self) -> u32 {
        self.history
    }

    /// The next thing to do.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether there is something to do now.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// A connection is open: sign in first.
    pub fn opened(&mut self) {
        self.connection = Connection::SigningIn;
        let auth = Auth { sender_username: self.me.clone(), since: self.private.map(Into::into) };
        self.ask(&auth, Asked::Auth { resumed: self.private.is_some() });
    }

    /// The connection is lost.
    pub fn lost(&mut self, reason: LostReason, until: Instant) {
        self.outbox.lost(reason.to_string());
        self.connection = Connection::Waiting(until, reason);
        self.asked.clear();
        for conversation in &mut self.conversations {
            if conversation.membership != Membership::Refused {
                conversation.membership = Membership::Out(None);
            }
            conversation.members = None;
            conversation.attention.reset();
        }
    }

    /// Shows a conversation. A new one is opened, and a room is entered.
    pub fn open(&mut self, topic: Topic, now: Instant) {
        self.current = self.find_or_add(topic);
        self.conversations[self.current].unread = 0;
        self.look_back();
        self.enter_again(self.current, now);
    }

    /// Enters a room, even if it was refused before.
    pub(crate) fn join(&mut self, room: RoomName, now: Instant) {
        let index = self.find_or_add(Topic::Room(room));
        self.enter_again(index, now);
    }

    fn enter_again(&mut self, index: usize, now: Instant) {
        let membership = &mut self.conversations[index].membership;
        if *membership == Membership::Refused {
            *membership = Membership::Out(None);
        }
        self.tick(now);
    }

    /// Shows the next conversation, or the previous one.
    pub fn switch(&mut self, forwards: bool) {
        let count = self.conversations.len();
        if count > 0 {
            self.current = (self.current + if forwards { 1 } else { count - 1 }) % count;
            self.conversations[self.current].unread = 0;
        }
    }

    /// Leaves the room on show, or closes the conversation with the user on show.
    pub fn leave(&mut self) {
        self.close(self.current);
    }

    /// Leaves the room at this index, or closes the conversation with the user there. Does nothing if there is none.
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
        self.fail_all(&closed.topic, &StopReason::Left);
        let is_in = matches!(closed.membership, Membership::In | Membership::Entering);
        if let Topic::Room(room) = closed.topic
            && is_in
            && self.is_live()
        {
            let leave = Leave { sender_username: self.me.clone(), room: Some(room) };
            self.ask(&leave, Asked::Leave);
        }
    }

    /// Sends a message in the conversation on show. False if there is none.
    pub fn send(&mut self, content: String, now: Instant) -> bool {
        let Some(topic) = self.current().map(|conversation| conversation.topic.clone()) else {
            return false;
        };
        self.send_to(new_id(), topic, content, now);
        true
    }

    /// Sends a message with this id to a room or a user.
    pub(crate) fn send_to(&mut self, id: RequestId, topic: Topic, content: String, now: Instant) {
        let is_refused = self.find(&topic).is_some_and(|each| each.membership == Membership::Refused);
        self.outbox.add(id, topic.clone(), content);
        if is_refused {
            self.fail_all(&topic, &StopReason::RoomRefused);
        }
        self.tick(now);
    }

    /// Whether the user is signed in.
    pub fn is_live(&self) -> bool {
        self.connection == Connection::Live
    }

    /// Whether a private message is older than this client.
    pub fn is_older_than_client(&self, message: &Message) -> bool {
        let position = message.position;
        self.came_at.is_some_and(|came| came.epoch == position.epoch && position.seq <= came.seq)
    }

    /// Whether a message can be sent there now.
    pub(crate) fn is_open(&self, topic: &Topic) -> bool {
        self.is_live() && is_open(&self.conversations, topic)
    }

    pub(crate) fn index_of(&self, topic: &Topic) -> Option<usize> {
        self.conversations.iter().position(|conversation| conversation.topic == *topic)
    }

    pub(crate) fn find(&mut self, topic: &Topic) -> Option<&mut Conversation> {
        self.conversations.iter_mut().find(|conversation| conversation.topic == *topic)
    }

    pub(crate) fn find_or_add(&mut self, topic: Topic) -> usize {
        self.index_of(&topic).unwrap_or_else(|| {
            self.conversations.push(Conversation::new(topic));
            self.conversations.len() - 1
        })
    }

    /// Shows a line: in its conversation if that is open, or in the conversation on show if it belongs to none.
    pub fn show(&mut self, topic: Option<Topic>, line: Line) {
        let current = self.current;
        let index = match &topic {
            Some(topic) => self.index_of(topic),
            None => Some(current),
        };
        if let Some(index) = index
            && let Some(conversation) = self.conversations.get_mut(index)
        {
            if self.keep_history {
                conversation.push(line.clone());
            }
            let counts = match &line {
                // The user's own messages come from their other devices.
                Line::Message(message) => message.sender != self.me,
                Line::Gap(_) => true,
                Line::Event(_) | Line::Note(_) => false,
            };
            conversation.unread += usize::from(counts && index != current);
        }
        self.effect(Effect::Show(topic, line));
    }

    /// Reports that a message is not sent.
    pub(crate) fn fail(&mut self, publish: Publish, error: SendError) {
        self.failed += 1;
        let Publish { id, topic, content, .. } = publish;
        self.show(Some(topic.clone()), Line::Event(Event::NotSent { id, topic, content, error }));
    }

    /// Gives up all messages to a topic.
    pub(crate) fn fail_all(&mut self, topic: &Topic, reason: &StopReason) {
        for publish in self.outbox.close(topic) {
            let error = publish.stopped(reason.clone());
            self.fail(publish, error);
        }
    }

    /// Gives up all messages, since the client ends.
    pub(crate) fn fail_everything(&mut self) {
        for publish in self.outbox.close_all() {
            let error = publish.stopped(StopReason::Closed);
            self.fail(publish, error);
        }
    }

    /// Opens rooms, and the conversation with a user, which is then on show.
    pub fn begin(&mut self, rooms: Vec<RoomName>, to: Option<UserName>) {
        for topic in rooms.into_iter().map(Topic::Room).chain(to.clone().map(Topic::User)) {
            self.find_or_add(topic);
        }
        if let Some(to) = to {
            self.current = self.find_or_add(Topic::User(to));
        }
    }
}

#[cfg(test)]
mod tests;
