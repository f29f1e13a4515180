//! `Room` and `Moderate`, and what rights mean to who enters or reads a room. Owns who may ask for what; the store decides by the roles.
//! Called by `dispatch` and by the other requests.

use super::{Handle, Id, Reply, Result, Session, ack};
use crate::backend::{Asker, BackendError, Payer, UserRights, shown_end, unix_ms};
use crate::chat::error::RequestError;
use crate::chat::membership::MemberGuard;
use crate::chat::reading::check_reading;
use crate::chat::room_updates::{Caller, RoomUpdate, UserAction};
use crate::chat::topic::LocalTopic;
use crate::protocol::requests::{Moderate, RightsAck, Room, check_action};
use crate::protocol::{ErrorCode, RequestId, Role, RoomName, RoomRights, UserName, Word};

impl Handle for Room {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        session.check_names_are_proved()?;
        session.node.rooms.check_may_change(&self.room)?;
        let Self { sender_username: user, room, kind, topic, slow_mode_ms } = self;
        let topic = topic.as_deref();
        // A new room needs a kind; of another one, only an owner changes it.
        let is_new = kind.is_some() && session.node.backend.broker.rights(&room, &user).await?.is_none();
        let owner = Some(&user).filter(|_| is_new);
        let update = RoomUpdate { room: &room, kind, topic, slow_mode_ms, owner };
        let payer = session.payer(&user);
        let caller = session.caller(id, (&user, &payer), &room);
        let stored = match is_new {
            true => session.node.make_room(&update, (&user, &caller)).await?,
            false => session.node.update_room(&update, &caller).await?,
        };
        session.span.stored(stored.position.message_id, stored.duplicate || stored.is_unchanged);
        Ok(ack::<Self>(id, &RightsAck::from(stored)))
    }
}

impl Handle for Moderate {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        session.check_names_are_proved()?;
        let Self { sender_username: user, room, action, target_username: target, role, until, reason } = self;
        check_action(action, role, until).map_err(|why| RequestError::new(ErrorCode::InvalidMessage, why))?;
        let room = match room {
            Some(room) => room,
            None => session.membership(None)?,
        };
        let reason = reason.as_deref();
        let action = UserAction { room: &room, action, target: &target, role, until, reason };
        let payer = session.payer(&user);
        let caller = session.caller(id, (&user, &payer), &room);
        let stored = session.node.act_on_user(&action, &caller).await?;
        session.span.stored(stored.position.message_id, stored.duplicate || stored.is_unchanged);
        Ok(ack::<Self>(id, &RightsAck::from(stored)))
    }
}

/// What the `Ack` of `Enter` says of a room with rights, to a user whose token grants it to write there or does not.
pub(super) fn shown(rights: &UserRights, may_write: bool) -> RoomRights {
    let muted_until = shown_end(rights.user.muted_until, unix_ms());
    RoomRights {
        kind: Word::Known(rights.kind),
        topic: rights.topic.clone(),
        slow_mode_ms: (rights.slow_mode_ms > 0).then_some(rights.slow_mode_ms),
        role: rights.user.role.map(Word::Known),
        muted_until,
        may_write,
    }
}

impl Session {
    /// Roles and blocks belong to names, and without authentication anyone can use any name.
    pub(super) fn check_names_are_proved(&self) -> Result<()> {
        if self.node.config().auth.enabled {
            return Ok(());
        }
        let message = "this node does not check names (auth.enabled is off), so no user has a role, and nobody can be blocked";
        Err(RequestError::new(ErrorCode::Forbidden, message))
    }

    /// Who asks for an entry about rights.
    fn caller<'a>(
        &mut self,
        id: Id<'a>,
        (user, payer): (&'a UserName, &'a Payer),
        room: &RoomName,
    ) -> Caller<'a> {
        let asker = self.asker(user, Some(room));
        let client_id = id.map(RequestId::as_str);
        Caller { asker, by: Some(user), client_id, payer: Some(payer), message_id: self.span.message_id() }
    }

    /// A member is about to enter. If the room has rights, checks that the user may, accepts an invitation, and returns what the room is
    /// to the user.
    pub(super) async fn enter_with_rights(
        &self,
        member: &MemberGuard,
        room: &RoomName,
        user: &UserName,
    ) -> Result<Option<RoomRights>> {
        let topic = &member.hold.topic;
        if !topic.has_rights() {
            return Ok(None);
        }
        let broker = &self.node.backend.broker;
        let Some(mut rights) = broker.rights(room, user).await? else { return Ok(None) };
        let asker = self.asker(user, Some(room));
        if rights.user.role == Some(Role::Invited) && matches!(asker, Asker::User(..)) {
            rights = self.accept(room, user, rights).await?;
        }
        check_reading(&asker, &rights)?;
        if topic.set_rights(self.outbox(), &rights) {
            Ok(Some(shown(&rights, self.grant_in(Some(room)).write)))
        } else {
            Err(self.why_taken_out(room, user).await)
        }
    }

    /// The result of a join, or of another `Enter`. If it failed because the member was taken out, says why.
    pub(super) async fn or_why_taken_out(
        &self,
        result: std::result::Result<(), BackendError>,
        topic: &LocalTopic,
        user: &UserName,
    ) -> Result<()> {
        match (result, topic.name.room()) {
            (Err(_), Some(room)) if !topic.is_member(self.outbox().id()) => {
                Err(self.why_taken_out(room, user).await)
            }
            (result, _) => Ok(result?),
        }
    }

    /// Why the connection was taken out while it entered: the user may not read any longer, or was kicked.
    async fn why_taken_out(&self, room: &RoomName, user: &UserName) -> RequestError {
        let kicked = || {
            let message = format!("you were taken out of room {:?}: send `Enter` again", room.as_str());
            RequestError::new(ErrorCode::NotInRoom, message)
        };
        self.check_may_read(room, user).await.err().unwrap_or_else(kicked)
    }

    /// The user was invited, and is a member from now on.
    async fn accept(&self, room: &RoomName, user: &UserName, rights: UserRights) -> Result<UserRights> {
        if rights.user.is_banned(unix_ms()) {
            return Ok(rights);
        }
        self.node.accept_invitation(room, user).await?;
        Ok(self.node.backend.broker.rights(room, user).await?.unwrap_or(rights))
    }

    /// Whether the user may have what was just read of a room with rights.
    pub(super) async fn check_may_read(&self, room: &RoomName, user: &UserName) -> Result<()> {
        match self.node.backend.broker.rights(room, user).await? {
            Some(rights) => check_reading(&self.asker(user, Some(room)), &rights),
            None => Ok(()),
        }
    }
}
