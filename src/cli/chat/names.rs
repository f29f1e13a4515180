//! The users that a person may mean. Owns who is known, and which names stand in a text; does not know what they are used for. Called by
//! the commands and by the completion.

use std::collections::BTreeSet;

use chatnode_client::model::{Conversation, Line, Model};
use chatnode_client::protocol::MAX_MENTIONS;
use chatnode_client::{Event, NewMessage, Topic, UserName};

/// The most lines of a conversation that are searched for their senders, and the most signs in a text that are looked at.
const MAX_LOOKED_AT: usize = 500;

/// The members of the room on show, those who wrote in it or on whom a moderator acted, and the users with whom there is a conversation; without
/// the user.
pub(super) fn known(model: &Model) -> BTreeSet<&UserName> {
    let current = model.current();
    let members = current.and_then(|current| current.members.as_ref()).into_iter().flatten();
    let lines = current.into_iter().flat_map(|current| current.lines.iter().rev().take(MAX_LOOKED_AT));
    let users = lines.filter_map(|line| match line {
        Line::Message(message) => Some(&message.sender),
        Line::Event(Event::Moderated { user, .. }) => Some(user),
        _ => None,
    });
    let peers = model.conversations().iter().filter_map(|each: &Conversation| match &each.topic {
        Topic::User(peer) => Some(peer),
        Topic::Room(_) => None,
    });
    members.chain(users).chain(peers).filter(|name| *name != model.me()).collect()
}

/// The message with the known users that its text mentions, if the node knows of mentions.
pub(super) fn with_mentions(model: &Model, message: NewMessage) -> NewMessage {
    if !model.features().has("mentions") {
        return message;
    }
    mentioned(model, message.content()).into_iter().fold(message, NewMessage::mention)
}

/// The known names after an `@` that begins a word, each once: at most as many as a message may mention.
fn mentioned(model: &Model, text: &str) -> Vec<UserName> {
    let mut found: Vec<UserName> = Vec::new();
    if !text.contains('@') {
        return found;
    }
    let known = known(model);
    for (at, _) in text.match_indices('@').take(MAX_LOOKED_AT) {
        let is_start = !text[..at].ends_with(char::is_alphanumeric);
        if let Some(name) = first(&known, &text[at + 1..]).filter(|_| is_start)
            && !found.contains(name)
            && found.len() < MAX_MENTIONS
        {
            found.push(name.clone());
        }
    }
    found
}

/// The user that a text begins with, and the text after the name. A known name may contain spaces; any other one is a word.
pub(super) fn split<'a>(model: &Model, text: &'a str) -> (&'a str, &'a str) {
    let text = text.strip_prefix('@').unwrap_or(text);
    let known = first(&known(model), text).map(|name| name.as_str().len());
    let is_whole = |end: &usize| text[*end..].chars().next().is_none_or(char::is_whitespace);
    let end = known.filter(is_whole).or(text.find(char::is_whitespace)).unwrap_or(text.len());
    (&text[..end], &text[end..])
}

/// The longest of the names that a text begins with, as a word.
fn first<'a>(known: &BTreeSet<&'a UserName>, text: &str) -> Option<&'a UserName> {
    let begins = |name: &&UserName| {
        let rest = text.strip_prefix(name.as_str());
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    };
    known.iter().copied().filter(begins).max_by_key(|name| name.as_str().len())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn model(peers: &[&str]) -> Model {
        let mut model = Model::new(UserName::parse("ann").unwrap(), 0);
        for peer in peers {
            model.open(Topic::User(UserName::parse(peer).unwrap()), Instant::now());
        }
        model
    }

    #[test]
    fn a_text_mentions_known_names_after_an_at_sign() {
        let model = model(&["bob", "bob smith", "日本"]);
        let mentioned = |text: &str| {
            let names = mentioned(&model, text);
            names.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>().join(",")
        };
        assert_eq!(mentioned("@bob, @bob smith! (@日本)"), "bob,bob smith,日本");
        assert_eq!(mentioned("@bob @bob @ann @bobby a@bob @"), "bob");
        assert_eq!(mentioned(&"@".repeat(100_000)), "");
    }

    #[test]
    fn a_known_name_may_contain_spaces() {
        let model = model(&["bob smith"]);
        assert_eq!(split(&model, "@bob smith hello"), ("bob smith", " hello"));
        assert_eq!(split(&model, "bob smith"), ("bob smith", ""));
        assert_eq!(split(&model, "bob hello"), ("bob", " hello"));
        assert_eq!(split(&model, "eve"), ("eve", ""));
    }
}
