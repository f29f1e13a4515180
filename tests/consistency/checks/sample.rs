//! Small histories for the tests of the checks: a correct server with one room that a test drives step by step, so that it
//! can add one error. Owns its own clock.

use uuid::Uuid;

use super::{Check, Findings};
use crate::history::{
    Bounds, Damage, Event, History, Kind, Line, LogEntry, Micros, Place, Position, Reason, SECOND, Setup,
    Shown, Topic, Verdict,
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

    /// Two clients in the room, at two nodes, after two messages.
    pub fn conversation() -> Self {
        let mut run = Self::new(2);
        run.enter(0, 0);
        run.enter(1, 1);
        run.say(0, 1);
        run.say(0, 2);
        run
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
        self.join_with_history(client, since, verdict, 0);
    }

    pub fn join_with_history(
        &mut self,
        client: u32,
        since: Option<Position>,
        verdict: Option<Verdict>,
        history: u32,
    ) {
        let (conn, top) = (self.conn(client), self.top());
        self.record(Event::Join { client, conn, topic: ROOM, since, history });
        self.record(Event::Joined { client, conn, topic: ROOM, top, verdict, already: false });
        self.joined[client as usize] = true;
    }

    /// A client that has joined sends a position.
    pub fn join_late(&mut self, client: u32, since: Position, verdict: Verdict) {
        let (conn, top) = (self.conn(client), self.top());
        self.record(Event::Join { client, conn, topic: ROOM, since: Some(since), history: 0 });
        self.record(Event::Joined { client, conn, topic: ROOM, top, verdict: Some(verdict), already: true });
    }

    /// Starts a client's private messages with an empty log.
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

    /// Closes the connection for good.
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
        self.send_kind(client, id, sender, Kind::Message)
    }

    fn send_kind(&mut self, client: u32, id: u128, sender: u16, kind: Kind) -> u64 {
        let (op, conn, id) = (self.number(), self.conn(client), Uuid::from_u128(id));
        self.record(Event::Publish { op, client, conn, topic: ROOM, id, sender, kind });
        op
    }

    /// Publishes a change, delivers it to all members of the room, and acknowledges it.
    pub fn change(&mut self, client: u32, id: u128, kind: Kind) {
        let op = self.send_kind(client, id, client as u16, kind);
        let entry = LogEntry { kind, ..self.append(op) };
        *self.log.last_mut().unwrap() = entry.clone();
        if let Kind::Retract { target } = kind {
            let erased = |entry: &LogEntry| entry.message_id == target || entry.kind == Kind::Edit { target };
            for entry in self.log.iter_mut().filter(|entry| erased(entry)) {
                let is_edit = entry.kind.is_change();
                (entry.id, entry.kind) = (None, if is_edit { Kind::ErasedEdit } else { Kind::Tombstone });
            }
        }
        for member in 0..self.joined.len() as u32 {
            if self.joined[member as usize] {
                self.deliver(member, entry.clone());
            }
        }
        self.acknowledge(op);
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
            kind: Kind::Message,
        };
        self.log.push(entry.clone());
        entry
    }

    pub fn deliver(&mut self, client: u32, entry: LogEntry) {
        let (conn, at) = (self.conn(client), Place { epoch: self.epoch, seq: entry.seq });
        let LogEntry { message_id, id, sender, kind, .. } = entry;
        let sender = sender.unwrap();
        self.record(Event::Received {
            client,
            conn,
            topic: ROOM,
            at,
            message_id,
            sender,
            id,
            kind,
            shown: None,
        });
    }

    /// Delivers the entry at a place of the log as its changes have left it.
    pub fn deliver_now(&mut self, client: u32, index: usize) {
        let LogEntry { seq, message_id, id, sender, kind, .. } = self.log[index].clone();
        let of_it =
            |entry: &&LogEntry| matches!(entry.kind, Kind::React { target, .. } if target == message_id);
        let reactions = self.log.iter().filter(of_it).count();
        let shown = (reactions > 0).then(|| Shown {
            message_id,
            text: id,
            edit: None,
            is_retracted: false,
            reactions,
            changes_seq: Some(self.top().seq),
        });
        let (conn, at, sender) = (self.conn(client), Place { epoch: self.epoch, seq }, sender.unwrap());
        self.record(Event::Received { client, conn, topic: ROOM, at, message_id, sender, id, kind, shown });
    }

    /// Client 0 writes to a user: the first entry of both private logs. Returns the attempt and the entry.
    pub fn whisper(&mut self, target: u16, id: u128) -> (u64, LogEntry) {
        let (op, conn, id) = (self.number(), self.conn(0), Uuid::from_u128(id));
        self.record(Event::Publish {
            op,
            client: 0,
            conn,
            topic: Topic::Inbox(target),
            id,
            sender: 0,
            kind: Kind::Message,
        });
        let message_id = Uuid::from_u128(1_000 + u128::from(self.number()));
        (
            op,
            LogEntry {
                seq: 1,
                message_id,
                prev: Uuid::nil(),
                id: Some(id),
                sender: Some(0),
                kind: Kind::Message,
            },
        )
    }

    /// Delivers an entry to a client as a private message for its user.
    pub fn deliver_private(&mut self, client: u32, entry: &LogEntry) {
        let (conn, at) = (self.conn(client), Place { epoch: self.epoch, seq: entry.seq });
        let (message_id, id, topic) = (entry.message_id, entry.id, Topic::Inbox(client as u16));
        let kind = entry.kind;
        self.record(Event::Received {
            client,
            conn,
            topic,
            at,
            message_id,
            sender: 0,
            id,
            kind,
            shown: None,
        });
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

    /// Publishes, delivers to all members of the room, and acknowledges.
    pub fn say(&mut self, client: u32, id: u128) {
        let everybody: Vec<u32> = (0..self.joined.len() as u32).collect();
        self.say_to(client, id, &everybody);
    }

    /// The same, but delivers only to these members.
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

    pub fn begin_fault(&mut self, name: &str, damage: Damage) {
        self.record(Event::FaultBegan { name: name.into(), damage });
    }

    pub fn end_fault(&mut self, name: &str) {
        self.record(Event::FaultEnded { name: name.into() });
    }

    /// The store loses all data; a new log starts.
    pub fn wipe(&mut self) {
        self.epoch += 1;
        self.log.clear();
    }

    /// The store loses the last entries of the log and continues under the same epoch.
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

/// Two private messages with these entries in the recipient's log.
pub fn two_private_messages(entries: &[u64], keeps: Option<usize>) -> Vec<Check> {
    let mut run = Sample::new(2);
    run.history.setup.bounds.keeps = keeps;
    run.connect(0, 0);
    let said: Vec<_> = [1, 2].into_iter().map(|id| run.whisper(1, id)).collect();
    let mut prev = Uuid::nil();
    let mut own = Vec::new();
    for (seq, (op, entry)) in (1..).zip(&said) {
        let at = Place { epoch: run.epoch, seq };
        let message_id = entry.message_id;
        run.record(Event::Stored { op: *op, at, message_id, duplicate: false });
        own.push(LogEntry { seq, prev, ..entry.clone() });
        prev = message_id;
    }
    let mut theirs: Vec<LogEntry> = Vec::new();
    for (seq, which) in (1..).zip(entries) {
        let prev = theirs.last().map_or(Uuid::nil(), |last| last.message_id);
        theirs.push(LogEntry { seq, prev, ..said[*which as usize].1.clone() });
    }
    if keeps.is_some() {
        theirs.remove(0);
    }
    for (user, entries) in [(0, own), (1, theirs)] {
        run.record(Event::Log { topic: Topic::Inbox(user), epoch: run.epoch, entries });
    }
    run.finish();
    run.names()
}
