//! One connection as the protocol sees it: joins, publishes, and checks every frame that comes. Owns the requests in flight;
//! writes frames into a buffer, and knows no socket and no timer. Driven by the connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chatnode_protocol::requests::{Auth, Enter, GroupChat, Joined, PrivateChat, Typing};
use chatnode_protocol::{ClientMessage, Request, RequestId};

use crate::frame::{self, TEXT};
use crate::run::{Name, Run, Seat, Topic};
use crate::stamp::Stamp;
use crate::state::State;
use crate::tally::record;

/// What a connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Send a message at this time of the run's clock.
    Publish { intended: u64 },
    /// Send a private message to the peer.
    Private { intended: u64 },
    /// Tell the room that the user is typing.
    Type,
    /// Send so many messages in a closed loop: the next one when one has come back.
    Loop { messages: u32 },
    /// Close the connection, and come back.
    ComeBack,
}

/// The most messages of one connection without an answer; beyond it, the schedule's messages are not sent.
const MAX_IN_FLIGHT: usize = 1_000;

/// The `id` of `Auth`, and the first letter of those of `Enter`.
const AUTH_ID: &str = "a";
const ENTER_ID: char = 'e';
const TYPING_ID: &str = "t";

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The server closed it.
    Closed { code: u16, reason: String },
    /// It broke.
    Lost(String),
    /// A request of the join was refused.
    Refused(String),
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    stamp: Stamp,
    to: u32,
    is_acked: bool,
    is_back: bool,
}

/// The state of one seat, over all its connections.
pub(crate) struct Session {
    run: Arc<Run>,
    /// The seat, by its index in the run, and by that in the thread's state.
    seat: u32,
    local: usize,
    number: u32,
    in_flight: VecDeque<Sent>,
    /// How many messages of the closed loop are left.
    left: u32,
    /// The closed loop waits until then.
    paused_until: Option<u64>,
    /// Joins that have no answer yet.
    unjoined: usize,
    /// When this connection was to be opened; none once it has joined.
    intended_join: Option<u64>,
    was_joined: bool,
}

impl Session {
    pub(crate) fn new(run: Arc<Run>, seat: u32, local: usize) -> Self {
        let in_flight = VecDeque::new();
        Self {
            run,
            seat,
            local,
            number: 0,
            in_flight,
            left: 0,
            paused_until: None,
            unjoined: 0,
            intended_join: None,
            was_joined: false,
        }
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.run.seats[self.seat as usize]
    }

    fn topic(&self, topic: u32) -> &Topic {
        &self.run.topics[topic as usize]
    }

    /// Whether this connection has joined everything.
    pub(crate) fn has_joined(&self) -> bool {
        self.intended_join.is_none()
    }

    /// Whether this seat ever had joined everything.
    pub(crate) fn was_joined(&self) -> bool {
        self.was_joined
    }

    /// Until when the closed loop waits.
    pub(crate) fn paused_until(&self) -> Option<u64> {
        self.paused_until
    }

    /// The pause is over.
    pub(crate) fn end_pause(&mut self) {
        self.paused_until = None;
    }

    fn put<R: Request>(&self, out: &mut Vec<u8>, request: &R, id: &str) {
        let id = RequestId::parse(id).expect("our ids are short");
        let text = ClientMessage::encode(request, Some(&id), None, None);
        frame::put(out, TEXT, text.as_bytes(), self.run.mask());
    }

    /// A connection is to be opened.
    pub(crate) fn begin(&mut self, intended: u64) {
        self.intended_join = Some(intended);
    }

    /// A new connection: joins everything from the positions that are known, and repeats what has no answer.
    pub(crate) fn open(&mut self, state: &State, out: &mut Vec<u8>) {
        let run = Arc::clone(&self.run);
        let user = &run.seats[self.seat as usize].user;
        let logs = &state.logs[self.local];
        self.unjoined = logs.len();
        for (index, log) in logs.iter().enumerate() {
            match &self.topic(log.topic).name {
                Name::User(_) => {
                    self.put(out, &Auth { sender_username: user.clone(), since: log.since() }, AUTH_ID);
                }
                Name::Room(room) => {
                    let since = log.since();
                    let enter = Enter {
                        sender_username: user.clone(),
                        room: Some(room.clone()),
                        since,
                        history: None,
                    };
                    self.put(out, &enter, &format!("{ENTER_ID}{index}"));
                }
            }
        }
        if logs.is_empty() {
            // Takes a seat all the same.
            self.unjoined = 1;
            self.put(out, &Auth { sender_username: user.clone(), since: None }, AUTH_ID);
        }
        for index in 0..self.in_flight.len() {
            if !self.in_flight[index].is_acked {
                self.write(self.in_flight[index], out);
            }
        }
    }

    /// Does what it is told.
    pub(crate) fn command(&mut self, command: Command, now: u64, state: &mut State, out: &mut Vec<u8>) {
        match command {
            Command::Publish { intended } => {
                if let Some(to) = self.seat().writes_to {
                    self.publish_scheduled(to, intended, now, state, out);
                }
            }
            Command::Private { intended } => {
                if let Some(peer) = self.seat().peer {
                    self.publish_scheduled(peer, intended, now, state, out);
                }
            }
            Command::Type => {
                let room = self.seat().writes_to.map(|to| &self.topic(to).name);
                if let Some(Name::Room(room)) = room {
                    let topic = Some(Name::Room(room.clone()));
                    self.put(out, &Typing { sender_username: self.seat().user.clone(), topic }, TYPING_ID);
                }
            }
            Command::Loop { messages } => {
                self.left = messages;
                self.pump(now, state, out);
            }
            Command::ComeBack => {}
        }
    }

    fn publish_scheduled(&mut self, to: u32, intended: u64, now: u64, state: &mut State, out: &mut Vec<u8>) {
        if self.run.is_measured(intended) {
            record(&mut state.tally.lag, intended, now);
        }
        if self.in_flight.len() < MAX_IN_FLIGHT {
            self.publish(to, intended, state, out);
        } else {
            state.tally.counts.skipped += 1;
        }
    }

    /// Sends what the closed loop may send.
    pub(crate) fn pump(&mut self, now: u64, state: &mut State, out: &mut Vec<u8>) {
        if self.left == 0 || self.paused_until.is_some_and(|until| until > now) {
            return;
        }
        self.paused_until = None;
        let Some(to) = self.seat().writes_to else { return };
        while self.left > 0 && self.in_flight.len() < self.run.in_flight && self.run.is_sending() {
            self.left -= 1;
            self.publish(to, now, state, out);
        }
    }

    fn publish(&mut self, to: u32, intended: u64, state: &mut State, out: &mut Vec<u8>) {
        self.number += 1;
        let stamp = Stamp { run: self.run.id, publisher: self.seat, number: self.number, intended };
        let sent = Sent { stamp, to, is_acked: false, is_back: false };
        state.tally.counts.sent += 1;
        for topic in self.receivers(to) {
            state.tally.expected.entry(topic).or_default().sent += 1;
        }
        self.write(sent, out);
        self.in_flight.push_back(sent);
    }

    fn write(&self, sent: Sent, out: &mut Vec<u8>) {
        let (sender_username, content) = (self.seat().user.clone(), self.run.content.clone());
        let mut id = String::with_capacity(crate::stamp::LENGTH);
        sent.stamp.write(&mut id);
        match &self.topic(sent.to).name {
            Name::Room(room) => {
                self.put(out, &GroupChat::text(sender_username, Some(room.clone()), content), &id);
            }
            Name::User(target) => {
                self.put(out, &PrivateChat::text(sender_username, target.clone(), content), &id);
            }
        }
    }

    /// The logs that a message to this one is stored in.
    fn receivers(&self, to: u32) -> impl Iterator<Item = u32> + use<> {
        let own = match self.topic(to).is_room() {
            true => None,
            false => self.seat().topics.iter().find(|topic| !self.topic(**topic).is_room()).copied(),
        };
        [Some(to), own.filter(|own| *own != to)].into_iter().flatten()
    }

    /// An `Ack` came for a message.
    pub(crate) fn acked(&mut self, stamp: &Stamp, seq: u64, now: u64, state: &mut State) {
        let mut places = self.in_flight.iter_mut();
        let Some(sent) = places.find(|sent| sent.stamp == *stamp && !sent.is_acked) else {
            state.tally.counts.repeated_acks += 1;
            return;
        };
        sent.is_acked = true;
        let to = sent.to;
        let is_room = self.topic(to).is_room();
        state.tally.counts.acked += 1;
        if self.run.is_measured(stamp.intended) {
            record(&mut state.tally.ack, stamp.intended, now);
        }
        for topic in self.receivers(to) {
            state.tally.expected.entry(topic).or_default().acked(stamp, if is_room { seq } else { 0 });
        }
        self.forget_done();
    }

    /// The connection's own copy of a message came.
    pub(crate) fn came_back(&mut self, stamp: &Stamp) {
        if let Some(sent) = self.in_flight.iter_mut().find(|sent| sent.stamp == *stamp) {
            sent.is_back = true;
            self.forget_done();
        }
    }

    fn forget_done(&mut self) {
        // A message of the schedule is done with its `Ack`; the closed loop waits for the copy too.
        let is_loop = self.left > 0;
        self.in_flight.retain(|sent| !sent.is_acked || (is_loop && !sent.is_back));
    }

    /// A publish was not carried out.
    pub(crate) fn failed(&mut self, stamp: &Stamp, is_unknown: bool, pause: Option<u64>, state: &mut State) {
        let Some(at) = self.in_flight.iter().position(|sent| sent.stamp == *stamp) else { return };
        let to = self.in_flight.remove(at).map_or(0, |sent| sent.to);
        self.paused_until = pause;
        if is_unknown {
            state.tally.counts.unknown += 1;
            return;
        }
        state.tally.counts.refused += 1;
        for topic in self.receivers(to) {
            state.tally.expected.entry(topic).or_default().refused += 1;
        }
    }

    /// The answer to a join.
    pub(crate) fn joined(&mut self, id: &[u8], joined: &Joined, state: &mut State) {
        self.unjoined = self.unjoined.saturating_sub(1);
        let index = match std::str::from_utf8(id).ok().and_then(|id| id.strip_prefix(ENTER_ID)) {
            Some(index) => index.parse().ok(),
            // The private log starts with its first message: those that waited come after this answer.
            None => None,
        };
        let logs = &mut state.logs[self.local];
        if joined.recovered == Some(false) {
            state.tally.counts.gaps += 1;
            let log = match index {
                Some(index) => logs.get_mut::<usize>(index),
                None => logs.iter_mut().find(|log| !self.run.topics[log.topic as usize].is_room()),
            };
            if let (Some(log), Some(next)) = (log, joined.next_seq) {
                log.skip_to(joined.position.epoch.to_string().as_bytes(), next);
            }
        } else if let Some(log) = index.and_then(|index| logs.get_mut(index))
            && !log.is_started()
        {
            log.start_at(joined.position);
        }
    }

    /// Whether the connection has everything now that it joined for; told once.
    pub(crate) fn finish_join(&mut self, now: u64, state: &mut State) {
        let Some(intended) = self.intended_join.filter(|_| self.unjoined == 0) else { return };
        let reached = |log: &crate::log::Log| {
            let goal = self.run.topics[log.topic as usize].goal.load(Ordering::Relaxed);
            log.seq() >= goal
        };
        if state.logs[self.local].iter().all(reached) {
            self.intended_join = None;
            match std::mem::replace(&mut self.was_joined, true) {
                false => state.tally.counts.joined += 1,
                true => state.tally.counts.returned += 1,
            }
            record(&mut state.tally.join, intended, now);
        }
    }

    /// The index of the log of this room (none: of the private log) among those of the connection.
    pub(crate) fn log_of(&self, room: Option<&[u8]>, state: &State) -> Option<usize> {
        state.logs[self.local].iter().position(|log| match (&self.topic(log.topic).name, room) {
            (Name::Room(name), Some(room)) => name.as_str().as_bytes() == room,
            (Name::User(_), None) => true,
            _ => false,
        })
    }

    /// The run.
    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// The index of its logs in the thread's state.
    pub(crate) fn local(&self) -> usize {
        self.local
    }

    /// The seat, by its index in the run.
    pub(crate) fn seat_index(&self) -> u32 {
        self.seat
    }
}
