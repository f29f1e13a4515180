//! What a publish is for the scripts. Owns the order of the arguments of `append.lua`: those of one publish, and those that all of a call
//! share; sends nothing. Made by the broker, sent by the publish queue.

use std::sync::Arc;

use bytes::Bytes;
use redis::Cmd;
use sha2::{Digest, Sha256};

use super::codec;
use super::format_level::FormatLevel;
use super::memory::MemoryGauge;
use super::replicas::Replicas;
use super::slot::Slot;
use super::steady_clock::SteadyClock;
use crate::backend::{Asker, Change, ChangeKind, Links, NewEntry, RightsUpdate, UNOPENED_INBOX};
use crate::config::History;
use crate::protocol::{Action, Role};

/// Length of the hash of a dedupe key.
const DEDUPE_HASH_BYTES: usize = 16;

/// Returns the hash of a dedupe key: a record has one length, however long the key is.
pub(super) fn dedupe_hash(key: &str) -> [u8; DEDUPE_HASH_BYTES] {
    let hash = Sha256::digest(key.as_bytes());
    std::array::from_fn(|index| hash[index])
}

/// When a publish is stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum PublishTerms {
    /// Without a limit of its sender.
    Free = 0,
    /// With the limit of a private log whose user has never connected.
    Charged = 1,
    /// Not if it is new: only a message that a log holds is answered, and completed.
    OnlyRepeat = 2,
    /// The second log of a message that the first one holds: as it is there.
    Second = 8,
}

/// Added to the terms for the first log of a message, if another call writes the second.
const FIRST_OF_TWO: u8 = 4;

/// Added to the terms for a change of an earlier message.
const CHANGE: u8 = 16;

/// Added to the terms for a message that names others.
const LINKS: u8 = 32;

/// Added to the terms if the keys of the rights of the room are given.
const RIGHTS: u8 = 64;

/// Added to the terms for an entry about rights, beside [`RIGHTS`].
const OF_RIGHTS: u8 = 128;

/// One publish, as `append.lua` takes it.
pub(super) struct PublishItem {
    /// Publishes of one slot may go as one call. That of all keys in a cluster, and always the same one for a single Redis.
    pub(super) slot: Slot,
    /// The keys of each log: meta and stream, with a dedupe key also the two dedupe hashes, and for a change or a message with links
    /// the hash of changes; then those of the rights of the room, if it may have some.
    pub(super) keys: Vec<String>,
    /// The hash of the dedupe key, and the key. Empty if nothing repeats the message.
    pub(super) dedupe: Option<([u8; DEDUPE_HASH_BYTES], String)>,
    pub(super) message_id: String,
    pub(super) sent_at: u64,
    pub(super) terms: PublishTerms,
    /// Another call writes a second log.
    pub(super) is_first_of_two: bool,
    pub(super) body: Bytes,
    /// The channel of each log, and its epoch if it is new.
    pub(super) logs: Vec<(String, String)>,
    /// What it is, if it is more than a message that names nothing. Boxed: most are not.
    pub(super) entry: Option<Box<NewEntry>>,
    /// Who asks for it, if the keys of the rights are given.
    pub(super) asker: Option<Asker>,
}

impl PublishItem {
    /// Appends the arguments of this publish.
    pub(super) fn write_to(&self, cmd: &mut Cmd) {
        let (hash, key) = match &self.dedupe {
            Some((hash, key)) => (&hash[..], key.as_str()),
            None => (&[][..], ""),
        };
        cmd.arg(self.logs.len()).arg(hash).arg(key).arg(&self.message_id).arg(self.sent_at);
        let first_of_two = if self.is_first_of_two { FIRST_OF_TWO } else { 0 };
        let kind = match self.entry.as_deref() {
            Some(NewEntry::Change(_)) => CHANGE,
            Some(NewEntry::Message(_)) => LINKS,
            Some(NewEntry::Rights(_) | NewEntry::Note) => OF_RIGHTS,
            None => 0,
        };
        let rights = if self.asker.is_some() { RIGHTS } else { 0 };
        cmd.arg(self.terms as u8 + first_of_two + kind + rights).arg(&self.body[..]);
        for (channel, epoch) in &self.logs {
            cmd.arg(channel).arg(epoch);
        }
        match self.entry.as_deref() {
            Some(NewEntry::Change(change)) => write_change(change, cmd),
            Some(NewEntry::Message(links)) => write_links(links, cmd),
            _ => {}
        }
        if let Some(asker) = &self.asker {
            let author = match self.entry.as_deref().and_then(NewEntry::change).map(|change| &change.kind) {
                Some(ChangeKind::Retract { moderated: Some(author), .. }) => author.as_str(),
                _ => "",
            };
            cmd.arg(asker_text(asker)).arg(author);
        }
        match self.entry.as_deref() {
            Some(NewEntry::Rights(update)) => write_rights(update, cmd),
            Some(NewEntry::Note) => _ = cmd.arg("note").arg(&[""; 5]),
            _ => {}
        }
    }
}

/// Who asks, as `rights.lua` has it.
fn asker_text(asker: &Asker) -> String {
    match asker {
        Asker::Server => String::new(),
        Asker::User(user, grant) => format!("{}{user}", if grant.write { 'g' } else { 'p' }),
        Asker::Unproven(user) => format!("x{user}"),
    }
}

/// Appends the two arguments of a message that names others.
fn write_links(links: &Links, cmd: &mut Cmd) {
    cmd.arg(lines(&links.answers)).arg(lines(&links.mentions));
}

/// Appends the six arguments of an entry about rights.
fn write_rights(update: &RightsUpdate, cmd: &mut Cmd) {
    match update {
        RightsUpdate::Room { kind, topic, slow_mode_ms, owner } => {
            let topic = topic.as_ref().map(|topic| format!("t{topic}")).unwrap_or_default();
            let slow_mode_ms = slow_mode_ms.map(|slow| slow.to_string()).unwrap_or_default();
            cmd.arg("room").arg(owner.as_ref().map_or("", |owner| owner.as_str()));
            cmd.arg(kind.map_or("", |kind| kind.as_str())).arg(topic).arg(slow_mode_ms).arg("");
        }
        RightsUpdate::User { action, user, role, until } => {
            let role = if *action == Action::Invite { Some(Role::Invited) } else { *role };
            let until = until.map(|until| until.to_string()).unwrap_or_default();
            cmd.arg(action.as_str()).arg(user.as_str());
            cmd.arg(role.map_or("", codec::role_letter)).arg(until).arg("").arg("");
        }
        RightsUpdate::Accept(user) => {
            cmd.arg("accept").arg(user.as_str()).arg(&[""; 4]);
        }
    }
}

/// No id or name has a line break.
fn lines<T: ToString>(list: &[T]) -> String {
    list.iter().map(T::to_string).collect::<Vec<_>>().join("\n")
}

/// Appends the seven arguments of a change.
fn write_change(change: &Change, cmd: &mut Cmd) {
    let window = change.window.map(|window| window.as_millis().to_string()).unwrap_or_default();
    cmd.arg(change.target.to_string()).arg(&change.author[..]).arg(window);
    match &change.kind {
        ChangeKind::Edit { if_version, text, max_bytes } => {
            let if_version = if_version.map(|id| id.to_string()).unwrap_or_default();
            cmd.arg("E").arg(&text[..]).arg(if_version).arg(max_bytes);
        }
        ChangeKind::Retract { tombstone, .. } => {
            cmd.arg("R").arg(&tombstone[..]).arg("").arg("");
        }
        ChangeKind::React { user, reaction, on } => {
            cmd.arg(if *on { "+" } else { "-" }).arg(reaction).arg(user.as_str()).arg("");
        }
    }
}

/// What all publishes of a call have in common.
#[derive(Clone)]
pub(super) struct PublishHeader {
    pub(super) retention: History,
    /// The time of the dedupe windows.
    pub(super) steady: Arc<SteadyClock>,
    /// Whether Redis has memory for messages.
    pub(super) memory: Arc<MemoryGauge>,
    /// Whether nodes of an earlier version run.
    pub(super) format: Arc<FormatLevel>,
    /// The command that publishes.
    pub(super) publish_command: &'static str,
    /// The replicas that must have a publish, if any.
    pub(super) replicas: Option<Replicas>,
}

impl PublishHeader {
    /// Appends the arguments that a call has once, before those of its items.
    pub(super) fn write_to(&self, cmd: &mut Cmd) {
        let History { max_messages, max_age, max_bytes, dedupe_window, .. } = &self.retention;
        let window = (dedupe_window.as_millis() as i64).max(1);
        // Before the first reading, the script uses the clock of Redis.
        let number = self.steady.now().map(|now| (now / window).to_string()).unwrap_or_default();
        cmd.arg(max_messages).arg(max_age.as_millis() as u64).arg(max_bytes).arg(window).arg(number);
        cmd.arg(u8::from(self.memory.is_full())).arg(UNOPENED_INBOX.messages).arg(UNOPENED_INBOX.bytes);
        cmd.arg(u8::from(self.format.has_older_nodes())).arg(self.publish_command);
    }
}
