//! What the changes of messages come to. Owns the fold of entries, and the states that a message went through; knows no clients.
//! Called by the checks of changes.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use crate::checks::index::RawLog;
use crate::history::{Kind, LogEntry, Shown};

/// A message with its changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folded {
    text: Option<Uuid>,
    edit: Option<Uuid>,
    is_retracted: bool,
    reactions: BTreeSet<u16>,
}

impl Folded {
    fn retracted() -> Self {
        Self { is_retracted: true, ..Self::default() }
    }

    fn apply(&mut self, change: &Entry) {
        match change.kind {
            _ if self.is_retracted => {}
            // A client that has the edit already may be sent an older one.
            Kind::Edit { .. } if self.edit.is_some_and(|edit| edit > change.message_id) => {}
            Kind::Edit { .. } => (self.text, self.edit) = (change.id, Some(change.message_id)),
            Kind::Retract { .. } => *self = Self::retracted(),
            Kind::React { on: true, .. } => {
                self.reactions.insert(change.sender);
            }
            Kind::React { on: false, .. } => {
                self.reactions.remove(&change.sender);
            }
            Kind::Message | Kind::Tombstone | Kind::ErasedEdit => {}
        }
    }

    /// Whether a message is shown like this. `is_erased`: the log has no texts of it any more.
    fn is_shown_as(&self, shown: &Shown, is_erased: bool) -> bool {
        let texts_fit = if is_erased && !self.is_retracted {
            shown.text.is_some()
        } else {
            (self.text, self.edit) == (shown.text, shown.edit)
        };
        texts_fit && (self.is_retracted, self.reactions.len()) == (shown.is_retracted, shown.reactions)
    }
}

/// An entry, as a client or the log has it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub message_id: Uuid,
    pub id: Option<Uuid>,
    pub sender: u16,
    pub kind: Kind,
    /// What a message was when it came, and up to which `seq` its reactions were in it.
    pub folded: Option<(Folded, u64)>,
}

impl From<&LogEntry> for Entry {
    fn from(entry: &LogEntry) -> Self {
        let (message_id, id, sender) = (entry.message_id, entry.id, entry.sender.unwrap_or(u16::MAX));
        Self { message_id, id, sender, kind: entry.kind, folded: None }
    }
}

/// The message that a change names.
fn target(kind: Kind) -> Option<Uuid> {
    match kind {
        Kind::Edit { target } | Kind::Retract { target } | Kind::React { target, .. } => Some(target),
        Kind::Message | Kind::Tombstone | Kind::ErasedEdit => None,
    }
}

/// What entries come to, in the order of the log, by message.
pub fn fold(entries: impl Iterator<Item = (u64, Entry)>) -> HashMap<Uuid, Folded> {
    let mut messages: HashMap<Uuid, (Folded, u64)> = HashMap::new();
    for (seq, entry) in entries {
        let begun = match entry.kind {
            Kind::Message => (Folded { text: entry.id, ..Folded::default() }, 0),
            Kind::Tombstone => (Folded::retracted(), 0),
            change => {
                let message = target(change).and_then(|target| messages.get_mut(&target));
                if let Some((folded, until)) = message
                    && (seq > *until || !matches!(change, Kind::React { .. }))
                {
                    folded.apply(&entry);
                }
                continue;
            }
        };
        messages.insert(entry.message_id, entry.folded.unwrap_or(begun));
    }
    messages.into_iter().map(|(message_id, (folded, _))| (message_id, folded)).collect()
}

/// The messages of a log and their changes.
pub struct Changes<'a> {
    pub log: &'a RawLog<'a>,
    /// By message.
    pub at_end: HashMap<Uuid, Folded>,
    /// The changes of each message, in the order of the log.
    of: HashMap<Uuid, Vec<(u64, Entry)>>,
}

impl<'a> Changes<'a> {
    pub fn new(log: &'a RawLog<'a>) -> Self {
        let mut of: HashMap<Uuid, Vec<(u64, Entry)>> = HashMap::new();
        for (seq, entry) in &log.entries {
            if let Some(target) = target(entry.kind) {
                of.entry(target).or_default().push((*seq, Entry::from(*entry)));
            }
        }
        let at_end = fold(log.entries.iter().map(|(seq, entry)| (*seq, Entry::from(*entry))));
        Self { log, at_end, of }
    }

    /// What a message was that is shown like this, after the entry `from` or a later one. None if it never was like this.
    pub fn shown(&self, shown: &Shown, from: u64) -> Option<Folded> {
        let message = self.log.by_message.get(&shown.message_id).filter(|entry| !entry.kind.is_change())?;
        let is_erased = message.kind == Kind::Tombstone;
        let (first, last) = shown.changes_seq.map_or((from, u64::MAX), |seq| (seq.max(from), seq));
        let mut folded = Folded { text: message.id, ..Folded::default() };
        for (seq, change) in self.of.get(&shown.message_id).into_iter().flatten() {
            if *seq > first && folded.is_shown_as(shown, is_erased) || *seq > last {
                break;
            }
            folded.apply(change);
        }
        let is_right = first <= last && folded.is_shown_as(shown, is_erased);
        is_right.then_some(Folded { text: shown.text, edit: shown.edit, ..folded })
    }
}
