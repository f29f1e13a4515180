//! Rights of rooms, as stores keep them, and in private logs whom their users block: those are banned there. Owns what is asked of a store, what it says of a user, and why it refuses; the rules are in
//! `memory::rights` and `rights.lua`. Used by `chat` and by every backend.

use crate::protocol::{Action, Grant, Position, Role, RoomKind, UserName};

/// The most users of one room of whom something is kept: those with a role, and those who are banned or muted.
pub(crate) const MAX_USERS: usize = 10_000;

/// Who asks the store to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// The server API, which stands above all roles.
    Server,
    /// A user with a valid token, and what the token grants in the room.
    User(UserName, Grant),
    /// A user whose name nobody has proved: then it has no role.
    Unproven(UserName),
}

/// Makes or changes the rights of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RightsUpdate {
    /// Makes a room with rights, or changes one. What is `None` stays.
    Room {
        /// Who may enter and write. A new room needs it.
        kind: Option<RoomKind>,
        /// What it is about; empty: nothing.
        topic: Option<String>,
        /// How long a user has to wait between two messages, ms; 0: not at all.
        slow_mode_ms: Option<u64>,
        /// The owner of a new room.
        owner: Option<UserName>,
    },
    /// Does something to a user.
    User {
        /// What.
        action: Action,
        /// To whom.
        user: UserName,
        /// The new role, for [`Action::Role`].
        role: Option<Role>,
        /// When a ban or a mute ends, Unix ms. `None`: never.
        until: Option<u64>,
    },
    /// A user that was invited becomes a member. It asks itself.
    Accept(UserName),
}

/// What a room with rights is, and what a user is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRights {
    /// The newest entry of the room's log that this knows of.
    pub as_of: Position,
    /// Who may enter and write.
    pub kind: RoomKind,
    /// What the room is about.
    pub topic: Option<String>,
    /// How long a user has to wait between two messages, ms.
    pub slow_mode_ms: u64,
    /// What the user is.
    pub user: UserState,
}

/// What a user is in a room with rights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserState {
    /// The role.
    pub role: Option<Role>,
    /// When the ban ends, Unix ms; 0 without one, [`FOREVER`] if it does not end.
    pub banned_until: u64,
    /// When the mute ends.
    pub muted_until: u64,
}

/// The end of a ban or a mute that does not end.
pub const FOREVER: u64 = (1 << 53) - 1;

/// When a ban or a mute ends, as clients are told: Unix ms; 0: never. `None` if it has.
pub(crate) fn shown_end(until: u64, now: u64) -> Option<u64> {
    (until > now).then_some(if until == FOREVER { 0 } else { until })
}

impl UserState {
    /// Whether the user is banned at this time, Unix ms.
    pub fn is_banned(&self, now: u64) -> bool {
        self.banned_until > now
    }

    /// Whether the user is muted at this time, Unix ms.
    pub fn is_muted(&self, now: u64) -> bool {
        self.muted_until > now
    }

    /// The rank of the role.
    pub fn rank(&self) -> u8 {
        self.role.map_or(0, Role::rank)
    }
}

/// What a room with rights is, and all users of whom something is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomUsers {
    /// Who may enter and write.
    pub kind: RoomKind,
    /// What the room is about.
    pub topic: Option<String>,
    /// How long a user has to wait between two messages, ms.
    pub slow_mode_ms: u64,
    /// The users, by name.
    pub users: Vec<(UserName, UserState)>,
}

/// What came of the wish to make a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomClaim {
    /// It is among the rooms that the user has made.
    Known,
    /// It is from now on.
    New,
    /// The user has made as many as it may.
    TooMany,
}

/// Why the rights of a room forbid something: nothing was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RightsRefusal {
    /// The user is banned until then, Unix ms, or for [`FOREVER`].
    Banned(u64),
    /// The user is muted until then.
    Muted(u64),
    /// The room is private, and the user has no role.
    NoRole,
    /// Only moderators and owners write there.
    ReadOnly,
    /// The user's role is too low for it.
    Rank,
    /// The room has slow mode: the user may write in so many milliseconds.
    Slow(u64),
    /// The room has no rights.
    NoRights,
    /// There is such a room already, and it can't be made.
    Exists,
    /// A new room needs a kind.
    NoKind,
    /// The last owner can't leave.
    LastOwner,
    /// The target is banned: that has to end first.
    TargetBanned,
    /// The end of the ban or mute has passed.
    Past,
    /// Something is kept of so many users already.
    TooManyUsers,
    /// The target of a private message blocks its sender.
    Blocked,
    /// The user blocks so many others already.
    TooManyBlocked,
}

impl RightsRefusal {
    /// What it is in a private log, where those are banned whom its user blocks.
    pub fn in_private_log(self) -> Self {
        match self {
            Self::Banned(_) => Self::Blocked,
            Self::TooManyUsers => Self::TooManyBlocked,
            other => other,
        }
    }
}
