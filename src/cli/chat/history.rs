//! What the user entered before. Owns its bound, and the place in it while the user goes back; does not know what was a message.
//! Held by the drafts.

use std::collections::VecDeque;

/// The most entries kept.
const MAX_ENTRIES: usize = 200;

/// The entries, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: VecDeque<String>,
    /// The entry that the user looks at, and the text that was there before.
    at: Option<(usize, String)>,
}

impl History {
    /// Adds an entry, unless it repeats the last one.
    pub(super) fn add(&mut self, entry: &str) {
        self.at = None;
        if self.entries.back().is_some_and(|last| last == entry) {
            return;
        }
        self.entries.push_back(entry.to_owned());
        if self.entries.len() > MAX_ENTRIES {
            self.entries.pop_front();
        }
    }

    /// The entry before. `text` is what stands in the prompt.
    pub(super) fn back(&mut self, text: &str) -> Option<&str> {
        let (at, first) = match self.at.take() {
            Some((at, first)) => (at.saturating_sub(1), first),
            None => (self.entries.len().checked_sub(1)?, text.to_owned()),
        };
        self.at = Some((at, first));
        self.entries.get(at).map(String::as_str)
    }

    /// The entry after, or after the last one the text that was there before.
    pub(super) fn forward(&mut self) -> Option<String> {
        let (at, first) = self.at.take()?;
        match self.entries.get(at + 1) {
            Some(entry) => {
                self.at = Some((at + 1, first));
                Some(entry.clone())
            }
            None => Some(first),
        }
    }

    /// The user has changed conversations: the next step back starts at the last entry.
    pub(super) fn rest(&mut self) {
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_goes_back_and_returns_to_the_draft() {
        let mut history = History::default();
        assert_eq!(history.back("draft"), None);
        assert_eq!(history.forward(), None);
        for entry in ["one", "two", "two"] {
            history.add(entry);
        }
        assert_eq!(history.back("draft"), Some("two"));
        assert_eq!(history.back("two"), Some("one"));
        assert_eq!(history.back("one, changed"), Some("one"), "the first");
        assert_eq!(history.forward().as_deref(), Some("two"));
        assert_eq!(history.forward().as_deref(), Some("draft"));
        assert_eq!(history.forward(), None);
        for number in 0..=MAX_ENTRIES {
            history.add(&number.to_string());
        }
        assert_eq!(history.entries.len(), MAX_ENTRIES);
    }
}
