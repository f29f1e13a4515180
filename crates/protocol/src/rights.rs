//! Rooms with rights: their kinds, the roles of their users, and what can be done to a user. Owns the words and their order; the stores
//! decide what a user may do. Used by requests, events and nodes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text;
use crate::word::{Word, WordSet, words};

/// The most bytes of the topic of a room.
pub const MAX_TOPIC_BYTES: usize = 256;

/// The longest slow mode of a room: a day, in milliseconds.
pub const MAX_SLOW_MODE_MS: u64 = 86_400_000;

words! {
    /// Who may enter a room and write there.
    pub enum RoomKind {
        /// Everybody may.
        Open = "open",
        /// Only users with a role may.
        Private = "private",
        /// Everybody may enter, and only moderators and owners may write.
        Announce = "announce",
    }
}

words! {
    /// What a user is in a room.
    pub enum Role {
        /// May do everything, and make others owners.
        Owner = "owner",
        /// May write where others read, and moderate users with a lower role.
        Moderator = "moderator",
        /// May enter a private room and write there.
        Member = "member",
        /// May enter a private room, and is a member from then on.
        Invited = "invited",
    }
}

words! {
    /// What is done to a user of a room.
    pub enum Action {
        /// The user loses the role and leaves the room.
        Remove = "remove",
        /// The user leaves the room, keeps the role, and may enter again.
        Kick = "kick",
        /// The user loses the role, leaves the room and may not enter again.
        Ban = "ban",
        /// The ban ends.
        Unban = "unban",
        /// The user may not write, edit or react.
        Mute = "mute",
        /// The mute ends.
        Unmute = "unmute",
        /// The user gets a role. By the user itself: it was invited, and entered.
        Role = "role",
        /// The user may enter, and gets an invitation.
        Invite = "invite",
    }
}

impl Role {
    /// The rank: a user may act only on those with a lower one. Who has no role has the rank 0, as who is only invited.
    pub fn rank(self) -> u8 {
        match self {
            Self::Owner => 3,
            Self::Moderator => 2,
            Self::Member => 1,
            Self::Invited => 0,
        }
    }
}

/// In what a client asks for, a word has to be one of the set.
macro_rules! requested {
    ($($name:ident: $known:literal),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::read(deserializer, |word| Self::of(word).ok_or(concat!("must be one of ", $known)))
            }
        }
    )+};
}

requested! {
    RoomKind: "open, private, announce",
    Role: "owner, moderator, member, invited",
    Action: "remove, kick, ban, unban, mute, unmute, role, invite"
}

/// What a room with rights is, and what its reader is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoomRights {
    /// Who may enter and write.
    pub kind: Word<RoomKind>,
    /// What the room is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// How long a user without the role of a moderator has to wait between two messages, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_mode_ms: Option<u64>,
    /// The role of the user that asks. Left out if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Word<Role>>,
    /// The user may not write before this time, in Unix milliseconds. 0: until a moderator ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<u64>,
    /// The token of the user grants it to write here, whatever its role. Left out if false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_write: bool,
}
