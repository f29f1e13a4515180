//! Pages of older messages. Owns the reading of logs backwards, and the filter that selects one conversation of a private
//! log. Called by `History` requests and by the server API.

use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;

use super::error::RequestError;
use crate::backend::{Broker, PageLimit, Range};
use crate::protocol::requests::Before;
use crate::protocol::{Topic, UserName, encode};

/// Maximum of message bytes in one answer.
const MAX_BYTES: usize = 256 << 10;

/// Reads logs page by page.
pub struct HistoryReader {
    broker: Arc<dyn Broker>,
}

impl HistoryReader {
    pub(super) fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker }
    }

    /// A page of a room's log, or of a user's private log, as the JSON object of the answer.
    pub async fn page(
        &self,
        topic: &Topic,
        before: Option<Before>,
        limit: u32,
    ) -> Result<Vec<u8>, RequestError> {
        self.conversation(topic, None, before, limit).await
    }

    /// The newest messages below `before`, oldest first, as the JSON object of the answer. With `peer`, only those of the
    /// conversation with that user. Then the whole private log may be read, page by page.
    pub(super) async fn conversation(
        &self,
        topic: &Topic,
        peer: Option<&UserName>,
        before: Option<Before>,
        limit: u32,
    ) -> Result<Vec<u8>, RequestError> {
        let mut range = before.map_or(Range::Newest, |before| Range::Before(before.seq));
        let mut found: Vec<(u64, Bytes)> = Vec::new();
        // The JSON and the position around a body take less than this.
        let mut left = MAX_BYTES;
        loop {
            // The messages that the filter skips must not make the pages smaller.
            let (wanted, bytes) = if peer.is_some() { (200, MAX_BYTES) } else { (limit, left) };
            let page = self.broker.history(topic, range, PageLimit { messages: wanted, bytes }).await?;
            let epoch = page.top.epoch;
            if before.is_some_and(|before| before.epoch != Some(epoch)) {
                // A `seq` of another log says nothing about this one.
                return Ok(encode::history(&[], epoch, false));
            }
            let mut more = page.more;
            let next = page.entries.first().map(|entry| entry.seq);
            for entry in page.entries.into_iter().rev() {
                if peer.is_some_and(|peer| !is_between(&entry.body, topic, peer)) {
                    continue;
                }
                let size = entry.body.len() + 64;
                if found.len() == limit as usize || (size > left && !found.is_empty()) {
                    more = true;
                    left = 0;
                    break;
                }
                left = left.saturating_sub(size);
                found.push((entry.seq, entry.body));
            }
            let is_full = found.len() == limit as usize || left == 0;
            match next {
                Some(seq) if more && !is_full && peer.is_some() => range = Range::Before(seq),
                _ => {
                    found.reverse();
                    return Ok(encode::history(&found, epoch, more));
                }
            }
        }
    }
}

/// Whether a message of a private log belongs to the conversation with `peer`.
fn is_between(stored: &[u8], log: &Topic, peer: &UserName) -> bool {
    #[derive(Deserialize)]
    struct Ends<'a> {
        #[serde(borrow)]
        sender_username: Cow<'a, str>,
        #[serde(borrow)]
        target_username: Cow<'a, str>,
    }
    let Topic::User(owner) = log else { return false };
    let json = [b"{", stored, b"}"].concat();
    let Ok(ends) = serde_json::from_slice::<Ends<'_>>(&json) else { return false };
    let (sender, target) = (ends.sender_username.as_ref(), ends.target_username.as_ref());
    (sender, target) == (owner.as_str(), peer.as_str()) || (sender, target) == (peer.as_str(), owner.as_str())
}
