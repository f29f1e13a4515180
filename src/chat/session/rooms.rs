//! The rooms of a session between its requests. Owns that a user who is away is not present there, and that the session leaves the rooms
//! that its connection was taken out of.

use futures_util::future::try_join_all;
use tokio::time::{Instant, timeout};

use super::Session;
use crate::backend::BackendError;
use crate::chat::auth::Credential;
use crate::chat::error::RequestError;
use crate::chat::membership::Membership;

impl Session {
    /// When the user no longer counts as present, if the client sends no request until then.
    pub fn away_at(&self) -> Option<Instant> {
        self.activity.away_at(self.node.config().server.away_after)
    }

    /// A request may have come that could not be read: the time starts again.
    pub fn stay_present(&mut self) {
        self.activity.returned(Instant::now());
    }

    /// The client sent no request for too long. The user no longer counts as present, and stays a member of the rooms.
    pub fn leave_presence(&mut self) {
        self.activity.leave(Instant::now());
        // The store learns of it soon, however long it is away: a dropped guard is reported until that succeeds.
        self.rooms.values_mut().for_each(|membership| membership.present = None);
    }

    /// Makes a user who was away present again, before the request is carried out that shows it. If the store does not answer,
    /// a later request tries again; none waits for long.
    pub(super) async fn return_to_rooms(&mut self) {
        let Some(bound) = &self.bound else { return };
        let (presence, user) = (&self.node.presence, &bound.user);
        let absent = self.rooms.iter_mut().filter(|(_, membership)| membership.present.is_none());
        let entering = absent.map(|(room, membership)| async {
            membership.present = Some(presence.enter(room, user).await?);
            Ok::<_, BackendError>(())
        });
        let deadline = self.node.config().limits.request_timeout / 2;
        match timeout(deadline, try_join_all(entering)).await {
            Ok(Ok(_)) => self.activity.returned(Instant::now()),
            Ok(Err(error)) => tracing::debug!(%error, "a user came back, but the store did not take it"),
            Err(_) => tracing::debug!("a user came back, but the store did not answer in time"),
        }
    }

    /// Relies on another token of the same user from now on. The connection leaves the private rooms that only the earlier one granted.
    ///
    /// # Errors
    /// The store does not answer. Then the connection goes on with the earlier token.
    pub(super) async fn renew(&mut self, newer: Credential) -> Result<(), RequestError> {
        for (room, membership) in &self.rooms {
            let topic = &membership.member.hold.topic;
            let has_lost = topic.set_granted(self.outbox(), newer.in_room(room).read);
            if has_lost
                && topic.has_rights()
                && let Some(rights) = self.node.backend.broker.rights(room, newer.user()).await?
            {
                topic.set_rights(self.outbox(), &rights);
            }
        }
        self.credential = Some(newer);
        self.leave_removed();
        Ok(())
    }

    /// Leaves the rooms that the connection was taken out of: the user is no longer present there.
    pub fn leave_removed(&mut self) {
        for room in self.outbox().take_removed() {
            let is_out = |membership: &Membership| !membership.member.is_member();
            if self.rooms.get(&room).is_some_and(is_out) {
                self.is_current_lost |= self.rooms.last().is_some_and(|(current, _)| *current == room);
                self.rooms.shift_remove(&room);
            }
        }
    }
}
