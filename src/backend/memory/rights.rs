//! Rights of one room in memory. Owns the rules, which are those of `rights.lua`. Pure: the log stores the entry. Called by the broker under
//! the topic's lock.

use std::collections::HashMap;

use crate::backend::rights::{FOREVER, MAX_USERS};
use crate::backend::{Asker, RightsRefusal, RightsUpdate, RoomUsers, UserRights, UserState};
use crate::protocol::{Action, Position, Role, RoomKind, UserName};

/// What is kept of a user besides the name, bytes.
const USER_COST: usize = 128;

/// What a user wants to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act<'a> {
    Message,
    EditOrReaction,
    OwnRetraction,
    /// The retraction of a message of this user.
    ModeratedRetraction(&'a UserName),
}

/// The rights of one room.
#[derive(Debug, Clone, Default)]
pub(super) struct Rights {
    /// `None`: the room has none.
    kind: Option<RoomKind>,
    topic: String,
    slow_mode_ms: u64,
    users: HashMap<UserName, UserState>,
    /// When each user has sent the last message, in a room with slow mode.
    last_sent: HashMap<UserName, u64>,
}

/// Whether anything is to be known of a user, at this time (Unix ms).
fn is_kept(state: &UserState, now: u64) -> bool {
    state.role.is_some() || state.is_banned(now) || state.is_muted(now)
}

/// What an update comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Unchanged,
    Room {
        kind: RoomKind,
        topic: Option<String>,
        slow_mode_ms: Option<u64>,
        owner: Option<UserName>,
    },
    User {
        user: UserName,
        state: UserState,
    },
    /// Only the entry is stored.
    Entry,
}

impl Rights {
    /// Whether the room has rights.
    pub(super) fn exist(&self) -> bool {
        self.kind.is_some()
    }

    /// Estimated size, bytes, with the slack of the collections.
    pub(super) fn cost(&self) -> usize {
        let users: usize = self.users.keys().map(|user| USER_COST + user.as_str().len()).sum();
        users + self.topic.len()
    }

    fn state(&self, user: &UserName) -> UserState {
        self.users.get(user).copied().unwrap_or_default()
    }

    /// What the room is about.
    fn topic(&self) -> Option<String> {
        (!self.topic.is_empty()).then(|| self.topic.clone())
    }

    /// What a user is in the room, of whose log this is the newest entry. `None` if the room has no rights.
    pub(super) fn of(&self, user: &UserName, as_of: Position) -> Option<UserRights> {
        let (kind, topic, slow_mode_ms) = (self.kind?, self.topic(), self.slow_mode_ms);
        Some(UserRights { as_of, kind, topic, slow_mode_ms, user: self.state(user) })
    }

    /// The room and all its users.
    pub(super) fn all(&self) -> Option<RoomUsers> {
        let mut users: Vec<_> = self.users.iter().map(|(user, state)| (user.clone(), *state)).collect();
        users.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        Some(RoomUsers { kind: self.kind?, topic: self.topic(), slow_mode_ms: self.slow_mode_ms, users })
    }

    /// Whether the asker may write what it wants to, at this time (Unix ms).
    pub(super) fn check_writing(&self, asker: &Asker, act: Act<'_>, now: u64) -> Result<(), RightsRefusal> {
        let Some((kind, (user, state))) = self.kind.zip(self.asker(asker)) else { return Ok(()) };
        let is_granted = matches!(asker, Asker::User(_, grant) if grant.write);
        if state.is_banned(now) {
            return Err(RightsRefusal::Banned(state.banned_until));
        }
        if kind == RoomKind::Private && state.rank() == 0 && !is_granted {
            return Err(RightsRefusal::NoRole);
        }
        match act {
            Act::OwnRetraction => return Ok(()),
            Act::ModeratedRetraction(author) => {
                let outranks = state.rank() >= 2 && state.rank() > self.state(author).rank();
                return if outranks { Ok(()) } else { Err(RightsRefusal::Rank) };
            }
            Act::Message | Act::EditOrReaction => {}
        }
        if state.is_muted(now) {
            return Err(RightsRefusal::Muted(state.muted_until));
        }
        if act == Act::EditOrReaction {
            return Ok(());
        }
        if kind == RoomKind::Announce && state.rank() < 2 && !is_granted {
            return Err(RightsRefusal::ReadOnly);
        }
        let last = self.last_sent.get(user).copied().filter(|last| *last <= now);
        match last.map(|last| (last + self.slow_mode_ms).saturating_sub(now)) {
            Some(left) if left > 0 && state.rank() < 2 => Err(RightsRefusal::Slow(left)),
            _ => Ok(()),
        }
    }

    /// Notes that a message of the asker was stored.
    pub(super) fn note_message(&mut self, asker: &Asker, now: u64) {
        if self.slow_mode_ms == 0 {
            return;
        }
        if let Asker::User(user, _) | Asker::Unproven(user) = asker {
            let slow = self.slow_mode_ms;
            self.last_sent.retain(|_, last| *last + slow > now);
            self.last_sent.insert(user.clone(), now);
        }
    }

    /// The user that asks and what it is; `None` for the server API.
    fn asker<'a>(&self, asker: &'a Asker) -> Option<(&'a UserName, UserState)> {
        match asker {
            Asker::Server => None,
            Asker::User(user, _) => Some((user, self.state(user))),
            Asker::Unproven(user) => Some((user, UserState { role: None, ..self.state(user) })),
        }
    }

    /// Decides about an update at this time (Unix ms). `is_empty`: the room has no messages and nobody is in it.
    pub(super) fn plan(
        &self,
        update: &RightsUpdate,
        asker: &Asker,
        is_empty: bool,
        now: u64,
    ) -> Result<Plan, RightsRefusal> {
        let asking = self.asker(asker);
        if let Some((_, state)) = asking.filter(|(_, state)| self.exist() && state.is_banned(now)) {
            return Err(RightsRefusal::Banned(state.banned_until));
        }
        let rank = asking.map_or(4, |(_, state)| state.rank());
        match update {
            RightsUpdate::Room { kind, topic, slow_mode_ms, owner } => {
                match self.kind {
                    Some(_) => {
                        let needed = if kind.is_some() { 3 } else { 2 };
                        if rank < needed {
                            return Err(RightsRefusal::Rank);
                        }
                        let is_owner = |user| self.state(user).role == Some(Role::Owner);
                        if owner.as_ref().is_some_and(|owner| !is_owner(owner)) {
                            return Err(RightsRefusal::Exists);
                        }
                    }
                    None if asking.is_some() && !is_empty => return Err(RightsRefusal::Exists),
                    None => {}
                }
                let kind = kind.or(self.kind).ok_or(RightsRefusal::NoKind)?;
                let is_other = self.kind != Some(kind)
                    || topic.as_ref().is_some_and(|topic| *topic != self.topic)
                    || slow_mode_ms.is_some_and(|slow| slow != self.slow_mode_ms);
                if !is_other {
                    return Ok(Plan::Unchanged);
                }
                let owner = owner.clone().filter(|_| self.kind.is_none());
                Ok(Plan::Room { kind, topic: topic.clone(), slow_mode_ms: *slow_mode_ms, owner })
            }
            _ if !self.exist() && asking.is_some() => Err(RightsRefusal::NoRights),
            RightsUpdate::Accept(user) => {
                let state = self.state(user);
                if state.role != Some(Role::Invited) {
                    return Ok(Plan::Unchanged);
                }
                self.plan_user(user, UserState { role: Some(Role::Member), ..state }, now)
            }
            RightsUpdate::User { action, user, role, until } => {
                let is_self = asking.is_some_and(|(asking, _)| asking == user);
                let until = until.unwrap_or(FOREVER);
                self.plan_action(*action, (user, *role, until), (rank, is_self), now)
            }
        }
    }

    fn plan_action(
        &self,
        action: Action,
        (user, role, until): (&UserName, Option<Role>, u64),
        (rank, is_self): (u8, bool),
        now: u64,
    ) -> Result<Plan, RightsRefusal> {
        let state = self.state(user);
        let is_refused = if is_self { action != Action::Remove } else { rank < 2 || rank <= state.rank() };
        if is_refused {
            return Err(RightsRefusal::Rank);
        }
        let next = match action {
            Action::Role | Action::Invite => {
                let role = if action == Action::Invite { Some(Role::Invited) } else { role };
                if state.is_banned(now) {
                    return Err(RightsRefusal::TargetBanned);
                }
                if role == state.role || action == Action::Invite && state.role.is_some() {
                    return Ok(Plan::Unchanged);
                }
                let is_too_high =
                    role.map_or(0, Role::rank) >= rank && (role, rank) != (Some(Role::Owner), 3);
                if is_too_high {
                    return Err(RightsRefusal::Rank);
                }
                UserState { role, banned_until: 0, ..state }
            }
            Action::Kick => return Ok(Plan::Entry),
            Action::Remove => {
                if is_self && state.role.is_none() {
                    return Ok(Plan::Unchanged);
                }
                let owners = self.users.values().filter(|state| state.role == Some(Role::Owner)).count();
                if is_self && state.role == Some(Role::Owner) && owners <= 1 {
                    return Err(RightsRefusal::LastOwner);
                }
                UserState { role: None, ..state }
            }
            Action::Ban | Action::Mute if until <= now => return Err(RightsRefusal::Past),
            Action::Ban => {
                if state.role.is_none() && state.banned_until == until {
                    return Ok(Plan::Unchanged);
                }
                UserState { role: None, banned_until: until, ..state }
            }
            Action::Unban if !state.is_banned(now) => return Ok(Plan::Unchanged),
            Action::Unban => UserState { banned_until: 0, ..state },
            Action::Mute if state.muted_until == until => return Ok(Plan::Unchanged),
            Action::Mute => UserState { muted_until: until, ..state },
            Action::Unmute if !state.is_muted(now) => return Ok(Plan::Unchanged),
            Action::Unmute => UserState { muted_until: 0, ..state },
        };
        self.plan_user(user, next, now)
    }

    fn plan_user(&self, user: &UserName, state: UserState, now: u64) -> Result<Plan, RightsRefusal> {
        if is_kept(&state, now) && !self.users.contains_key(user) && self.users.len() >= MAX_USERS {
            // What has ended makes place.
            let kept = self.users.values().filter(|state| is_kept(state, now)).count();
            if kept >= MAX_USERS {
                return Err(RightsRefusal::TooManyUsers);
            }
        }
        Ok(Plan::User { user: user.clone(), state })
    }

    /// Applies what was decided at this time (Unix ms). The entry of it was appended.
    pub(super) fn apply(&mut self, plan: Plan, now: u64) {
        self.kind.get_or_insert(RoomKind::Open);
        match plan {
            Plan::Unchanged | Plan::Entry => {}
            Plan::Room { kind, topic, slow_mode_ms, owner } => {
                self.kind = Some(kind);
                self.topic = topic.unwrap_or(std::mem::take(&mut self.topic));
                self.slow_mode_ms = slow_mode_ms.unwrap_or(self.slow_mode_ms);
                if let Some(owner) = owner {
                    self.users.insert(owner, UserState { role: Some(Role::Owner), ..UserState::default() });
                }
            }
            Plan::User { user, state } => {
                if is_kept(&state, now) {
                    if self.users.len() >= MAX_USERS {
                        self.users.retain(|_, state| is_kept(state, now));
                    }
                    self.users.insert(user, state);
                } else {
                    self.users.remove(&user);
                }
            }
        }
    }
}
