//! The reactions to one message. Owns their counts, which of them are this user's, and that a change counts once, wherever it comes
//! from: a page of history has counts without names, events have names without counts. Held by a message.

use std::collections::{BTreeMap, VecDeque};

use chatnode_protocol::events::Reactions as Counts;
use chatnode_protocol::{Epoch, Position, UserName};

/// The most changes remembered of one message: twice as many as two users can have reactions on it. Only in a private conversation may
/// an older change of the same user come after a newer one.
const MAX_CHANGES: usize = 80;

/// How many users chose a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReactionCount {
    /// How many, with this user.
    pub count: u32,
    /// Whether this user is one of them.
    pub mine: bool,
}

/// The reactions to a message. In a message of an event, and of [`Client::history`](crate::Client::history), they are as they were
/// when it came; the [conversations](crate::model::Conversation) keep them up to date.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reactions {
    counts: BTreeMap<String, ReactionCount>,
    /// Each user has each reaction once: the last change says whether. The oldest first.
    changes: VecDeque<Reaction>,
    /// A page of history counted the changes up to this position of the log.
    counted: Option<(Epoch, u64)>,
}

/// A user added a reaction, or took it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reaction {
    pub(crate) user: UserName,
    pub(crate) is_mine: bool,
    pub(crate) reaction: String,
    pub(crate) on: bool,
    /// Of the change itself.
    pub(crate) position: Position,
}

impl Reactions {
    /// The reactions, sorted by their bytes, exactly as they were sent. They can be hostile.
    pub fn iter(&self) -> impl Iterator<Item = (&str, ReactionCount)> {
        self.counts.iter().map(|(reaction, count)| (reaction.as_str(), *count))
    }

    /// How many users chose this reaction. `None` if nobody did.
    pub fn get(&self, reaction: &str) -> Option<ReactionCount> {
        self.counts.get(reaction).copied()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Those of a message in a page of history.
    pub(crate) fn counted(counts: BTreeMap<String, Counts>) -> Self {
        let counts = counts.into_iter().filter(|(_, counts)| counts.count > 0);
        let counts =
            counts.map(|(reaction, Counts { count, mine })| (reaction, ReactionCount { count, mine }));
        Self { counts: counts.collect(), ..Self::default() }
    }

    /// The changes up to this `seq` of the log are counted.
    pub(crate) fn counted_up_to(&mut self, epoch: Epoch, seq: u64) {
        let counted = self.counted.filter(|(known, counted)| *known == epoch && *counted > seq);
        self.counted = counted.or(Some((epoch, seq)));
    }

    /// The log has lost its newest entries: others may come in their place.
    pub(crate) fn log_was_rolled_back(&mut self) {
        self.counted = None;
    }

    /// A change came. Does nothing if it is counted already, or if a newer one of the same user is.
    pub(crate) fn apply(&mut self, change: &Reaction) {
        let is_counted =
            |(epoch, seq): (Epoch, u64)| epoch == change.position.epoch && change.position.seq <= seq;
        let is_same = |known: &Reaction| known.user == change.user && known.reaction == change.reaction;
        let known = self.changes.iter().position(is_same).map(|at| (at, &self.changes[at]));
        let is_newer = |known: &Reaction| known.position.message_id < change.position.message_id;
        if self.counted.is_some_and(is_counted) || known.is_some_and(|(_, known)| !is_newer(known)) {
            return;
        }
        let was_on = known.map(|(_, known)| known.on);
        if let Some((at, _)) = known {
            self.changes.remove(at);
        }
        if was_on != Some(change.on) {
            self.count(change);
        }
        self.changes.push_back(change.clone());
        if self.changes.len() > MAX_CHANGES {
            self.changes.pop_front();
        }
    }

    fn count(&mut self, change: &Reaction) {
        if change.on {
            let entry = self.counts.entry(change.reaction.clone());
            let entry = entry.or_insert(ReactionCount { count: 0, mine: false });
            // A page says which are this user's.
            if !(change.is_mine && entry.mine) {
                entry.count = entry.count.saturating_add(1);
                entry.mine |= change.is_mine;
            }
        } else if let Some(entry) = self.counts.get_mut(&change.reaction)
            && (entry.mine || !change.is_mine)
        {
            entry.mine &= !change.is_mine;
            entry.count -= 1;
            if entry.count == 0 {
                self.counts.remove(&change.reaction);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn shown(&self) -> String {
        let shown = self.iter().map(|(reaction, ReactionCount { count, mine })| {
            format!("{reaction}{count}{}", if mine { "*" } else { "" })
        });
        shown.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resume_point::examples::position;

    fn change(user: &str, reaction: &str, on: bool, seq: u64) -> Reaction {
        let (user, reaction) = (UserName::parse(user).unwrap(), reaction.to_owned());
        Reaction { is_mine: user.as_str() == "ann", user, reaction, on, position: position(1, seq) }
    }

    fn applied(reactions: &mut Reactions, changes: &[(&str, &str, bool, u64)]) -> String {
        for (user, reaction, on, seq) in changes {
            reactions.apply(&change(user, reaction, *on, *seq));
        }
        reactions.shown()
    }

    #[test]
    fn each_user_has_each_reaction_once() {
        let mut reactions = Reactions::default();
        assert!(reactions.is_empty());
        let shown =
            applied(&mut reactions, &[("ann", "+", true, 1), ("bob", "+", true, 2), ("bob", "-", true, 3)]);
        assert_eq!(shown, "+2* -1");
        // The same again, and a change that does not fit.
        let shown =
            applied(&mut reactions, &[("bob", "+", true, 2), ("bob", "+", true, 4), ("eve", "x", false, 5)]);
        assert_eq!(shown, "+2* -1");
        let shown = applied(&mut reactions, &[("ann", "+", false, 6), ("bob", "-", false, 7)]);
        assert_eq!(shown, "+1");
        assert_eq!(reactions.get("+"), Some(ReactionCount { count: 1, mine: false }));
    }

    #[test]
    fn an_older_change_of_the_same_user_changes_nothing() {
        let mut reactions = Reactions::default();
        assert_eq!(applied(&mut reactions, &[("bob", "+", false, 9), ("bob", "+", true, 8)]), "");
        assert_eq!(applied(&mut reactions, &[("bob", "-", true, 9), ("bob", "-", false, 8)]), "-1");
    }

    #[test]
    fn changes_that_a_page_has_counted_count_once() {
        let counts = [("+", 3, true), ("-", 1, false), ("0", 0, false)];
        let counts = counts.map(|(reaction, count, mine)| (reaction.to_owned(), Counts { count, mine }));
        let mut reactions = Reactions::counted(counts.into());
        let Position { epoch, seq, .. } = position(1, 5);
        reactions.counted_up_to(epoch, seq);
        reactions.counted_up_to(epoch, seq - 1);
        assert_eq!(applied(&mut reactions, &[("bob", "+", true, 5), ("eve", "-", false, 4)]), "+3* -1");
        // Of its own reactions the user knows which are counted, wherever the log was.
        assert_eq!(applied(&mut reactions, &[("ann", "+", true, 6), ("ann", "-", false, 7)]), "+3* -1");
        assert_eq!(applied(&mut reactions, &[("bob", "+", true, 8), ("eve", "-", false, 9)]), "+4*");
        assert_eq!(applied(&mut reactions, &[("ann", "+", false, 10)]), "+3");
    }

    #[test]
    fn remembered_changes_are_bounded() {
        let mut reactions = Reactions::default();
        for number in 0..1_000 {
            reactions.apply(&change(&format!("u{number}"), "+", true, number + 1));
        }
        assert_eq!((reactions.shown().as_str(), reactions.changes.len()), ("+1000", MAX_CHANGES));
        assert_eq!(applied(&mut reactions, &[("u0", "+", false, 1_001)]), "+999");
    }
}
