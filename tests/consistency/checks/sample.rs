//! Small histories for the checks' own tests: a flawless server of one room, told step by step what happens, so that
//! a test can put one flaw into it. Owns a clock of its own.

use uuid::Uuid;

use super::{Check, Findings};
use crate::history::{
    Bounds, Damage, Event, History, Line, LogEntry, Micros, Place, Position, Reason, SECOND, Setup, Topic,
    Verdict,
};

pub const ROOM: Topic = Topic::Room(0);

pub struct Sample {
    pub history: History,
    pub epoch: u64,
    pub log: Vec<LogEntry>,
    pub now: Micros,
    conns: Vec<u64>,
    joined: Vec<bool>,
    next: u64,
    finished: bool,
}

impl Sample {
    pub fn new(clients: u16) -> Self {
        let setup = Setup {
            users: (0..clients).collect(),
            keeps_inbox: vec![true; clients.into()],
            bounds: Bounds::default(),
        };
        Self {
            history: History { setup, lines: Vec::new() },
            epoch: 1,
            log: Vec::new(),
            now: 0,
            conns: vec![0; clients.into()],
            joined: vec![false; clients.into()],
            next: 0,
            finished: false,
        }
    }

    pub fn record(&mut self, event: Event) {
        self.now += 1_000;
        self.history.lines.push(Line { at: self.now, event });
    }

    pub fn wait(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn conn(&self, client: u32) -> u64 {
        self.conns[client as usize]
    }

    pub fn top(&self) -> Position {
        let (seq, message_id) = self.log.last().map_or((0, Uuid::nil()), |last| (last.seq, last.message_id));
        Position { epoch: self.epoch, seq, message_id }
    }

    pub fn connect(&mut self, client: u32, node: u8) {
        let conn = self.number();
        self.conns[client as usize] = conn;
        self.record(Event::Connected { client, conn, node });
    }

    /// Connects and enters at the top.
    pub fn enter(&mut self, client: u32, node: u8) {
        self.connect(client, node);
        self.join(client, None, None);
    }

    pub fn join(&mut self, client: u32, since: Option<Position>, verdict: Option<Verdict>) {
        let (conn, top) = (self.conn(client), self.top());
        self.record(Event::Join { client, conn, topic: ROOM, since, history: 0 });
        self.record(Event::Joined { client, conn, topic: ROOM, top, verdict, already: false });
        self.joined[client as usize] = true;
    }

    /// Begins a client's private messages, at an empty log.
    pub fn auth(&mut self, client: u32) {
        let (conn, topic) = (self.conn(client), Topic::Inbox(self.history.setup.users[client as usize]));
        let top = Position { epoch: self.epoch, seq: 0, message_id: Uuid::nil() };
        self.record(Event::Join { client, conn, topic, since: None, history: 0 });
        self.record(Event::Joined { client, conn, topic, top, verdict: None, already: false });
    }

    pub fn close(&mut self, client: u32) {
        let conn = self.conn(client);
        self.joined[client as usize] = false;
        self.record(Event::Closed { client, conn, code: 1006 });
    }

    /// Closes, and wants no other connection.
    pub fn go(&mut self, client: u32) {
        self.close(client);
        self.record(Event::Away { client });
    }

    pub fn leave(&mut self, client: u32) {
        let conn = self.conn(client);
        self.joined[client as usize] = false;
        self.record(Event::Leave { client, conn, topic: ROOM });
        self.record(Event::Left { client, conn, topic: ROOM });
    }

    pub fn send(&mut self, client: u32, id: u128) -> u64 {
        self.send_as(client, id, client as u16)
    }

    pub fn send_as(&mut self, client: u32, id: u128, sender: u16) -> u64 {
        let (op, conn, id) = (self.number(), self.conn(client), Uuid::from_u128(id));
        self.record(Event::Publish { op, client, conn, topic: ROOM, id, sender });
        op
    }

    fn attempt(&self, op: u64) -> (Uuid, u16) {
        let sent = self.history.lines.iter().find_map(|line| match &line.event {
            Event::Publish { op: this, id, sender, .. } if *this == op => Some((*id, *sender)),
            _ => None,
        });
        sent.unwrap()
    }

    pub fn append(&mut self, op: u64) -> LogEntry {
        let (id, sender) = self.attempt(op);
        let message_id = Uuid::from_u128(1_000 + u128::from(self.number()));
        let entry = LogEntry {
            seq: self.top().seq + 1,
            message_id,
            prev: self.top().message_id,
            id: Some(id),
            sender: Some(sender),
        };
        self.log.push(entry.clone());
        entry
    }

    pub fn deliver(&mut self, client: u32, entry: LogEntry) {
        let (conn, at) = (self.conn(client), Place { epoch: self.epoch, seq: entry.seq });
        let (message_id, id, sender) = (entry.message_id, entry.id, entry.sender.unwrap());
        self.record(Event::Received { client, conn, topic: ROOM, at, message_id, sender, id });
    }

    /// Client 0 writes to a user: the first entry of both private logs. Returns the attempt with it.
    pub fn whisper(&mut self, target: u16, id: u128) -> (u64, LogEntry) {
        let (op, conn, id) = (self.number(), self.conn(0), Uuid::from_u128(id));
        self.record(Event::Publish { op, client: 0, conn, topic: Topic::Inbox(target), id, sender: 0 });
        let message_id = Uuid::from_u128(1_000 + u128::from(self.number()));
        (op, LogEntry { seq: 1, message_id, prev: Uuid::nil(), id: Some(id), sender: Some(0) })
    }

    /// It comes to a client as one for its user.
    pub fn deliver_private(&mut self, client: u32, entry: &LogEntry) {
        let (conn, at) = (self.conn(client), Place { epoch: self.epoch, seq: entry.seq });
        let (message_id, id, topic) = (entry.message_id, entry.id, Topic::Inbox(client as u16));
        self.record(Event::Received { client, conn, topic, at, message_id, sender: 0, id });
    }

    pub fn stored(&mut self, op: u64, duplicate: bool) {
        let (id, _) = self.attempt(op);
        let entry = self.log.iter().rev().find(|entry| entry.id == Some(id)).unwrap().clone();
        let at = Place { epoch: self.epoch, seq: entry.seq };
        self.record(Event::Stored { op, at, message_id: entry.message_id, duplicate });
    }

    pub fn acknowledge(&mut self, op: u64) {
        self.stored(op, false);
    }

    pub fn refuse(&mut self, op: u64) {
        self.record(Event::Refused { op, code: "unavailable".into() });
    }

    /// Publishes, delivers to whoever is in the room, acknowledges.
    pub fn say(&mut self, client: u32, id: u128) {
        let everybody: Vec<u32> = (0..self.joined.len() as u32).collect();
        self.say_to(client, id, &everybody);
    }

    /// The same, but only these get it.
    pub fn say_to(&mut self, client: u32, id: u128, members: &[u32]) {
        let op = self.send(client, id);
        let entry = self.append(op);
        for member in members {
            if self.joined[*member as usize] {
                self.deliver(*member, entry.clone());
            }
        }
        self.acknowledge(op);
    }

    pub fn repeat(&mut self, client: u32, id: u128) {
        let op = self.send(client, id);
        self.stored(op, true);
    }

    pub fn gap(&mut self, client: u32, next_seq: u64) {
        let (conn, next) = (self.conn(client), Place { epoch: self.epoch, seq: next_seq });
        self.record(Event::Gap { client, conn, topic: ROOM, reason: Reason::Epoch, next });
    }

    pub fn fault(&mut self, name: &str, damage: Damage) {
        self.record(Event::FaultBegan { name: name.into(), damage });
    }

    pub fn healed(&mut self, name: &str) {
        self.record(Event::FaultEnded { name: name.into() });
    }

    /// The store forgets all; the log starts afresh.
    pub fn wipe(&mut self) {
        self.epoch += 1;
        self.log.clear();
    }

    /// The store loses the log's end, and goes on under the same epoch.
    pub fn roll_back(&mut self, entries: usize) {
        self.log.truncate(self.log.len() - entries);
    }

    pub fn forget_last(&mut self) {
        self.log.pop();
    }

    pub fn swap_last(&mut self) {
        self.log.last_mut().unwrap().message_id = Uuid::from_u128(99);
    }

    pub fn trim(&mut self, entries: usize) {
        self.log.drain(..entries);
    }

    pub fn finish(&mut self) {
        let entries = self.log.clone();
        let epoch = self.epoch;
        self.record(Event::Log { topic: ROOM, epoch, entries });
        self.finished = true;
    }

    pub fn findings(&self) -> Findings {
        assert!(self.finished, "a history without its log proves nothing");
        super::all(&self.history)
    }

    pub fn names(&self) -> Vec<Check> {
        self.findings().names()
    }
}
