//! Retractions by an administrator, or by a moderator of a room. Owns finding out whose message it is: the entry names its author, and a
//! private one both users, so that who asks need not. Called by the server API and by `Retract`.

use super::error::RequestError;
use super::node::Node;
use super::publisher::{NewChange, Submission};
use crate::backend::{Asker, BackendError, Broker, ChangeRefusal, Entry, PageLimit, Payer, Range, Stored};
use crate::protocol::stored::{self, Moderation};
use crate::protocol::{MessageId, Topic, UserName};

/// A retraction that another user than the author asks for, or an administrator.
pub struct ModeratedRetraction<'a> {
    /// The room, or one of the two users of a private message.
    pub log: &'a Topic,
    /// The message.
    pub target: MessageId,
    /// Who asks for it, if that is said. The author may be named too.
    pub by: Option<&'a UserName>,
    /// Why.
    pub reason: Option<&'a str>,
    /// The `id` of the call. Without it, nothing is recognised as a repeat.
    pub client_id: Option<&'a str>,
    /// Whom it is charged to.
    pub payer: Option<&'a Payer>,
    /// The id of the new entry.
    pub message_id: MessageId,
    /// Whose rights count.
    pub asker: &'a Asker,
}

impl Node {
    /// Takes back a message of any user; returns once the store has it.
    ///
    /// # Errors
    /// The log does not hold the message, or it was taken back before.
    pub async fn moderate(&self, retraction: &ModeratedRetraction<'_>) -> Result<Stored, RequestError> {
        let &ModeratedRetraction { log, target, by, reason, client_id, payer, message_id, asker } =
            retraction;
        let entry = find(&*self.backend.broker, log, target).await?;
        let Some((author, to)) = entry.and_then(|entry| stored::written(&entry.body)) else {
            return Err(RequestError::change_refused(ChangeRefusal::NotFound));
        };
        let moderated = by != Some(&author);
        let moderation = Moderation { moderated, moderator: by.filter(|_| moderated) };
        let from = Submission { sender: &author, to: &to, client_id, payer, message_id, asker };
        self.change(&from, target, NewChange::Retract { reason, moderation }).await
    }
}

/// Finds a message by its id. The ids of a log sort by `seq`, so ten small reads find one of a thousand.
async fn find(broker: &dyn Broker, log: &Topic, id: MessageId) -> Result<Option<Entry>, BackendError> {
    let limit = PageLimit { messages: 1, bytes: 0 };
    // Its `seq`, if it is there, is one of `first..end`.
    let (mut first, mut end, mut before) = (1, u64::MAX, None);
    while first < end {
        let range = before.map_or(Range::Newest, Range::Before);
        let page = broker.messages(log, range, limit, None).await?;
        let below = before.unwrap_or(page.top.seq + 1);
        end = end.min(page.top.seq + 1);
        match page.messages.into_iter().next().map(|(entry, _)| entry) {
            Some(entry) if entry.message_id == id => return Ok(Some(entry)),
            // The newest message below is an earlier one.
            Some(entry) if entry.message_id < id => first = below,
            Some(entry) => end = entry.seq,
            // Only changes were looked at.
            None if page.more && page.looked_at.0 > first => {
                before = Some(page.looked_at.0);
                continue;
            }
            None => first = below,
        }
        before = Some(first + end.saturating_sub(first).div_ceil(2));
    }
    Ok(None)
}
