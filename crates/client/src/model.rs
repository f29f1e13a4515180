//! The model of one user's chat, over all connections that it takes. Owns the order of what happens, and which part each frame
//! and each moment concerns; the parts own their rules. Pure: it neither sends nor draws, and the caller gives it the time.
//! Driven by [`Session`](crate::Session), read by the screen of `chatnode chat`.
//!
//! Each connection begins with `Auth` and the position in the private log. Then come the rooms, each with its own position,
//! then the messages that were not answered, with the same ids as before.

pub use crate::connection_state::Connection;
pub use crate::conversation::{Conversation, Line};
pub use crate::effect::Effect;
pub use crate::membership::Membership;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use chatnode_protocol::requests::{Features, History, Members, Read, Typing};
use chatnode_protocol::{MessageId, Request, RequestId, RoomName, Topic, UserName};

use crate::connection_state::ConnectionState;
use crate::conversations::Conversations;
use crate::event::Message;
use crate::outbox::{Attempt, Outbox, SEND_TIMEOUT};
use crate::pending::{Asked, PendingRequests};
use crate::private_log::PrivateLog;
use crate::reason::LostReason;
use crate::requests;
use crate::sending::StopReason;

// The other parts of the `impl`, which is too long for one file: which part each frame concerns, lists that come in pages,
// what the user sends, and what was received.
mod changes;
mod inbound;
mod pages;
mod publishing;
mod received;
mod rights;

/// The chat of one user.
#[derive(Debug)]
pub struct Model {
    me: UserName,
    /// How many old messages to ask for with each room.
    history: u32,
    connection: ConnectionState,
    conversations: Conversations,
    private_log: PrivateLog,
    /// How far the user has read with each peer, as the node said.
    read_markers: HashMap<UserName, MessageId>,
    outbox: Outbox,
    pending: PendingRequests,
    failed: usize,
    effects: VecDeque<Effect>,
}

impl Model {
    /// A user without conversations. `history` is how many old messages to ask for with each room, at most 200.
    pub fn new(me: UserName, history: u32) -> Self {
        Self {
            me,
            history,
            connection: ConnectionState::new(),
            conversations: Conversations::new(true),
            private_log: PrivateLog::default(),
            read_markers: HashMap::new(),
            outbox: Outbox::new(SEND_TIMEOUT),
            pending: PendingRequests::default(),
            failed: 0,
            effects: VecDeque::new(),
        }
    }

    /// A user of a program that shows no chat: messages are not kept, and the members of a room are not asked for.
    pub(crate) fn for_program(me: UserName, history: u32, send_timeout: Duration) -> Self {
        let (conversations, outbox) = (Conversations::new(false), Outbox::new(send_timeout));
        Self { conversations, outbox, ..Self::new(me, history) }
    }

    /// The user.
    pub fn me(&self) -> &UserName {
        &self.me
    }

    /// Rooms and users, in the order in which they were opened.
    pub fn conversations(&self) -> &[Conversation] {
        self.conversations.all()
    }

    /// The index of the conversation on show.
    pub fn current_index(&self) -> usize {
        self.conversations.current_index()
    }

    /// The conversation on show.
    pub fn current(&self) -> Option<&Conversation> {
        self.conversations.current()
    }

    /// The state of the connection.
    pub fn connection(&self) -> &Connection {
        self.connection.get()
    }

    /// How many messages are on their way: not yet known to be stored.
    pub fn unsent(&self) -> usize {
        self.outbox.len()
    }

    /// How many messages were not sent, and how many rooms were refused, or left because a moderator removed the user.
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

    /// What the node knows beyond the requests that every node knows. Empty before the first connection.
    pub fn features(&self) -> &Features {
        self.connection.features()
    }

    fn ask<R: Request>(&mut self, request: &R, asked: Asked) {
        let frame = self.pending.add(request, asked, &self.private_log.received());
        if self.is_live() {
            self.private_log.told();
        }
        self.effect(Effect::Send(frame));
    }

    /// Sends the finished frame of a request with this id.
    pub(crate) fn ask_with(&mut self, id: RequestId, frame: String, asked: Asked) {
        self.effect(Effect::Send(frame));
        self.pending.add_with(id, asked);
    }

    /// A connection is open: sign in first.
    pub fn opened(&mut self) {
        self.connection.opened();
        let since = self.private_log.since();
        self.ask(&requests::auth(&self.me, since), Asked::Auth { resumed: since.is_some() });
    }

    /// The connection is lost.
    pub fn lost(&mut self, reason: LostReason, until: Instant) {
        self.outbox.lost(reason.to_string());
        self.connection.lost(reason, until);
        for asked in self.pending.clear() {
            if let Asked::Rights { from, request } = asked {
                self.rights_unanswered(from, &request);
            }
        }
        self.conversations.lost();
    }

    /// Does what is due: enters rooms, sends the next messages, gives up messages whose time is over.
    pub fn tick(&mut self, now: Instant) {
        while let Some((publish, error)) = self.outbox.give_up(now) {
            self.fail(publish, error);
        }
        if !self.is_live() {
            return;
        }
        while let Some((room, since)) = self.conversations.enter_next(now) {
            let enter = requests::enter(&self.me, room.clone(), since, self.history);
            self.ask(&enter, Asked::Enter { room, resumed: since.is_some() });
        }
        let received = self.private_log.received();
        while let Some(attempt) =
            self.outbox.attempt(&self.me, &received, self.connection.features(), now, |topic| {
                self.conversations.is_open(topic)
            })
        {
            match attempt {
                Attempt::Send(frame) => {
                    self.private_log.told();
                    self.effect(Effect::Send(frame));
                }
                Attempt::Failed(publish, error) => self.fail(*publish, error),
            }
        }
        self.tell_received(now);
    }

    /// When [`Model::tick`] has something to do again.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        let is_live = self.is_live();
        let live = [self.conversations.wake(), self.private_log.tell_at()].into_iter().filter(|_| is_live);
        live.flatten().chain(self.outbox.wake(now)).min()
    }

    /// Whether there is nothing left to do.
    pub fn is_settled(&self) -> bool {
        self.unsettled() == 0
    }

    /// How much is left to do: messages on their way, rooms that were never entered, and history that was asked for. After
    /// a failure, rooms that the node can't let the client into yet do not count.
    pub fn unsettled(&self) -> usize {
        let rooms = self.conversations.awaited(self.failed > 0);
        let sign_in = usize::from(!self.private_log.is_known());
        self.outbox.len() + rooms + self.pending.history_count() + sign_in
    }

    /// Whether every room was refused, so that no message can be sent.
    pub fn is_shut_out(&self) -> bool {
        self.conversations.is_shut_out()
    }

    /// Shows a conversation. A new one is opened, and a room is entered.
    pub fn open(&mut self, topic: Topic, now: Instant) {
        self.conversations.open(topic.clone());
        self.look_back();
        self.conversations.find_or_add(topic).membership.retry();
        self.tick(now);
    }

    /// Enters a room, even if it was refused before.
    pub(crate) fn join(&mut self, room: RoomName, now: Instant) {
        self.conversations.find_or_add(Topic::Room(room)).membership.retry();
        self.tick(now);
    }

    /// Shows the next conversation, or the previous one.
    pub fn switch(&mut self, forwards: bool) {
        self.conversations.switch(forwards);
    }

    /// Leaves the room on show, or closes the conversation with the user on show.
    pub fn leave(&mut self) {
        self.close(self.conversations.current_index());
    }

    /// Leaves the room at this index, or closes the conversation with the user there. Does nothing if there is none.
    pub(crate) fn close(&mut self, index: usize) {
        let Some(closed) = self.conversations.remove(index) else { return };
        self.fail_all(&closed.topic, &StopReason::Left);
        if let Topic::Room(room) = closed.topic
            && closed.membership.is_in_or_entering()
            && self.is_live()
        {
            self.ask(&requests::leave(&self.me, room), Asked::Leave);
        }
    }

    /// Whether the user is signed in.
    pub fn is_live(&self) -> bool {
        self.connection.is_live()
    }

    /// Whether a private message is older than this client.
    pub fn is_older_than_client(&self, message: &Message) -> bool {
        self.private_log.is_older_than_client(&message.position)
    }

    /// Whether a message can be sent there now.
    fn is_open(&self, topic: &Topic) -> bool {
        self.is_live() && self.conversations.is_open(topic)
    }

    pub(crate) fn index_of(&self, topic: &Topic) -> Option<usize> {
        self.conversations.index_of(topic)
    }

    fn current_topic(&self) -> Option<Topic> {
        self.current().map(|conversation| conversation.topic.clone())
    }

    /// Asks for the old messages with the user on show. (A room is entered with its history.)
    fn look_back(&mut self) {
        let is_blank = |each: &Conversation| !each.is_room() && each.lines.is_empty();
        if self.history > 0 && self.current().is_some_and(is_blank) {
            self.ask_history(self.history);
        }
    }

    /// Asks for messages older than those of the conversation on show.
    pub fn ask_history(&mut self, limit: u32) {
        let Some(conversation) = self.current() else { return };
        let (topic, oldest) = (conversation.topic.clone(), conversation.oldest());
        let can_ask = conversation.has_more() && self.is_open(&topic) && self.connection.has::<History>();
        if can_ask && !self.pending.has_history(&topic) {
            let history = requests::history(&self.me, topic.clone(), oldest, limit);
            self.ask(&history, Asked::History { topic, wanted: limit, later: Vec::new() });
        }
    }

    /// Asks for the members of the room on show.
    pub fn ask_members(&mut self) {
        match self.current_topic() {
            Some(Topic::Room(_)) if !self.connection.has::<Members>() => {
                self.show(None, Line::Note("this node has no lists of members".into()));
            }
            Some(Topic::Room(room)) => self.load_members(room),
            Some(Topic::User(_)) => self.show(None, Line::Note("only a room has members".into())),
            None => {}
        }
    }

    /// The user types in the conversation on show.
    pub fn typing(&mut self, now: Instant) {
        let Some(topic) = self.current_topic() else { return };
        if self.is_open(&topic)
            && self.connection.has::<Typing>()
            && self.conversations.current_mut().is_some_and(|current| current.attention.take_notice(now))
        {
            self.tell(&requests::typing(&self.me, topic));
        }
    }

    /// The user sees the newest message of the conversation on show: the other user and other devices of this user may know.
    /// True if they are told, since it is news.
    pub fn looked(&mut self) -> bool {
        if self.is_live()
            && self.connection.has::<Read>()
            && let Some(conversation) = self.conversations.current_mut()
            && let Some(newest) = conversation.take_marker(&self.me)
        {
            let read = requests::read(&self.me, conversation.topic.clone(), &newest);
            self.tell(&read);
            return true;
        }
        false
    }

    /// Shows a line: in its conversation if that is open, or in the conversation on show if it belongs to none.
    pub fn show(&mut self, topic: Option<Topic>, line: Line) {
        self.conversations.push(topic.as_ref(), &line, &self.me);
        self.effect(Effect::Show(topic, line));
    }

    /// Opens rooms, and the conversation with a user, which is then on show.
    pub fn begin(&mut self, rooms: Vec<RoomName>, to: Option<UserName>) {
        for room in rooms {
            self.conversations.find_or_add(Topic::Room(room));
        }
        if let Some(to) = to {
            self.conversations.open(Topic::User(to));
        }
    }
}

#[cfg(test)]
mod tests;
