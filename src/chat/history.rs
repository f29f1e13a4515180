//! Pages of older messages. Owns the reading of logs backwards, and the filter that selects one conversation of a private
//! log. Called by `History` requests and by the server API.

use bytes::Bytes;
use metrics::{Counter, counter};
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;

use super::error::RequestError;
use super::folding::folded;
use super::read_slots::ReadSlots;
use super::send_budget::{ANSWER_BYTES, SendBudget};
use crate::backend::{Broker, Fold, Owner, PageLimit, Range};
use crate::metrics as names;
use crate::protocol::encode::{self, PAGE_MESSAGE_BYTES};
use crate::protocol::requests::Before;
use crate::protocol::stored::split_kind;
use crate::protocol::{MessageId, Topic, UserName};

/// What is read of a log at once, once a read was not enough.
const LARGE_READ: PageLimit = PageLimit { messages: 200, bytes: 256 << 10 };

/// What a page has around its messages.
const PAGE_HEAD_BYTES: usize = 64;

/// Reads logs page by page.
pub struct HistoryReader {
    broker: Arc<dyn Broker>,
    slots: Arc<ReadSlots>,
    queued: Arc<SendBudget>,
    /// How many pages were read, in the order of [`names::PAGE_CONTENTS`].
    pages: [Counter; names::PAGE_CONTENTS.len()],
}

/// A page, and what it cost.
pub(super) struct HistoryPage {
    /// The JSON object of the answer.
    pub(super) json: Vec<u8>,
    /// The messages in it.
    pub(super) messages: Vec<MessageId>,
    /// Bytes of the messages that were read for it, those included that belong to another conversation.
    pub(super) bytes_read: usize,
    /// Whether the room has rights.
    pub(super) has_rights: bool,
}

impl HistoryReader {
    pub(super) fn new(broker: Arc<dyn Broker>, slots: Arc<ReadSlots>, queued: Arc<SendBudget>) -> Self {
        let pages = names::PAGE_CONTENTS.map(|content| counter!(names::HISTORY_PAGES, "content" => content));
        Self { broker, slots, queued, pages }
    }

    /// A page of a room's log, or of a user's private log, as the JSON object of the answer, of at most 256 KiB or one message.
    pub async fn page(
        &self,
        topic: &Topic,
        before: Option<Before>,
        limit: u32,
    ) -> Result<Vec<u8>, RequestError> {
        let limit = PageLimit { messages: limit, bytes: ANSWER_BYTES };
        Ok(self.conversation(topic, None, before, limit, (None, None)).await?.json)
    }

    /// The newest messages below `before`, oldest first. With `peer`, only those of the conversation with that user. Then the
    /// whole private log may be read, page by page. The JSON has at most `limit.bytes`, or one message. An owner reads one
    /// page at a time.
    pub(super) async fn conversation(
        &self,
        topic: &Topic,
        peer: Option<&UserName>,
        before: Option<Before>,
        limit: PageLimit,
        (reader, owner): (Option<&UserName>, Option<Owner>),
    ) -> Result<HistoryPage, RequestError> {
        let _slot = self.slots.take(owner).await;
        let (mut bytes_read, mut is_changed) = (0, false);
        let mut range = before.map_or(Range::Newest, |before| Range::Before(before.seq));
        let (mut found, mut messages): (Vec<(u64, Bytes)>, Vec<MessageId>) = Default::default();
        let most = limit.bytes.min(self.queued.answer_bytes()).saturating_sub(PAGE_HEAD_BYTES);
        let mut left = most;
        let mut read = PageLimit { bytes: left, ..limit };
        loop {
            let page = self.broker.messages(topic, range, read, reader).await?;
            let epoch = page.top.epoch;
            if before.is_some_and(|before| before.epoch != Some(epoch)) {
                // A `seq` of another log says nothing about this one.
                let json = encode::history(&[], epoch, false);
                return Ok(HistoryPage { json, messages, bytes_read, has_rights: page.has_rights });
            }
            let mut more = page.more;
            for (entry, fold) in page.messages.into_iter().rev() {
                bytes_read += entry.body.len();
                if peer.is_some_and(|peer| !is_between(&entry.body, topic, peer)) {
                    continue;
                }
                let (seq, message_id) = (entry.seq, entry.message_id);
                is_changed |= fold != Fold::default();
                // Not `left`: a message that has no space left with its reactions is for the next page.
                let message = folded(entry, fold, page.top.seq, most.saturating_sub(PAGE_MESSAGE_BYTES));
                let size = message.len() + PAGE_MESSAGE_BYTES;
                if found.len() == limit.messages as usize || (size > left && !found.is_empty()) {
                    more = true;
                    left = 0;
                    break;
                }
                left = left.saturating_sub(size);
                found.push((seq, message));
                messages.push(message_id);
            }
            let is_full = found.len() == limit.messages as usize || left == 0;
            // A read ends before the page is full if it was for another conversation, or looked at many changes.
            if more && !is_full && (peer.is_some() || found.is_empty()) {
                range = Range::Before(page.looked_at.0);
                // Messages of other conversations came: they must not make the reads small.
                read = LARGE_READ;
                // A store that never waits must not keep the worker for a whole log.
                tokio::task::yield_now().await;
                continue;
            }
            self.pages[usize::from(is_changed)].increment(1);
            found.reverse();
            let json = encode::history(&found, epoch, more);
            return Ok(HistoryPage { json, messages, bytes_read, has_rights: page.has_rights });
        }
    }
}

/// Whether a message of a private log belongs to the conversation with `peer`.
fn is_between(stored: &[u8], log: &Topic, peer: &UserName) -> bool {
    let Topic::User(owner) = log else { return false };
    ends(stored).is_some_and(|(sender, target)| {
        let (owner, peer) = (owner.as_str().as_bytes(), peer.as_str().as_bytes());
        (&*sender, &*target) == (owner, peer) || (&*sender, &*target) == (peer, owner)
    })
}

/// Who sent a message of a user's private log to this user. `None` for the user's own messages.
pub(super) fn incoming_from(stored: &[u8], user: &UserName) -> Option<UserName> {
    let (sender, target) = ends(stored)?;
    let user = user.as_str().as_bytes();
    let is_incoming = *target == *user && *sender != *user;
    is_incoming.then(|| UserName::parse(std::str::from_utf8(&sender).ok()?).ok()).flatten()
}

/// The sender and the target of a private message.
type Names<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// Sender and target of a private message. `None` if it is none.
fn ends(stored: &[u8]) -> Option<Names<'_>> {
    #[derive(Deserialize)]
    struct Ends {
        sender_username: String,
        target_username: String,
    }
    let (_, stored) = split_kind(stored);
    if let Some((sender, target)) = leading_names(stored) {
        return Some((sender.into(), target.into()));
    }
    let json = [b"{", stored, b"}"].concat();
    let ends: Ends = serde_json::from_slice(&json).ok()?;
    Some((ends.sender_username.into_bytes().into(), ends.target_username.into_bytes().into()))
}

/// The names at the start of a stored body, as nodes write it: without a look at the content, which may be long. `None` if it
/// starts in another way, or if a name has an escape in JSON.
fn leading_names(stored: &[u8]) -> Option<(&[u8], &[u8])> {
    fn string(text: &[u8]) -> Option<(&[u8], &[u8])> {
        let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        (text[end] == b'"').then(|| (&text[..end], &text[end + 1..]))
    }
    let (sender, rest) = string(stored.strip_prefix(br#""sender_username":""#)?)?;
    let (target, _) = string(rest.strip_prefix(br#","target_username":""#)?)?;
    Some((sender, target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::encode::ChatBody;
    use crate::protocol::{Extras, MessageId};

    #[test]
    fn conversation_is_found_whatever_the_names() {
        let user = |name: &str| UserName::parse(name).unwrap();
        let names = ["bob", "日本", "\"quoted\"", "back\\slash", "bob\",\"target_username\":\"eve"];
        for sender in names {
            for target in names {
                let body = ChatBody {
                    sender_username: &user(sender),
                    target_username: Some(&user(target)),
                    content: "\"target_username\":\"eve\"",
                    room: None,
                    message_id: MessageId::generate(),
                    client_id: None,
                    sent_at: 1,
                    extras: &Extras::default(),
                };
                let stored = body.encode();
                for other in names {
                    let log = Topic::User(user(sender));
                    assert_eq!(
                        is_between(&stored, &log, &user(other)),
                        other == target,
                        "{sender} {target} {other}"
                    );
                }
            }
        }
        let reordered = br#""content":"x","target_username":"bob","sender_username":"alice""#;
        assert!(is_between(reordered, &Topic::User(user("alice")), &user("bob")));
    }
}
