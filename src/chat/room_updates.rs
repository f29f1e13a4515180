//! Changes of the rights of rooms. Owns what is stored for them: an entry of the room's log, and for an invitation one of the private log of
//! the user too. Called by requests and by the server API.

use serde::Serialize;

use super::error::RequestError;
use super::node::Node;
use super::publisher::RightsSubmission;
use crate::backend::{
    Asker, PageLimit, Payer, Range, RightsUpdate, RoomClaim, RoomUsers, Stored, UserState, shown_end, unix_ms,
};
use crate::config::RoomCreators;
use crate::protocol::requests::RightsAck;
use crate::protocol::stored_rights::{RightsChange, RightsEntry, rights_change};
use crate::protocol::{
    Action, ErrorCode, Grant, MessageId, Outcome, Position, Role, RoomKind, RoomName, Topic, UserName,
};

/// Who calls, and how a repeat is recognised.
#[derive(Debug, Clone)]
pub struct Caller<'a> {
    /// Whose rights count.
    pub asker: Asker,
    /// The name in the entry.
    pub by: Option<&'a UserName>,
    /// The `id` of the request. Without it, nothing is recognised as a repeat.
    pub client_id: Option<&'a str>,
    /// Whom the entry is charged to.
    pub payer: Option<&'a Payer>,
    /// The id of the new entry.
    pub message_id: MessageId,
}

/// A room that is to be made or changed. What is `None` stays.
#[derive(Debug, Clone, Copy)]
pub struct RoomUpdate<'a> {
    /// The room.
    pub room: &'a RoomName,
    /// Who may enter and write.
    pub kind: Option<RoomKind>,
    /// What it is about; empty: nothing.
    pub topic: Option<&'a str>,
    /// How long a user has to wait between two messages, ms; 0: not at all.
    pub slow_mode_ms: Option<u64>,
    /// The owner, if the room is new. A room that exists already has to have this owner.
    pub owner: Option<&'a UserName>,
}

/// Something that is to be done to a user of a room.
#[derive(Debug, Clone, Copy)]
pub struct UserAction<'a> {
    /// The room.
    pub room: &'a RoomName,
    /// What.
    pub action: Action,
    /// To whom.
    pub target: &'a UserName,
    /// The new role, for [`Action::Role`].
    pub role: Option<Role>,
    /// When a ban or a mute ends, Unix ms. `None`: never.
    pub until: Option<u64>,
    /// Why.
    pub reason: Option<&'a str>,
}

/// What a room with rights is, and its users.
#[derive(Debug)]
pub struct RoomWithUsers {
    /// Who may enter and write.
    pub kind: RoomKind,
    /// What the room is about.
    pub topic: Option<String>,
    /// How long a user has to wait between two messages, ms.
    pub slow_mode_ms: u64,
    /// All that have a role, a ban or a mute, by the bytes of their names.
    pub users: Vec<RoomUser>,
}

/// A user of a room with rights.
#[derive(Debug, Serialize)]
pub struct RoomUser {
    /// The name.
    pub username: UserName,
    /// The role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// When the ban ends, Unix ms; 0: never. `None` for one who is not banned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banned_until: Option<u64>,
    /// When the mute ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<u64>,
}

impl From<Stored> for RightsAck {
    fn from(stored: Stored) -> Self {
        let (position, is_stored) = (stored.position, !stored.is_unchanged);
        Self {
            message_id: is_stored.then_some(position.message_id),
            epoch: position.epoch,
            seq: is_stored.then_some(position.seq),
            sent_at: stored.sent_at,
            duplicate: stored.duplicate,
            unchanged: stored.is_unchanged,
        }
    }
}

impl Node {
    /// Makes or changes a room; returns once the store has it.
    ///
    /// # Errors
    /// The rights forbid it, or there is such a room without rights.
    pub async fn update_room(
        &self,
        update: &RoomUpdate<'_>,
        caller: &Caller<'_>,
    ) -> Result<Stored, RequestError> {
        let &RoomUpdate { room, kind, topic, slow_mode_ms, owner } = update;
        let entry = RightsEntry::Room { kind, topic, slow_mode_ms, owner };
        let topic = topic.map(str::to_owned);
        let update = RightsUpdate::Room { kind, topic, slow_mode_ms, owner: owner.cloned() };
        self.publisher.update_rights(&submission(room, caller), entry, Some(update)).await
    }

    /// Makes a room for a user, or changes one that was just made.
    ///
    /// # Errors
    /// Those of [`Node::update_room`]; and users may not make rooms, or this one has made too many.
    pub(super) async fn make_room(
        &self,
        update: &RoomUpdate<'_>,
        (user, caller): (&UserName, &Caller<'_>),
    ) -> Result<Stored, RequestError> {
        let forbidden = |message: String| RequestError::new(ErrorCode::Forbidden, message);
        let config = self.config();
        match config.rooms.create {
            RoomCreators::Anyone => {}
            RoomCreators::Token if matches!(caller.asker, Asker::User(_, grant) if grant.create) => {}
            RoomCreators::Token => {
                let message = "your token does not grant it to make this room a room with rights";
                return Err(forbidden(message.into()));
            }
            RoomCreators::Api => {
                return Err(forbidden("only an administrator makes rooms with rights here".into()));
            }
        }
        let most = config.rooms.max_made;
        drop(config);
        let broker = &self.backend.broker;
        let claim = broker.claim_room(user, update.room, most).await?;
        if claim == RoomClaim::TooMany {
            return Err(forbidden(format!("you have made {most} rooms with rights, the limit")));
        }
        let made = self.update_room(update, caller).await;
        let is_refused = made.as_ref().is_err_and(|error| error.outcome() == Some(Outcome::Refused));
        if is_refused
            && claim == RoomClaim::New
            && let Err(error) = broker.release_room(user, update.room).await
        {
            tracing::debug!(%error, "a room that was not made counts as one of its user");
        }
        made
    }

    /// Does something to a user of a room; returns once the store has it. An invitation is then also in the private log of the user.
    ///
    /// # Errors
    /// The rights forbid it. Of an invitation, `unknown` may mean that only the private log does not have it: a repeat completes it.
    pub async fn act_on_user(
        &self,
        action: &UserAction<'_>,
        caller: &Caller<'_>,
    ) -> Result<Stored, RequestError> {
        let &UserAction { room, action, target, role, until, reason } = action;
        let entry = RightsEntry::Moderation { action, target_username: target, role, until, reason };
        let update = RightsUpdate::User { action, user: target.clone(), role, until };
        let from = submission(room, caller);
        let stored = self.publisher.update_rights(&from, entry, Some(update)).await?;
        // The `id` may be that of another message or action of this user. Its repeat is answered, but invites nobody.
        let is_invitation = action == Action::Invite
            && !stored.is_unchanged
            && (!stored.duplicate || self.is_invitation(room, &stored, target).await?);
        if is_invitation {
            let (to, message_id) = (Topic::User(target.clone()), MessageId::generate());
            let from = RightsSubmission { to, message_id, ..from };
            let entry = RightsEntry::Invitation { target_username: target, reason };
            self.publisher.update_rights(&from, entry, None).await.map_err(RequestError::into_unknown)?;
        }
        Ok(stored)
    }

    /// Whether what was stored there in the log of a room invites this user.
    async fn is_invitation(
        &self,
        room: &RoomName,
        stored: &Stored,
        target: &UserName,
    ) -> Result<bool, RequestError> {
        let topic = Topic::Room(room.clone());
        let Position { seq, message_id, .. } = stored.position;
        let limit = PageLimit { messages: 1, bytes: 0 };
        let page = self.backend.broker.history(&topic, Range::After(seq.saturating_sub(1)), limit).await?;
        let entry = page.entries.first().filter(|entry| entry.message_id == message_id);
        let is_of_target = |change| matches!(change, RightsChange::User { action: Action::Invite, user, .. } if user == *target);
        Ok(entry.and_then(|entry| rights_change(&entry.body)).is_some_and(is_of_target))
    }

    /// What a room is, and its users. `None` if it has no rights.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn room_users(&self, room: &RoomName) -> Result<Option<RoomWithUsers>, RequestError> {
        let Some(found) = self.backend.broker.users(&Topic::Room(room.clone())).await? else {
            return Ok(None);
        };
        let RoomUsers { kind, topic, slow_mode_ms, users } = found;
        let now = unix_ms();
        let shown = |(username, state): (UserName, UserState)| RoomUser {
            username,
            role: state.role,
            banned_until: shown_end(state.banned_until, now),
            muted_until: shown_end(state.muted_until, now),
        };
        let is_anything = |user: &RoomUser| {
            user.role.is_some() || user.banned_until.is_some() || user.muted_until.is_some()
        };
        let users = users.into_iter().map(shown).filter(is_anything).collect();
        Ok(Some(RoomWithUsers { kind, topic, slow_mode_ms, users }))
    }

    /// A user that was invited becomes a member.
    pub(super) async fn accept_invitation(
        &self,
        room: &RoomName,
        user: &UserName,
    ) -> Result<(), RequestError> {
        let asker = Asker::User(user.clone(), Grant::default());
        let (by, message_id) = (Some(user), MessageId::generate());
        let caller = Caller { asker, by, client_id: None, payer: None, message_id };
        let (action, role) = (Action::Role, Some(Role::Member));
        let entry =
            RightsEntry::Moderation { action, target_username: user, role, until: None, reason: None };
        let update = Some(RightsUpdate::Accept(user.clone()));
        self.publisher.update_rights(&submission(room, &caller), entry, update).await.map(|_| ())
    }
}

fn submission<'a>(room: &'a RoomName, caller: &Caller<'a>) -> RightsSubmission<'a> {
    let &Caller { ref asker, by, client_id, payer, message_id } = caller;
    let (to, asker) = (Topic::Room(room.clone()), asker.clone());
    let room = Some(room);
    RightsSubmission { room, by, to, asker, client_id, payer, message_id }
}
