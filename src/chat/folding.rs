//! A message with what its changes come to, as a page of history shows it. Owns the members of its JSON object; which changes there
//! are is the store's business. Called by `history`.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::backend::{Entry, Fold};
use crate::protocol::stored;

/// The members of a stored message, by name. Names of nodes have no escapes in JSON.
type Members<'a> = BTreeMap<&'a str, &'a RawValue>;

/// The members of the JSON object of a message, read when the newest entry of its log was `top_seq`. Those of an unchanged one are
/// its stored body. Reactions are left out from the rarest on, so that the object has at most so many bytes if it can. Beside them
/// stands up to which entry they are counted: a client that is sent the same changes one by one must not count them again.
pub(super) fn folded(entry: Entry, mut fold: Fold, top_seq: u64, max_bytes: usize) -> Bytes {
    if fold.is_retracted {
        return retracted(&entry, fold.answers);
    }
    let mut body = match &fold.edit {
        Some((version, text)) => edited(&entry.body, &version.to_string(), text).unwrap_or(entry.body),
        None => entry.body,
    };
    if fold.answers > 0 {
        body = [&body[..], replies(fold.answers).as_bytes()].concat().into();
    }
    if fold.reactions.is_empty() {
        return body;
    }
    // Stable: among equals, the first one stays.
    fold.reactions.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
    loop {
        let with_reactions = [&body[..], b",", &reactions(&fold.reactions, top_seq)].concat();
        if with_reactions.len() <= max_bytes || fold.reactions.is_empty() {
            return with_reactions.into();
        }
        fold.reactions.pop();
    }
}

/// A message without its text. Its tombstone has no time.
fn retracted(entry: &Entry, answers: u32) -> Bytes {
    let (_, members) = stored::split_kind(&entry.body);
    let replies = if answers > 0 { replies(answers) } else { String::new() };
    let rest = format!(r#","content":"","sent_at":{},"retracted":true{replies}"#, entry.stored_at);
    [members, rest.as_bytes()].concat().into()
}

fn replies(answers: u32) -> String {
    format!(r#","replies":{answers}"#)
}

/// The body with other members in the place of those that it has. `None` if it can't be read.
fn edited(body: &[u8], version: &str, text: &[u8]) -> Option<Bytes> {
    let (body, text) = ([b"{", body, b"}"].concat(), [b"{", text, b"}"].concat());
    let mut members: Members<'_> = serde_json::from_slice(&body).ok()?;
    members.extend(serde_json::from_slice::<Members<'_>>(&text).ok()?);
    let version = serde_json::value::to_raw_value(version).ok()?;
    members.insert("version", &version);
    object_members(&members)
}

fn reactions(reactions: &[(String, u32, bool)], changes_seq: u64) -> Bytes {
    #[derive(Serialize)]
    struct Count {
        count: u32,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        mine: bool,
    }
    #[derive(Serialize)]
    struct Reactions<'a> {
        reactions: BTreeMap<&'a str, Count>,
        changes_seq: u64,
    }
    let counts =
        reactions.iter().map(|(name, count, mine)| (name.as_str(), Count { count: *count, mine: *mine }));
    object_members(&Reactions { reactions: counts.collect(), changes_seq }).unwrap_or_default()
}

/// A JSON object without its braces.
fn object_members<T: Serialize>(object: &T) -> Option<Bytes> {
    let json = serde_json::to_vec(object).ok()?;
    let end = json.len() - 1;
    Some(Bytes::from(json).slice(1..end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::MessageId;

    fn entry(body: &'static str) -> Entry {
        let (message_id, prev) = (MessageId::generate(), MessageId::NONE);
        Entry { seq: 1, message_id, prev, stored_at: 7, body: body.into() }
    }

    fn json(members: &[u8]) -> serde_json::Value {
        serde_json::from_slice(&[b"{", members, b"}"].concat()).unwrap()
    }

    #[test]
    fn edited_text_replaces_the_first_one() {
        let version = MessageId::generate();
        let text = Bytes::from_static(br#""content":"new","edited_at":9"#);
        let fold = Fold { edit: Some((version, text)), ..Fold::default() };
        let body = r#""sender_username":"ann","content":"old","room":"r","data":{"n":1e400}"#;
        let message = folded(entry(body), fold, 9, 1_000);
        assert!(std::str::from_utf8(&message).unwrap().contains(r#""data":{"n":1e400}"#));
        let message = String::from_utf8(message.to_vec()).unwrap().replace("1e400", "1");
        let message = json(message.as_bytes());
        assert_eq!((&message["content"], &message["edited_at"]), (&"new".into(), &9.into()));
        assert_eq!(message["version"], version.to_string());
        assert_eq!(message["sender_username"], "ann");
    }

    #[test]
    fn retracted_message_has_no_text() {
        let fold = Fold { is_retracted: true, answers: 2, ..Fold::default() };
        let message = json(&folded(
            entry(r#""change":"Tombstone","sender_username":"ann","room":"r""#),
            fold,
            9,
            1_000,
        ));
        assert_eq!((&message["content"], &message["retracted"]), (&"".into(), &true.into()));
        assert_eq!((&message["sent_at"], &message["sender_username"]), (&7.into(), &"ann".into()));
        assert_eq!(message["replies"], 2);
    }

    #[test]
    fn rarest_reactions_are_left_out_if_they_do_not_fit() {
        let reactions: Vec<_> = (1..=20).map(|count| (format!("{count:060}"), count, count == 20)).collect();
        let fold = Fold { reactions, ..Fold::default() };
        let message = folded(entry(r#""sender_username":"ann""#), fold.clone(), 9, 400);
        assert!(message.len() <= 400);
        assert_eq!(json(&message)["changes_seq"], 9);
        let shown = json(&message)["reactions"].as_object().unwrap().clone();
        assert_eq!(shown[&format!("{:060}", 20)], serde_json::json!({ "count": 20, "mine": true }));
        assert!(shown.len() >= 3 && shown.len() < 20);
        assert_eq!(
            json(&folded(entry(r#""sender_username":"ann""#), fold, 9, 9_000))["reactions"]
                .as_object()
                .unwrap()
                .len(),
            20
        );
    }
}
