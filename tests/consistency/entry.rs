//! The entries of a log, in frames and in Redis. Owns their fields, and the texts that clients send, which their ids determine. Used by
//! `wire` and `raw_log`.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::history::{Kind, Shown};
use crate::names::user_name;

/// What every entry of a log has, and what only some have.
#[derive(Deserialize)]
pub struct EntryBody<'a> {
    pub sender_username: &'a str,
    pub room: Option<&'a str>,
    content: Option<&'a str>,
    client_id: Option<&'a str>,
    reply_to: Option<Uuid>,
    #[serde(default, borrow)]
    mentions: Vec<&'a str>,
    target: Option<Target>,
    on: Option<bool>,
    version: Option<Uuid>,
    #[serde(default)]
    retracted: bool,
}

/// A message as its changes have left it.
#[derive(Deserialize)]
pub struct ShownMessage<'a> {
    message_id: Uuid,
    content: &'a str,
    version: Option<Uuid>,
    #[serde(default)]
    retracted: bool,
    #[serde(default, borrow)]
    reactions: HashMap<&'a str, Count>,
    changes_seq: Option<u64>,
}

#[derive(Deserialize)]
struct Count {
    count: usize,
}

impl ShownMessage<'_> {
    pub fn is_changed(&self) -> bool {
        self.version.is_some() || self.retracted || !self.reactions.is_empty()
    }

    pub fn shown(&self) -> Shown {
        Shown {
            message_id: self.message_id,
            text: publish_id(self.content.split(' ').next(), self.content),
            edit: self.version,
            is_retracted: self.retracted,
            reactions: self.reactions.get("+1").map_or(0, |reaction| reaction.count),
            changes_seq: self.changes_seq,
        }
    }
}

#[derive(Deserialize)]
struct Target {
    message_id: Uuid,
}

#[derive(Deserialize)]
pub struct At<'a> {
    pub message_id: Uuid,
    pub epoch: &'a str,
    pub seq: u64,
}

impl EntryBody<'_> {
    /// What it is, by the name of its frame.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        let target = self.target.as_ref().map(|target| target.message_id);
        Some(match (name, target) {
            ("GroupChat" | "PrivateChat", None) if self.retracted => Kind::Tombstone,
            ("GroupChat" | "PrivateChat", None) => Kind::Message,
            ("Edit", Some(target)) => Kind::Edit { target },
            ("Retract", Some(target)) => Kind::Retract { target },
            ("React", Some(target)) => Kind::React { target, on: self.on? },
            ("Tombstone", None) => Kind::Tombstone,
            _ => return None,
        })
    }

    /// The id of its publish, if everything in it is as it was sent with this id.
    pub fn publish_id(&self, kind: Kind) -> Option<Uuid> {
        match kind {
            Kind::Message => {
                let content = self.content?;
                // The text of an edit is that of another publish.
                let of_text = if self.version.is_some() { content.split(' ').next() } else { self.client_id };
                publish_id(of_text, content)?;
                let id = self.client_id?.parse().ok()?;
                let (reply_to, mention) = fields_beside(id);
                let mentions: Vec<String> = mention.map(user_name).into_iter().collect();
                (self.reply_to == reply_to && self.mentions == mentions).then_some(id)
            }
            Kind::Edit { .. } => publish_id(self.client_id, self.content?),
            Kind::Retract { .. } | Kind::React { .. } => self.client_id?.parse().ok(),
            Kind::Tombstone | Kind::ErasedEdit => None,
        }
    }
}

/// What a message with this id says beside its text: the message that it answers, and whom it mentions. Most say nothing.
pub fn fields_beside(id: Uuid) -> (Option<Uuid>, Option<u16>) {
    let number = id.as_u128();
    (number.is_multiple_of(5).then_some(id), number.is_multiple_of(7).then_some((number % 8) as u16))
}

/// The messages of a page.
pub fn shown(page: &Value) -> Option<Vec<Shown>> {
    let messages = Vec::<ShownMessage<'_>>::deserialize(&page["messages"]).ok()?;
    Some(messages.iter().map(ShownMessage::shown).collect())
}

/// The content for an id and a length of padding, which determine every byte of it.
pub fn content(id: Uuid, padding: usize) -> String {
    let mark = id.as_u128();
    let padding: String = (0..padding).map(|at| char::from(b'a' + (mark >> (at % 100)) as u8 % 26)).collect();
    format!("{id} {} {padding}", padding.len())
}

/// The id of a publish, if every byte of the content is as it was sent with this id. None if the content belongs to another
/// message, is truncated or is damaged.
pub fn publish_id(client_id: Option<&str>, text: &str) -> Option<Uuid> {
    let id = client_id?.parse().ok()?;
    let padding = text.split(' ').nth(1)?.parse().ok().filter(|padding| *padding < text.len())?;
    (content(id, padding) == text).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn altered_content_is_parsed_without_an_id() {
        let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let (named, sent) = (id.to_string(), content(id, 20));
        assert_eq!(publish_id(Some(&named), &sent), Some(id));
        assert_eq!(publish_id(Some(&named), &content(other, 20)), None);
        assert_eq!(publish_id(Some(&named), &sent[..sent.len() - 1]), None);
        assert_eq!(publish_id(Some(&named), &sent.replace('b', "c")), None);
        assert_eq!(publish_id(Some(&named), &format!("{id} 99999999999999 x")), None);
        assert_eq!(publish_id(None, &sent), None);
    }
}
