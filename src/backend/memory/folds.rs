//! What the changes of the messages of one log come to, in memory. Owns the rules of a change, which are those of `change.lua`;
//! the log owns the entries. Called by the log.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::backend::change::{MAX_ANSWERS, MAX_EDITS, MAX_MENTIONS, MAX_REACTIONS, MAX_REACTIONS_OF_ALL};
use crate::backend::{Change, ChangeKind, ChangeRefusal, Entry, Fold};
use crate::protocol::stored::{content_bytes, is_message};
use crate::protocol::{MessageId, UserName};

/// The changes of one message.
#[derive(Default)]
struct Folded {
    edit: Option<(MessageId, Bytes)>,
    /// The `seq` of each edit: a retraction erases them too.
    edits: Vec<u64>,
    is_retracted: bool,
    reactions: Vec<(String, Vec<UserName>)>,
    /// The `seq` of each message that answers it.
    answers: VecDeque<u64>,
}

impl Folded {
    fn is_empty(&self) -> bool {
        self.edit.is_none() && self.reactions.is_empty() && self.answers.is_empty() && !self.is_retracted
    }
}

/// What a message names.
struct Linked {
    /// The `seq` of each message that it answers.
    answered: Vec<u64>,
    mentioned: Vec<UserName>,
}

#[derive(Default)]
pub(super) struct Folds {
    /// By the `seq` of the message.
    folded: HashMap<u64, Folded>,
    /// What messages name, by their `seq`.
    linked: HashMap<u64, Linked>,
    /// The `seq` of each message that mentions a user.
    mentions: HashMap<UserName, VecDeque<u64>>,
}

impl Folds {
    /// Checks a change of this message, which is so old. False if it would change nothing.
    pub(super) fn check(&self, entry: &Entry, age: Duration, change: &Change) -> Result<bool, ChangeRefusal> {
        let folded = self.folded.get(&entry.seq);
        if folded.is_some_and(|folded| folded.is_retracted) {
            return Err(ChangeRefusal::Gone);
        }
        if !is_message(&entry.body) {
            return Err(ChangeRefusal::NotFound);
        }
        let mut starts = change.author.split(|byte| *byte == b'\n');
        if !starts.any(|start| entry.body.starts_with(start)) {
            // A reaction may be to the message of any user, but of this conversation.
            let is_reaction = matches!(change.kind, ChangeKind::React { .. });
            return Err(if is_reaction { ChangeRefusal::NotFound } else { ChangeRefusal::NotAuthor });
        }
        if change.window.is_some_and(|window| age > window) {
            return Err(ChangeRefusal::TooLate);
        }
        match &change.kind {
            ChangeKind::Edit { if_version, text, max_bytes } => {
                let edit = folded.and_then(|folded| folded.edit.as_ref());
                let version = edit.map_or(entry.message_id, |(version, _)| *version);
                if if_version.is_some_and(|expected| expected != version) {
                    let text = edit.map_or(&entry.body, |(_, text)| text).clone();
                    return Err(ChangeRefusal::Conflict { version, text });
                }
                if folded.is_some_and(|folded| folded.edits.len() >= MAX_EDITS) {
                    return Err(ChangeRefusal::TooMany);
                }
                let bytes = entry.body.len() + text.len();
                if bytes > *max_bytes && bytes - content_bytes(&entry.body) > *max_bytes {
                    return Err(ChangeRefusal::TooLarge);
                }
            }
            ChangeKind::Retract { .. } => {}
            ChangeKind::React { user, reaction, on } => {
                return check_reaction(folded.map_or(&[], |folded| &folded.reactions), user, reaction, *on);
            }
        }
        Ok(true)
    }

    /// Applies a change, which is the entry `change_seq`, to the message `seq`. Returns the entries to erase, the message
    /// itself first.
    pub(super) fn apply(
        &mut self,
        seq: u64,
        (change_seq, change_id): (u64, MessageId),
        change: &Change,
    ) -> Vec<u64> {
        let folded = self.folded.entry(seq).or_default();
        if folded.is_retracted {
            return Vec::new();
        }
        match &change.kind {
            ChangeKind::Edit { text, .. } => {
                folded.edits.push(change_seq);
                // The two logs of a private message may get edits in different orders: the highest id counts in both.
                if folded.edit.as_ref().is_none_or(|(version, _)| *version < change_id) {
                    folded.edit = Some((change_id, text.clone()));
                }
            }
            ChangeKind::Retract { .. } => {
                let erased = std::iter::once(seq).chain(std::mem::take(&mut folded.edits)).collect();
                let answers = std::mem::take(&mut folded.answers);
                *folded = Folded { is_retracted: true, answers, ..Folded::default() };
                self.unlink(seq);
                return erased;
            }
            ChangeKind::React { user, reaction, on } => {
                folded.react(user, reaction, *on);
                if folded.is_empty() {
                    self.folded.remove(&seq);
                }
            }
        }
        Vec::new()
    }

    /// What the changes of a message come to for this reader.
    pub(super) fn fold(&self, seq: u64, reader: Option<&UserName>) -> Fold {
        let Some(folded) = self.folded.get(&seq) else { return Fold::default() };
        let reaction = |(reaction, users): &(String, Vec<UserName>)| {
            (reaction.clone(), users.len() as u32, reader.is_some_and(|reader| users.contains(reader)))
        };
        Fold {
            edit: folded.edit.clone(),
            is_retracted: folded.is_retracted,
            reactions: folded.reactions.iter().map(reaction).collect(),
            answers: folded.answers.len() as u32,
        }
    }

    /// Notes what the message `seq` names. False if that is nothing.
    pub(super) fn link(&mut self, seq: u64, answered: Vec<u64>, mentioned: &[UserName]) -> bool {
        for answered in &answered {
            push(&mut self.folded.entry(*answered).or_default().answers, seq, MAX_ANSWERS);
        }
        for user in mentioned {
            push(self.mentions.entry(user.clone()).or_default(), seq, MAX_MENTIONS);
        }
        let has_links = !answered.is_empty() || !mentioned.is_empty();
        if has_links {
            self.linked.insert(seq, Linked { answered, mentioned: mentioned.to_vec() });
        }
        has_links
    }

    /// Forgets what the message `seq` names: it was taken back, or is no longer held.
    fn unlink(&mut self, seq: u64) {
        let Some(Linked { answered, mentioned }) = self.linked.remove(&seq) else { return };
        for answered in answered {
            let Some(folded) = self.folded.get_mut(&answered) else { continue };
            folded.answers.retain(|answer| *answer != seq);
            if folded.is_empty() {
                self.folded.remove(&answered);
            }
        }
        for user in mentioned {
            let Some(mentions) = self.mentions.get_mut(&user) else { continue };
            mentions.retain(|mention| *mention != seq);
            if mentions.is_empty() {
                self.mentions.remove(&user);
            }
        }
    }

    /// How many messages after a `seq` mention a user.
    pub(super) fn mentions_after(&self, seq: u64, user: &UserName) -> u64 {
        let mentions = self.mentions.get(user);
        mentions.map_or(0, |mentions| mentions.iter().filter(|mention| **mention > seq).count() as u64)
    }

    /// The message is no longer held.
    pub(super) fn remove(&mut self, seq: u64) {
        self.folded.remove(&seq);
        self.unlink(seq);
    }
}

/// Adds to a list of at most so many.
fn push(list: &mut VecDeque<u64>, seq: u64, most: usize) {
    if list.len() >= most {
        list.pop_front();
    }
    list.push_back(seq);
}

impl Folded {
    fn react(&mut self, user: &UserName, reaction: &str, on: bool) {
        match self.reactions.iter().position(|(known, _)| known == reaction) {
            Some(at) => {
                let users = &mut self.reactions[at].1;
                users.retain(|known| known != user);
                if on {
                    users.push(user.clone());
                }
                if users.is_empty() {
                    self.reactions.remove(at);
                }
            }
            None if on => self.reactions.push((reaction.to_owned(), vec![user.clone()])),
            None => {}
        }
    }
}

fn check_reaction(
    reactions: &[(String, Vec<UserName>)],
    user: &UserName,
    reaction: &str,
    on: bool,
) -> Result<bool, ChangeRefusal> {
    let (mut is_on, mut is_known, mut of_user, mut of_all) = (false, false, 0, 0);
    for (known, users) in reactions {
        let has_user = users.contains(user);
        of_user += usize::from(has_user);
        of_all += users.len();
        if known == reaction {
            (is_known, is_on) = (true, has_user);
        }
    }
    let is_full = of_user >= MAX_REACTIONS
        || of_all >= MAX_REACTIONS_OF_ALL
        || !is_known && reactions.len() >= MAX_REACTIONS;
    match on {
        true if !is_on && is_full => Err(ChangeRefusal::TooMany),
        on => Ok(is_on != on),
    }
}
