//! Channels that wait for their turn. Owns their order, oldest first, and that each waits once; does not know what for. Used
//! by the wishes.

use std::collections::{BTreeMap, HashMap};

/// A queue of names without repeats, from which one in the middle can be taken: its size is that of what it is about,
/// however long nobody takes from it.
#[derive(Debug, Default)]
pub(super) struct DedupQueue {
    names: BTreeMap<u64, String>,
    sequence: HashMap<String, u64>,
    last: u64,
}

impl DedupQueue {
    /// Puts a name at the end, unless it waits already.
    pub(super) fn add(&mut self, name: &str) {
        if !self.sequence.contains_key(name) {
            self.last += 1;
            self.sequence.insert(name.to_owned(), self.last);
            self.names.insert(self.last, name.to_owned());
        }
    }

    /// Takes a name out, wherever it stands.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(turn) = self.sequence.remove(name) {
            self.names.remove(&turn);
        }
    }

    /// Takes the first.
    pub(super) fn next(&mut self) -> Option<String> {
        let (_, name) = self.names.pop_first()?;
        self.sequence.remove(&name);
        Some(name)
    }

    /// Takes all.
    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.sequence.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_one_turn_in_the_order_of_coming() {
        let mut queue = DedupQueue::default();
        ["a", "b", "a", "c", "b"].iter().for_each(|name| queue.add(name));
        queue.remove("b");
        queue.remove("nobody");
        queue.add("b");
        let all: Vec<String> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(all, ["a", "c", "b"]);
        assert!(queue.names.is_empty() && queue.sequence.is_empty());
    }
}
