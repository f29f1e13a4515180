//! The history of a run: events that clients, the harness and the logs in Redis provide. Owns the events, their order and their
//! file format (one JSON line each); judges nothing. Written by the clients and the injector, read by the checks.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::guarded_event::GuardedEvent;

pub use crate::kind::{Kind, Shown};

/// Microseconds since the start of the run, on one monotonic clock, because all clients are in this process.
pub type Micros = u64;

/// One second.
pub const SECOND: Micros = 1_000_000;

/// One log: of a room, by its number, or the private log of a user, by the number of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topic {
    Room(u16),
    Inbox(u16),
}

/// A position without its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub epoch: u64,
    pub seq: u64,
}

/// A position in a log with the id of the message there, which proves it; nil before the first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    pub epoch: u64,
    pub seq: u64,
    pub message_id: Uuid,
}

impl Position {
    pub fn place(&self) -> Place {
        Place { epoch: self.epoch, seq: self.seq }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    Trimmed,
    Epoch,
    Rollback,
    TooMany,
}

/// The answer of a node to a client that resumed from a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Recovered,
    Not { reason: Reason, next_seq: u64 },
}

/// How a client presents a token to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenUse {
    /// In the handshake.
    Handshake,
    /// In the first `Auth`, after a handshake without a token.
    Auth,
}

/// An entry of a raw log, read from Redis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    pub seq: u64,
    pub message_id: Uuid,
    pub prev: Uuid,
    /// The id of the publish.
    pub id: Option<Uuid>,
    /// The sender in the stored body; none if it is no user of this run.
    pub sender: Option<u16>,
    #[serde(default)]
    pub kind: Kind,
}

/// The resources of a node, by the operating system and its metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub descriptors: u64,
    pub threads: u64,
    /// The tasks of the runtime, by its metric; 0 in older histories, which did not record it.
    #[serde(default)]
    pub tasks: u64,
    pub resident_kib: u64,
    /// The highest value so far.
    pub peak_kib: u64,
    pub connections: u64,
    pub subscriptions: u64,
}

/// The loss that a fault excuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Damage {
    /// No data is lost.
    None,
    /// The store lost all data.
    Wiped,
    /// The store lost the last data, from `since` on.
    RolledBack { since: Micros },
    /// The store lost messages from `since` on that somebody may have heard, but none that it had acknowledged.
    Unacknowledged { since: Micros },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The name of the fault of this run. Always the first line.
    Run { fault: String },
    /// A publish is sent. `op` identifies this attempt, `id` the publish; `sender` is the sender in the request.
    Publish {
        op: u64,
        client: u32,
        conn: u64,
        topic: Topic,
        id: Uuid,
        sender: u16,
        #[serde(default)]
        kind: Kind,
    },
    /// The attempt was acknowledged. `at` is a position in the log of the room, or in the private log of the sender.
    Stored { op: u64, at: Place, message_id: Uuid, duplicate: bool },
    /// The attempt failed and never takes effect.
    Refused { op: u64, code: String },
    /// The outcome is unknown: the answer said so, or there was none.
    Unknown { op: u64 },
    /// A connection is open.
    Connected { client: u32, conn: u64, node: u8 },
    /// A connection ended, with this close code; 1006 if there was none.
    Closed { client: u32, conn: u64, code: u16 },
    /// `Enter` or `Auth` is sent.
    Join { client: u32, conn: u64, topic: Topic, since: Option<Position>, history: u32 },
    /// The `Ack` of an `Enter` or `Auth` was received.
    Joined { client: u32, conn: u64, topic: Topic, top: Position, verdict: Option<Verdict>, already: bool },
    /// The `Enter` or `Auth` failed.
    JoinFailed { client: u32, conn: u64, topic: Topic, code: String },
    /// `Leave` is sent.
    Leave { client: u32, conn: u64, topic: Topic },
    /// The `Ack` of a `Leave` was received.
    Left { client: u32, conn: u64, topic: Topic },
    /// An entry was received. `id` is the id of the publish in the frame; `shown` are the changes of a message that came in it.
    Received {
        client: u32,
        conn: u64,
        topic: Topic,
        at: Place,
        message_id: Uuid,
        sender: u16,
        id: Option<Uuid>,
        #[serde(default)]
        kind: Kind,
        #[serde(default)]
        shown: Option<Shown>,
    },
    /// A page of the newest messages of a room, asked for at `asked`.
    Page { client: u32, conn: u64, room: u16, asked: Micros, epoch: u64, messages: Vec<Shown> },
    /// A `Gap` was received.
    Gap { client: u32, conn: u64, topic: Topic, reason: Reason, next: Place },
    /// A request that was sent at `asked` got no answer in time.
    Unanswered { client: u32, conn: u64, asked: Micros, id: String },
    /// An answer to a request that was not sent on this connection, or was answered before.
    StrayAnswer { client: u32, conn: u64, id: String },
    /// From here on the client wants no connection, until `Back`.
    Away { client: u32 },
    /// From here on the client wants to be connected.
    Back { client: u32 },
    /// The members of a room, by a node that was asked at `asked`.
    Members { room: u16, asked: Micros, users: Vec<u16> },
    /// All tokens of a user were revoked, by a request that was sent at `asked` and answered now.
    Revoked { user: u16, asked: Micros },
    /// A token whose revocation was confirmed at `answered` was presented to a node at `asked`. Recorded only if the node gave a
    /// definite answer.
    Probed { user: u16, answered: Micros, asked: Micros, node: u8, by: TokenUse, admitted: bool },
    /// One injection, of one fault or several in a row.
    Injected { name: String },
    /// A fault begins.
    FaultBegan { name: String, damage: Damage },
    /// The fault with this name that began last ends.
    FaultEnded { name: String },
    /// How often the nodes read logs while all clients reconnected: of all rooms, the maximum of one room, and the same for
    /// private logs.
    LogsRead { rooms: u64, of_a_room: u64, private: u64, of_a_user: u64 },
    /// From here on some clients read nothing.
    NonReadersStarted,
    /// The resources of a node: after its start, and at the `end`, after all clients have left.
    Holds { node: u8, pid: u32, end: bool, resources: Resources },
    /// A line with a panic in the output of a node.
    Panicked { node: u8, line: String },
    /// Something happened to the room with rights.
    Guarded(GuardedEvent),
    /// A raw log, read from Redis at the end of the run.
    Log { topic: Topic, epoch: u64, entries: Vec<LogEntry> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub at: Micros,
    pub event: Event,
}

/// What the checks must know about the clients and the bounds of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The user of each client, by the client's number.
    pub users: Vec<u16>,
    /// Whether each client stores a position of its private log.
    pub keeps_inbox: Vec<bool>,
    /// The bounds of this run.
    pub bounds: Bounds,
}

/// The bounds in the guarantees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// After the end of a fault every client has reached the top within this time.
    pub recovery: Micros,
    /// An absent user is listed no longer than this.
    pub ghost: Micros,
    /// A connected user is not missing from the list for longer than this.
    pub absent: Micros,
    /// The connection of a revoked token closes within this time.
    pub revocation: Micros,
    /// The same if a fault may have lost the notice.
    pub revocation_in_fault: Micros,
    /// How many messages a log holds before it drops the oldest; none: all messages of the run.
    #[serde(default)]
    pub keeps: Option<usize>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            recovery: 10 * SECOND,
            ghost: 30 * SECOND,
            absent: 10 * SECOND,
            revocation: 2 * SECOND,
            revocation_in_fault: 30 * SECOND,
            keeps: None,
        }
    }
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    pub setup: Setup,
    pub lines: Vec<Line>,
}

impl History {
    /// Writes the setup and then one line per event.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        serde_json::to_writer(&mut file, &self.setup)?;
        file.write_all(b"\n")?;
        for line in &self.lines {
            serde_json::to_writer(&mut file, line)?;
            file.write_all(b"\n")?;
        }
        file.flush()
    }

    /// Reads what `save` wrote.
    pub fn load(path: &Path) -> std::io::Result<Self> {
        let mut lines = BufReader::new(std::fs::File::open(path)?).lines();
        let setup = lines.next().ok_or(std::io::ErrorKind::UnexpectedEof)??;
        let setup = serde_json::from_str(&setup)?;
        let lines = lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect::<std::io::Result<_>>()?;
        Ok(Self { setup, lines })
    }
}

/// Records all events in one order.
pub struct Recorder {
    start: Instant,
    lines: Mutex<Vec<Line>>,
    next: AtomicU64,
}

impl Recorder {
    pub fn new() -> Self {
        Self { start: Instant::now(), lines: Mutex::default(), next: AtomicU64::new(1) }
    }

    pub fn now(&self) -> Micros {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A number that is unique in the run, for an attempt or a connection.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Records an event. Takes the time under the lock, so that the lines are in the order of their times.
    pub fn record(&self, event: Event) {
        let mut lines = self.lines.lock().expect("no task panics while it holds the lock");
        let at = self.now();
        lines.push(Line { at, event });
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.lock().expect("no task panics while it holds the lock").len()
    }

    /// Passes the lines from number `from` on to `judge`.
    pub fn look<T>(&self, from: usize, judge: impl FnOnce(&[Line]) -> T) -> T {
        judge(&self.lines.lock().expect("no task panics while it holds the lock")[from..])
    }

    /// The run as it is now.
    pub fn finish(&self, setup: Setup) -> History {
        History {
            setup,
            lines: std::mem::take(&mut *self.lines.lock().expect("no task panics while it holds the lock")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_history_loads_unchanged() {
        let recorder = Recorder::new();
        let id = Uuid::from_u128(7);
        recorder.record(Event::Publish {
            op: 1,
            client: 0,
            conn: 2,
            topic: Topic::Room(3),
            id,
            sender: 0,
            kind: Kind::React { target: id, on: true },
        });
        recorder.record(Event::Joined {
            client: 0,
            conn: 2,
            topic: Topic::Inbox(0),
            top: Position { epoch: u64::MAX, seq: 5, message_id: id },
            verdict: Some(Verdict::Not { reason: Reason::TooMany, next_seq: 9 }),
            already: false,
        });
        recorder.record(Event::FaultBegan { name: "x".into(), damage: Damage::RolledBack { since: 4 } });
        let setup = Setup { users: vec![0], keeps_inbox: vec![true], bounds: Bounds::default() };
        let history = recorder.finish(setup);
        let file = tempfile::NamedTempFile::new().unwrap();
        history.save(file.path()).unwrap();
        assert_eq!(History::load(file.path()).unwrap(), history);
    }
}
