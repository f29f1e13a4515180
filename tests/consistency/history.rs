//! What happened in a run, as far as clients, the harness and Redis's own log can tell. Owns the events, their order
//! and their file form (one JSON line each); judges nothing. Written by clients and faults, read by the checks.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Microseconds since the run began, on one monotonic clock: all clients live in this process.
pub type Micros = u64;

/// One second.
pub const SECOND: Micros = 1_000_000;

/// One log: a room's by its number, or the private log of a user by the user's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topic {
    Room(u16),
    Inbox(u16),
}

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub epoch: u64,
    pub seq: u64,
}

/// A place with the proof: the message there, nil before the first.
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

/// What a node said to a client that came back with a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Recovered,
    Not { reason: Reason, next_seq: u64 },
}

/// How a token is shown to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenUse {
    /// With the handshake.
    Handshake,
    /// With a first `Auth`, after a handshake without one.
    Auth,
}

/// An entry of a raw log, read from Redis itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    pub seq: u64,
    pub message_id: Uuid,
    pub prev: Uuid,
    /// The publish's own id.
    pub id: Option<Uuid>,
    /// The sender that the stored body names; none where it is nobody of this run.
    pub sender: Option<u16>,
}

/// What the operating system and the metrics say a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub descriptors: u64,
    pub threads: u64,
    /// The runtime's own, as the metric has it; 0 in histories of before it was written down.
    #[serde(default)]
    pub tasks: u64,
    pub resident_kib: u64,
    /// The most that it ever was.
    pub peak_kib: u64,
    pub connections: u64,
    pub subscriptions: u64,
}

/// How a fault excuses what could not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Damage {
    /// Everything can be kept.
    None,
    /// The store lost everything that it held.
    Wiped,
    /// The store lost the end of what it held: all from `since` on.
    RolledBack { since: Micros },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// What the run is made for: the fault, by its name. The first line.
    Run { fault: String },
    /// A publish is sent. `op` names this attempt, `id` the publish; `sender` is the name that it claims.
    Publish { op: u64, client: u32, conn: u64, topic: Topic, id: Uuid, sender: u16 },
    /// The attempt was acknowledged. `at` is a place in the room's log, or in the sender's private log.
    Stored { op: u64, at: Place, message_id: Uuid, duplicate: bool },
    /// The attempt failed and will never take effect.
    Refused { op: u64, code: String },
    /// Nobody knows: the answer said so, or none came.
    Unknown { op: u64 },
    /// A connection is open.
    Connected { client: u32, conn: u64, node: u8 },
    /// It ended; the close code, 1006 where there was none.
    Closed { client: u32, conn: u64, code: u16 },
    /// `Enter` or `Auth` is sent.
    Join { client: u32, conn: u64, topic: Topic, since: Option<Position>, history: u32 },
    /// Its `Ack` came.
    Joined { client: u32, conn: u64, topic: Topic, top: Position, verdict: Option<Verdict>, already: bool },
    /// It was refused.
    JoinFailed { client: u32, conn: u64, topic: Topic, code: String },
    /// `Leave` is sent.
    Leave { client: u32, conn: u64, topic: Topic },
    /// Its `Ack` came.
    Left { client: u32, conn: u64, topic: Topic },
    /// A message came. `id` is the publish's id as the frame bears it.
    Received {
        client: u32,
        conn: u64,
        topic: Topic,
        at: Place,
        message_id: Uuid,
        sender: u16,
        id: Option<Uuid>,
    },
    /// A gap was signalled.
    Gap { client: u32, conn: u64, topic: Topic, reason: Reason, next: Place },
    /// A request of `asked` has had no answer for longer than anybody waits.
    Unanswered { client: u32, conn: u64, asked: Micros, id: String },
    /// An answer to a request that was not made on this connection, or has been answered.
    StrayAnswer { client: u32, conn: u64, id: String },
    /// From here on the client wants no connection, until `Back`.
    Away { client: u32 },
    /// From here on the client wants to be connected.
    Back { client: u32 },
    /// Who a node said was in a room, asked at `asked`.
    Members { room: u16, asked: Micros, users: Vec<u16> },
    /// All tokens of a user were revoked, as was asked at `asked`: the answer came now.
    Revoked { user: u16, asked: Micros },
    /// A token that was revoked, with the answer at `answered`, was shown to a node anew at `asked`. Written down only
    /// where the node knew what to say.
    Probed { user: u16, answered: Micros, asked: Micros, node: u8, by: TokenUse, admitted: bool },
    /// One disturbance, of one or several faults in a row.
    Injected { name: String },
    /// A fault begins.
    FaultBegan { name: String, damage: Damage },
    /// The last begun fault is over.
    FaultEnded { name: String },
    /// How often the nodes read the logs while everybody came back: of all rooms, of one room at most; the same for
    /// private logs.
    LogsRead { rooms: u64, of_a_room: u64, private: u64, of_a_user: u64 },
    /// From here on there are clients that read nothing.
    NonReadersStarted,
    /// What a node holds: just after it was started, and at the `end`, after all clients have gone.
    Holds { node: u8, pid: u32, end: bool, resources: Resources },
    /// A line of a node's output that says so.
    Panicked { node: u8, line: String },
    /// A raw log, read from Redis at the end of the run.
    Log { topic: Topic, epoch: u64, entries: Vec<LogEntry> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub at: Micros,
    pub event: Event,
}

/// What a checker must know of the setup: who a client is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The user of each client, by the client's number.
    pub users: Vec<u16>,
    /// Whether each client keeps its own position of its private log.
    pub keeps_inbox: Vec<bool>,
    /// Bounds that apply to this run.
    pub bounds: Bounds,
}

/// Times that the guarantees name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// After a fault heals every client is at the top within this.
    pub recovery: Micros,
    /// A user who is gone is shown no longer than this.
    pub ghost: Micros,
    /// A connected user is not shown absent for longer than this.
    pub absent: Micros,
    /// A revoked token's connection is closed within this.
    pub revocation: Micros,
    /// The same where the notice may have been lost in a fault.
    pub revocation_in_fault: Micros,
    /// How many messages a log holds before it lets go of the oldest; none: all of this run's.
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

/// Where all that happens is written down, in one order.
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

    /// A number that nothing else in the run has: for an attempt, or a connection.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The time is taken under the lock, so that lines are in the order of their times.
    pub fn record(&self, event: Event) {
        let mut lines = self.lines.lock().expect("no one panics while recording");
        let at = self.now();
        lines.push(Line { at, event });
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.lock().expect("no one panics while recording").len()
    }

    /// Looks at the lines from number `from` on.
    pub fn look<T>(&self, from: usize, judge: impl FnOnce(&[Line]) -> T) -> T {
        judge(&self.lines.lock().expect("no one panics while recording")[from..])
    }

    /// The run as it is now.
    pub fn finish(&self, setup: Setup) -> History {
        History {
            setup,
            lines: std::mem::take(&mut *self.lines.lock().expect("no one panics while recording")),
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
        recorder.record(Event::Publish { op: 1, client: 0, conn: 2, topic: Topic::Room(3), id, sender: 0 });
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
