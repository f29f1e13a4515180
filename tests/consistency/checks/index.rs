//! An index over a history. Owns the lookup of publishes, faults and raw logs; judges nothing. Built once per history, read
//! by every check.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use crate::history::{Damage, Event, History, LogEntry, Micros, Place, SECOND, Topic};

/// A fault, from its beginning to its end.
#[derive(Debug, Clone)]
pub struct Window {
    pub from: Micros,
    pub to: Micros,
    pub name: String,
    pub damage: Damage,
}

/// How an attempt to publish ended.
#[derive(Debug, Clone)]
pub enum End {
    Stored { at: Place, message_id: Uuid, duplicate: bool },
    Refused { code: String },
    Unknown,
}

/// One publish on the wire.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub sent: Micros,
    pub client: u32,
    pub conn: u64,
    pub topic: Topic,
    /// The id of the publish.
    pub id: Uuid,
    pub end: Option<(Micros, End)>,
}

/// A raw log as Redis holds it at the end.
pub struct RawLog<'a> {
    pub epoch: u64,
    pub entries: BTreeMap<u64, &'a LogEntry>,
    pub by_message: HashMap<Uuid, &'a LogEntry>,
}

impl RawLog<'_> {
    /// Whether it still holds the message that a position names.
    pub fn holds(&self, place: Place, message_id: Uuid) -> bool {
        self.epoch == place.epoch
            && match self.entries.get(&place.seq) {
                Some(entry) => entry.message_id == message_id,
                None => place.seq == 0 && message_id.is_nil(),
            }
    }

    /// The first `seq` that it holds; 1 if it is empty.
    pub fn first(&self) -> u64 {
        self.entries.keys().next().copied().unwrap_or(1)
    }

    pub fn top(&self) -> u64 {
        self.entries.keys().next_back().copied().unwrap_or(0)
    }
}

pub struct Index<'a> {
    pub history: &'a History,
    pub windows: Vec<Window>,
    pub attempts: BTreeMap<u64, Attempt>,
    pub by_id: HashMap<Uuid, Vec<u64>>,
    pub logs: HashMap<Topic, RawLog<'a>>,
    /// By message: when a client first saw it or its `Ack`, and the id of its publish.
    first_seen: HashMap<Uuid, (Micros, Option<Uuid>)>,
    /// The messages that the logs hold at the end.
    held: HashSet<Uuid>,
    /// When each `Ack` of a publish came, and how long it took.
    acks: Vec<(Micros, Micros)>,
    pub end: Micros,
}

/// A publish takes a few milliseconds. If half of them take longer than this, requests exceed their deadlines because the
/// machine has too few processors. Measured on two cores with a load of 16: half of them took over 800 ms.
const OVERLOADED: Micros = SECOND / 5;

impl<'a> Index<'a> {
    pub fn new(history: &'a History) -> Self {
        let end = history.lines.last().map_or(0, |line| line.at);
        let mut index = Self {
            history,
            windows: Vec::new(),
            attempts: BTreeMap::new(),
            by_id: HashMap::new(),
            logs: HashMap::new(),
            first_seen: HashMap::new(),
            held: HashSet::new(),
            acks: Vec::new(),
            end,
        };
        for line in &history.lines {
            match &line.event {
                Event::Publish { op, client, conn, topic, id, .. } => {
                    let (client, conn, topic, id) = (*client, *conn, *topic, *id);
                    index.attempts.insert(*op, Attempt { sent: line.at, client, conn, topic, id, end: None });
                    index.by_id.entry(id).or_default().push(*op);
                }
                Event::Stored { op, at, message_id, duplicate } => {
                    let id = index.attempts.get(op).map(|attempt| {
                        index.acks.push((line.at, line.at - attempt.sent));
                        attempt.id
                    });
                    index.first_seen.entry(*message_id).or_insert((line.at, id));
                    let end = End::Stored { at: *at, message_id: *message_id, duplicate: *duplicate };
                    index.ended(*op, line.at, end);
                }
                Event::Received { message_id, id, .. } => {
                    index.first_seen.entry(*message_id).or_insert((line.at, *id));
                }
                Event::Refused { op, code } => {
                    index.ended(*op, line.at, End::Refused { code: code.clone() });
                }
                Event::Unknown { op } => index.ended(*op, line.at, End::Unknown),
                Event::FaultBegan { name, damage } => {
                    index.windows.push(Window {
                        from: line.at,
                        to: end,
                        name: name.clone(),
                        damage: *damage,
                    });
                }
                Event::FaultEnded { name } => {
                    if let Some(window) = index.windows.iter_mut().rev().find(|w| w.name == *name) {
                        window.to = line.at;
                    }
                }
                Event::Log { topic, epoch, entries } => {
                    index.held.extend(entries.iter().map(|entry| entry.message_id));
                    let by_message = entries.iter().map(|entry| (entry.message_id, entry)).collect();
                    let entries = entries.iter().map(|entry| (entry.seq, entry)).collect();
                    index.logs.insert(*topic, RawLog { epoch: *epoch, entries, by_message });
                }
                _ => {}
            }
        }
        index
    }

    fn ended(&mut self, op: u64, at: Micros, end: End) {
        if let Some(attempt) = self.attempts.get_mut(&op) {
            attempt.end = Some((at, end));
        }
    }

    pub fn user(&self, client: u32) -> u16 {
        self.history.setup.users[client as usize]
    }

    /// Whether the message of an attempt may be missing: a fault destroyed it after it was sent, or rolled the log back to
    /// before its `Ack`.
    pub fn excused(&self, attempt: &Attempt) -> bool {
        let ended = attempt.end.as_ref().map_or(Micros::MAX, |(at, _)| *at);
        self.windows.iter().any(|window| match window.damage {
            Damage::None | Damage::Unacknowledged { .. } => false,
            Damage::Wiped => attempt.sent <= window.to,
            Damage::RolledBack { since } => attempt.sent <= window.to && ended >= since,
        })
    }

    /// Whether a log may have dropped entries before its first one: only a full log does that.
    pub fn trims(&self, log: &RawLog<'_>) -> bool {
        self.history.setup.bounds.keeps.is_some_and(|keeps| log.entries.len() >= keeps)
    }

    /// Whether the message of an attempt may have been rolled back, so that another message has its position now.
    pub fn rolled_back(&self, attempt: &Attempt) -> bool {
        let ended = attempt.end.as_ref().map_or(Micros::MAX, |(at, _)| *at);
        let window = self.rollback_between(attempt.sent, ended);
        window.is_some_and(|window| matches!(window.damage, Damage::RolledBack { .. }))
    }

    /// The fault that rolled a message back: the message was sent before the fault ended, no client saw it before the
    /// rollback point, and no log holds it now. None for a message that has to be kept.
    pub fn rollback_of(&self, message_id: Uuid) -> Option<&Window> {
        let (first, id) = self.first_seen.get(&message_id).filter(|_| !self.held.contains(&message_id))?;
        let sent = self.attempts.get(self.by_id.get(&(*id)?)?.first()?)?.sent;
        self.rollback_between(sent, *first)
    }

    /// Whether what a client asked for and received at these times may have been rolled back since it was read.
    pub fn may_roll_back(&self, asked: Micros, at: Micros) -> bool {
        self.rollback_between(asked, at).is_some()
    }

    fn rollback_between(&self, sent: Micros, seen: Micros) -> Option<&Window> {
        self.windows.iter().find(|window| match window.damage {
            Damage::RolledBack { since } | Damage::Unacknowledged { since } => {
                sent <= window.to && seen >= since
            }
            Damage::None | Damage::Wiped => false,
        })
    }

    /// The end of the last fault that overlaps `from..=to`; `from` if there was none.
    pub fn last_fault_end(&self, from: Micros, to: Micros) -> Micros {
        self.windows
            .iter()
            .filter(|window| window.from <= to && window.to >= from)
            .map(|window| window.to)
            .fold(from, Micros::max)
    }

    /// The end of the first period of length `bound` after `from` that overlaps no fault and none of `spans`. None if the run
    /// ended before that.
    pub fn undisturbed(&self, from: Micros, bound: Micros, spans: &[(Micros, Micros)]) -> Option<Micros> {
        let mut start = from;
        loop {
            let faults = self.windows.iter().map(|window| (window.from, window.to));
            let disturbed = faults.chain(spans.iter().copied());
            match disturbed.filter(|(a, b)| *a < start + bound && *b > start).map(|(_, b)| b).max() {
                Some(Micros::MAX) => return None,
                Some(until) => start = until,
                None => return (start + bound <= self.end).then_some(start + bound),
            }
        }
    }

    /// Whether the machine was too busy between these moments for any deadline to count. A period without a single
    /// acknowledgement is no excuse.
    pub fn overloaded(&self, from: Micros, to: Micros) -> bool {
        let first = self.acks.partition_point(|(at, _)| *at < from);
        let after = self.acks.partition_point(|(at, _)| *at <= to).max(first);
        let mut took: Vec<Micros> = self.acks[first..after].iter().map(|(_, took)| *took).collect();
        let half = took.len() / 2;
        !took.is_empty() && *took.select_nth_unstable(half).1 > OVERLOADED
    }

    /// The first moment from `at` on in which no fault is active.
    pub fn calm(&self, at: Micros) -> Micros {
        let mut calm = at;
        while let Some(window) = self.windows.iter().find(|w| w.from <= calm && calm < w.to) {
            calm = window.to;
        }
        calm
    }
}
