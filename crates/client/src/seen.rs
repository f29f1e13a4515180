//! Ids that came before. Owns their bound; does not know what they are ids of. Called by the model for messages, and by the
//! outbox for its own requests.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

/// The last few thousand ids: more than a node sends again at a time.
#[derive(Debug)]
pub(crate) struct Seen<T> {
    ids: HashSet<T>,
    order: VecDeque<T>,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self { ids: HashSet::new(), order: VecDeque::new() }
    }
}

impl<T: Clone + Eq + Hash> Seen<T> {
    const MAX: usize = 4_096;

    /// False if it was there. Otherwise it is added, and the oldest is dropped above the bound.
    pub(crate) fn insert(&mut self, id: &T) -> bool {
        if !self.ids.insert(id.clone()) {
            return false;
        }
        self.order.push_back(id.clone());
        if self.order.len() > Self::MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    pub(crate) fn contains(&self, id: &T) -> bool {
        self.ids.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seen_ids_are_bounded() {
        let mut seen = Seen::default();
        for id in 0..=Seen::<usize>::MAX {
            assert!(seen.insert(&id));
        }
        assert!(!seen.contains(&0) && seen.contains(&1));
        assert!(!seen.insert(&1));
        assert_eq!((seen.ids.len(), seen.order.len()), (Seen::<usize>::MAX, Seen::<usize>::MAX));
    }
}
