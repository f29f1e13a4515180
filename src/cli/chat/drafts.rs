//! What the user has not sent: one unfinished text for each conversation. Owns which one is open, and what comes back into it;
//! does not know what a text means. Held by the view.

use chatnode_client::Topic;

use super::history::History;
use super::prompt::Prompt;

/// The unfinished texts, and the texts entered before.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    /// Never empty once a conversation was opened. `None` is the draft while no conversation is open.
    all: Vec<(Option<Topic>, Prompt)>,
    open: usize,
    history: History,
    /// The text that was deleted last, to be inserted again.
    cut: String,
}

impl Drafts {
    /// Opens the draft of a conversation. False if it was open.
    pub(super) fn open(&mut self, topic: Option<&Topic>) -> bool {
        if self.all.get(self.open).is_some_and(|(open, _)| open.as_ref() == topic) {
            return false;
        }
        self.history.rest();
        self.open = self.index_or_add(topic);
        true
    }

    /// The draft of the conversation on show.
    pub(super) fn prompt(&mut self) -> &mut Prompt {
        if self.all.is_empty() {
            self.all.push((None, Prompt::default()));
        }
        &mut self.all[self.open].1
    }

    /// Takes the draft as the user enters it. It stays in the history.
    pub(super) fn enter(&mut self) -> String {
        let prompt = std::mem::take(self.prompt());
        if !prompt.text().trim().is_empty() {
            self.history.add(prompt.text());
        }
        prompt.text().to_owned()
    }

    /// Puts a text back into the draft of a conversation. False if something else stands there by now.
    pub(super) fn put_back(&mut self, topic: Option<&Topic>, text: &str) -> bool {
        let index = self.index_or_add(topic);
        let prompt = &mut self.all[index].1;
        let is_free = prompt.text().is_empty();
        if is_free {
            *prompt = Prompt::new(text.to_owned());
        }
        is_free
    }

    /// Shows the text entered before, or after; the draft itself comes after the last one.
    pub(super) fn browse(&mut self, back: bool) {
        let text = self.prompt().text().to_owned();
        let entry =
            if back { self.history.back(&text).map(ToOwned::to_owned) } else { self.history.forward() };
        if let Some(entry) = entry {
            *self.prompt() = Prompt::new(entry);
        }
    }

    /// Keeps a deleted text, to be inserted again.
    pub(super) fn cut(&mut self, text: String) {
        if !text.is_empty() {
            self.cut = text;
        }
    }

    /// Inserts the text that was deleted last.
    pub(super) fn insert_cut(&mut self) -> bool {
        let cut = self.cut.clone();
        self.prompt().insert(&cut)
    }

    /// The texts that were never entered, with their conversations.
    pub(super) fn unsent(&self) -> impl Iterator<Item = (Option<&Topic>, &str)> {
        let all = self.all.iter().map(|(topic, prompt)| (topic.as_ref(), prompt.text()));
        all.filter(|(_, text)| !text.trim().is_empty())
    }

    fn index_or_add(&mut self, topic: Option<&Topic>) -> usize {
        self.all.iter().position(|(each, _)| each.as_ref() == topic).unwrap_or_else(|| {
            self.all.push((topic.cloned(), Prompt::default()));
            self.all.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use chatnode_client::UserName;

    use super::*;

    #[test]
    fn each_conversation_has_its_own_draft() {
        let bob = Topic::User(UserName::parse("bob").unwrap());
        let ann = Topic::User(UserName::parse("ann").unwrap());
        let mut drafts = Drafts::default();
        drafts.open(Some(&bob));
        drafts.prompt().insert("to bob");
        drafts.open(Some(&ann));
        assert_eq!(drafts.prompt().text(), "");
        drafts.prompt().insert("to ann");
        assert_eq!(drafts.enter(), "to ann");
        drafts.open(Some(&bob));
        assert_eq!(drafts.prompt().text(), "to bob");
        assert!(!drafts.put_back(Some(&bob), "refused") && drafts.put_back(Some(&ann), "refused"));
        drafts.browse(true);
        assert_eq!(drafts.prompt().text(), "to ann");
        drafts.browse(false);
        let unsent: Vec<_> = drafts.unsent().map(|(topic, text)| (topic.cloned(), text.to_owned())).collect();
        assert_eq!(unsent, [(Some(bob), "to bob".into()), (Some(ann), "refused".into())]);
    }
}
