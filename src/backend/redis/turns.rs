//! Channels that wait for their turn. Owns their order, oldest first, and that each waits once; does not know what for. Used
//! by the wishes.

use std::collections::{BTreeMap, HashMap};

/// A queue of names without repeats, from which one in the middle can be taken: its size is that of what it is about,
/// however long nobody takes from it.
#[derive(Debug, Default)]
pub(super) struct Turns {
    names: BTreeMap<u64, String>,
    turns: HashMap<String, u64>,
    last: u64,
}

impl Turns {
    /// Puts a name at the end, unless it waits already.
    pub(super) fn add(&mut self, name: &str) {
        if !self.turns.contains_key(name) {
            self.last += 1;
            self.turns.insert(name.to_owned(), self.last);
            self.names.insert(self.last, name.to_owned());
        }
    }

    /// Takes a name out, wherever it stands.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(turn) = self.turns.remove(name) {
            self.names.remove(&turn);
        }
    }

    /// Takes the first.
    pub(super) fn next(&mut self) -> Option<String> {
        let (_, name) = self.names.pop_first()?;
        self.turns.remove(&name);
        Some(name)
    }

    /// Takes all.
    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.turns.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_one_turn_in_the_order_of_coming() {
        let mut turns = Turns::default();
        ["a", "b", "a", "c", "b"].iter().for_each(|name| turns.add(name));
        turns.remove("b");
        turns.remove("nobody");
        turns.add("b");
        let all: Vec<String> = std::iter::from_fn(|| turns.next()).collect();
        assert_eq!(all, ["a", "c", "b"]);
        assert!(turns.names.is_empty() && turns.turns.is_empty());
    }
}
