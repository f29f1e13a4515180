//! Rooms with rights, for programs. Owns the calls that make and change rooms and act on their users; the node decides who may. Part of the
//! handle of a client.

use chatnode_protocol::requests::RightsAck;
use chatnode_protocol::{Role, RoomKind, RoomRights, UserName};

use super::{Client, room_name};
use crate::command::Command;
use crate::error::RequestError;
use crate::moderation::Moderation;
use crate::room_settings::RoomSettings;

impl Client {
    /// Makes a room with rights, of which this user is the owner. It must not be in use: make it before you join it. If the room is one
    /// of this user's, it becomes what is said here.
    ///
    /// ```no_run
    /// # use chatnode_client::{Client, RequestError, RoomKind, RoomSettings};
    /// # async fn example(client: Client) -> Result<(), RequestError> {
    /// client.make_room("ops", RoomKind::Private, RoomSettings::new().topic("on call")).await?;
    /// client.join("ops").await?;
    /// client.invite("ops", "bob").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The name is invalid, there is no connection, the node is too old for rooms with rights, it refuses this (it may not check names, or
    /// leave rooms to administrators), or the client has ended. If the connection is lost before the answer comes, it may be done or not.
    pub async fn make_room(
        &self,
        room: &str,
        kind: RoomKind,
        settings: RoomSettings,
    ) -> Result<RightsAck, RequestError> {
        self.change_room(room, settings.kind(kind)).await
    }

    /// Changes a room with rights. Owners and moderators change the topic and the slow mode, owners the kind.
    ///
    /// # Errors
    /// As [`Client::make_room`].
    pub async fn change_room(&self, room: &str, settings: RoomSettings) -> Result<RightsAck, RequestError> {
        let request = settings.request(self.user(), room_name(room)?);
        self.ask(&request, |ack, _| ack).await
    }

    /// Does something to a user of a room with rights. Owners and moderators may, to users with a lower role. The reason is for people, 1 to
    /// 256 bytes. `unchanged` in the answer says that it was so already.
    ///
    /// ```no_run
    /// # use chatnode_client::{Client, Moderation, RequestError};
    /// # async fn example(client: Client, in_an_hour: u64) -> Result<(), RequestError> {
    /// client.moderate("ops", "bob", Moderation::Mute { until: Some(in_an_hour) }, Some("off topic")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A name is invalid, there is no connection, the node is too old for rooms with rights, it refuses this, or the client has ended. If
    /// the connection is lost before the answer comes, it may be done or not: to ask again does no harm, but kicks twice.
    pub async fn moderate(
        &self,
        room: &str,
        user: &str,
        moderation: Moderation,
        reason: Option<&str>,
    ) -> Result<RightsAck, RequestError> {
        let room = room_name(room)?;
        let request = moderation.request(self.user(), room, user_name(user)?, reason.map(str::to_owned));
        self.ask(&request, |ack, _| ack).await
    }

    /// Invites a user to a room. See [`Client::moderate`].
    ///
    /// # Errors
    /// As [`Client::moderate`].
    pub async fn invite(&self, room: &str, user: &str) -> Result<RightsAck, RequestError> {
        self.moderate(room, user, Moderation::Invite, None).await
    }

    /// Gives a user of a room a role: an owner any, a moderator that of a member. See [`Client::moderate`].
    ///
    /// # Errors
    /// As [`Client::moderate`].
    pub async fn set_role(&self, room: &str, user: &str, role: Role) -> Result<RightsAck, RequestError> {
        self.moderate(room, user, Moderation::SetRole(role), None).await
    }

    /// Takes the role of a user away, and the user out of the room. See [`Client::moderate`].
    ///
    /// # Errors
    /// As [`Client::moderate`].
    pub async fn remove_user(&self, room: &str, user: &str) -> Result<RightsAck, RequestError> {
        self.moderate(room, user, Moderation::Remove, None).await
    }

    /// Sends a user out of a room, who may come back at once. See [`Client::moderate`].
    ///
    /// # Errors
    /// As [`Client::moderate`].
    pub async fn kick(&self, room: &str, user: &str) -> Result<RightsAck, RequestError> {
        self.moderate(room, user, Moderation::Kick, None).await
    }

    /// Keeps a user out of a room: until this time in milliseconds since 1970, or until [`Client::unban`]. See [`Client::moderate`].
    ///
    /// # Errors
    /// As [`Client::moderate`].
    pub async fn ban(&self, room: &str, user: &str, until: Option<u64>) -> Result<RightsAck, RequestError> {
        self.moderate(room, user, Moderation::Ban { until }, None).await
    }

    /// Ends a ban. See [`Client::moderate`].
    ///
    /// # Errors
    /// As [`Client::moderate`].
    pub async fn unban(&self, room: &str, user: &str) -> Result<RightsAck, RequestError> {
        self.moderate(room, user, Moderation::Unban, None).await
    }

    /// Lets a user read a room and not write there: until this time in milliseconds since 1970, or until [`Client::unmute`]. See
    /// [`Client::moderate`].
    ///
    /// # Errors
    /// As [`Client::moderate`].
    pub async fn mute(&self, room: &str, user: &str, until: Option<u64>) -> Result<RightsAck, RequestError> {
        self.moderate(room, user, Moderation::Mute { until }, None).await
    }

    /// Ends a mute. See [`Client::moderate`].
    ///
    /// # Errors
    /// As [`Client::moderate`].
    pub async fn unmute(&self, room: &str, user: &str) -> Result<RightsAck, RequestError> {
        self.moderate(room, user, Moderation::Unmute, None).await
    }

    /// What a room is, and what this user is there, as far as the client knows by now: `None` if the room has no rights, or the client is
    /// not in it. A mute may have ended since: compare its time with the clock.
    ///
    /// # Errors
    /// The name is invalid, or the client has ended.
    pub async fn rights(&self, room: &str) -> Result<Option<RoomRights>, RequestError> {
        let room = room_name(room)?;
        self.queue(|reply| Command::Rights(room, reply)).await
    }
}

/// Reads the name of a user.
pub(super) fn user_name(user: &str) -> Result<UserName, RequestError> {
    UserName::parse(user).map_err(|error| RequestError::Name { name: user.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chatnode_protocol::requests::Features;
    use tokio::sync::mpsc;

    use super::*;
    use crate::command::HandleState;

    #[tokio::test]
    async fn older_node_is_not_asked_for_rights() {
        let shared = Arc::new(HandleState::new(UserName::parse("ann").unwrap(), 1));
        shared.set_features(&serde_json::from_value::<Features>(serde_json::json!(["unread"])).unwrap());
        let (commands, mut queued) = mpsc::unbounded_channel();
        let client = Client::new(shared, commands);
        let made = client.make_room("ops", RoomKind::Open, RoomSettings::new()).await;
        assert_eq!(made, Err(RequestError::Unsupported));
        assert_eq!(client.invite("ops", "bob").await, Err(RequestError::Unsupported));
        assert!(queued.try_recv().is_err());
    }
}
