//! What the user has not sent: one unfinished text for each conversation, with the message that it may be about. Owns which one is open,
//! and what comes back into it; does not know what a text means. Held by the view.

use chatnode_client::{MessageId, Topic};

use super::history::History;
use super::prompt::Prompt;

/// The unfinished texts, and the texts entered before.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    /// Never empty once a conversation was opened.
    all: Vec<Draft>,
    open: usize,
    history: History,
    /// The text that was deleted last, to be inserted again.
    cut: String,
}

#[derive(Debug)]
struct Draft {
    /// `None` while no conversation is open.
    topic: Option<Topic>,
    prompt: Prompt,
    /// The message that the user has marked.
    mark: Option<MessageId>,
}

impl Draft {
    fn new(topic: Option<Topic>) -> Self {
        Self { topic, prompt: Prompt::default(), mark: None }
    }
}

impl Drafts {
    /// Opens the draft of a conversation. False if it was open.
    pub(super) fn open(&mut self, topic: Option<&Topic>) -> bool {
        if self.all.get(self.open).is_some_and(|open| open.topic.as_ref() == topic) {
            return false;
        }
        self.history.rest();
        self.open = self.index_or_add(topic);
        true
    }

    /// The draft of the conversation on show.
    pub(super) fn prompt(&mut self) -> &mut Prompt {
        &mut self.draft().prompt
    }

    /// The message that is marked in the conversation on show.
    pub(super) fn mark(&self) -> Option<MessageId> {
        self.all.get(self.open)?.mark
    }

    /// Marks a message, or none.
    pub(super) fn set_mark(&mut self, mark: Option<MessageId>) {
        self.draft().mark = mark;
    }

    fn draft(&mut self) -> &mut Draft {
        if self.all.is_empty() {
            self.all.push(Draft::new(None));
        }
        &mut self.all[self.open]
    }

    /// Takes the draft as the user enters it. It stays in the history.
    pub(super) fn enter(&mut self) -> String {
        let prompt = std::mem::take(self.prompt());
        if !prompt.text().trim().is_empty() {
            self.history.add(prompt.text());
        }
        prompt.text().to_owned()
    }

    /// Puts a text back into the draft of a conversation, with the message that it is about. False if something else stands there by
    /// now.
    pub(super) fn put_back(&mut self, topic: Option<&Topic>, text: &str, about: Option<MessageId>) -> bool {
        let index = self.index_or_add(topic);
        let Draft { prompt, mark, .. } = &mut self.all[index];
        let is_free = prompt.text().is_empty();
        if is_free {
            *prompt = Prompt::new(text.to_owned());
            *mark = about.or(*mark);
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
        let all = self.all.iter().map(|draft| (draft.topic.as_ref(), draft.prompt.text()));
        all.filter(|(_, text)| !text.trim().is_empty())
    }

    fn index_or_add(&mut self, topic: Option<&Topic>) -> usize {
        self.all.iter().position(|each| each.topic.as_ref() == topic).unwrap_or_else(|| {
            self.all.push(Draft::new(topic.cloned()));
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
        let about = Some(MessageId::generate());
        assert!(
            !drafts.put_back(Some(&bob), "refused", about) && drafts.put_back(Some(&ann), "refused", about)
        );
        assert_eq!(drafts.mark(), None, "it belongs to the other conversation");
        drafts.browse(true);
        assert_eq!(drafts.prompt().text(), "to ann");
        drafts.browse(false);
        let unsent: Vec<_> = drafts.unsent().map(|(topic, text)| (topic.cloned(), text.to_owned())).collect();
        assert_eq!(unsent, [(Some(bob), "to bob".into()), (Some(ann), "refused".into())]);
    }
}
