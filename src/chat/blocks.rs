//! Users who block others. Owns what is stored for it, an entry of the private log of the user, after which the store refuses the messages
//! of the other one there; and that events of who is blocked, which nobody stores, don't reach the user. Called by requests, and by
//! the topics that are private logs.

use super::error::RequestError;
use super::node::Node;
use super::publisher::RightsSubmission;
use super::room_updates::Caller;
use super::topic::{LocalTopic, State};
use crate::backend::{BackendError, Broker, RightsUpdate, Stored, unix_ms};
use crate::protocol::events::event_sender;
use crate::protocol::stored_rights::RightsEntry;
use crate::protocol::{Action, Topic, UserName};

impl Node {
    /// A user blocks another one, or ends that; returns once the store has it. `caller` stands above roles: the log is the user's own.
    ///
    /// # Errors
    /// The user blocks as many as it may.
    pub(super) async fn block(
        &self,
        caller: &Caller<'_>,
        (user, target): (&UserName, &UserName),
        on: bool,
    ) -> Result<Stored, RequestError> {
        let &Caller { ref asker, by, client_id, payer, message_id } = caller;
        let (to, asker) = (Topic::User(user.clone()), asker.clone());
        let from = RightsSubmission { room: None, by, to, asker, client_id, payer, message_id };
        let action = if on { Action::Ban } else { Action::Unban };
        let update = RightsUpdate::User { action, user: target.clone(), role: None, until: None };
        let entry = RightsEntry::Block { target_username: target, on };
        self.publisher.update_rights(&from, entry, Some(update)).await
    }

    /// Whom a user blocks, by the bytes of their names.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn blocked(&self, user: &UserName) -> Result<Vec<UserName>, RequestError> {
        Ok(read(&*self.backend.broker, &Topic::User(user.clone())).await?)
    }
}

/// Whom the user of a private log blocks, by the bytes of their names.
async fn read(broker: &dyn Broker, log: &Topic) -> Result<Vec<UserName>, BackendError> {
    let (now, found) = (unix_ms(), broker.users(log).await?);
    let users = found.map_or_else(Vec::new, |found| found.users);
    Ok(users.into_iter().filter(|(_, state)| state.is_banned(now)).map(|(user, _)| user).collect())
}

impl LocalTopic {
    /// Reads whom the user of this private log blocks.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn read_blocked(&self, broker: &dyn Broker) -> Result<(), BackendError> {
        let blocked = read(broker, &self.name).await?.into_iter().collect();
        self.lock().blocked = blocked;
        Ok(())
    }
}

impl State {
    /// The user of this private log has blocked another one, or has ended that.
    pub(super) fn note_block(&mut self, user: &UserName, on: bool) {
        if on {
            self.blocked.insert(user.clone());
        } else {
            self.blocked.remove(user);
        }
    }

    /// Whether an event is of a user whom the user of this private log blocks.
    pub(super) fn is_of_blocked(&self, event: &[u8]) -> bool {
        !self.blocked.is_empty() && event_sender(event).is_some_and(|sender| self.blocked.contains(&sender))
    }
}
