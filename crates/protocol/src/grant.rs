//! What a token of an identity provider grants its user in rooms. Owns which rooms an entry means, and the words for what it grants there;
//! the node reads them from a token. Used by nodes.

use crate::name::RoomName;
use crate::word::words;

/// Ends an entry that means each room with this beginning.
const ANY_END: char = '*';

words! {
    /// What a token can grant in a room.
    pub enum Granted {
        /// To enter, and to read the history and the list of members.
        Read = "read",
        /// To write messages.
        Write = "write",
        /// To make it a room with rights.
        Create = "create",
    }
}

/// What a token grants in one room, beside the role that its user has there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grant {
    /// To enter, and to read.
    pub read: bool,
    /// To write messages.
    pub write: bool,
    /// To make it a room with rights.
    pub create: bool,
}

impl Grant {
    /// Adds what a word grants.
    pub fn add(&mut self, granted: Granted) {
        match granted {
            Granted::Read => self.read = true,
            Granted::Write => self.write = true,
            Granted::Create => self.create = true,
        }
    }

    /// What at least one of the two grants.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            read: self.read || other.read,
            write: self.write || other.write,
            create: self.create || other.create,
        }
    }
}

/// A room, or all rooms with the same beginning: the name, or the beginning with `*` behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomPattern {
    /// This room.
    Room(RoomName),
    /// Each room that begins like this, in the form that names have.
    Prefix(String),
}

impl RoomPattern {
    /// Reads the text.
    ///
    /// # Errors
    /// No room can have such a name, or begin like this. The text says why, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_suffix(ANY_END) {
            Some(prefix) => prefix_of(prefix).map(Self::Prefix),
            None => RoomName::parse(text).map(Self::Room).map_err(|error| error.to_string()),
        }
    }

    /// Whether this room is meant.
    pub fn is_of(&self, room: &RoomName) -> bool {
        match self {
            Self::Room(name) => name == room,
            Self::Prefix(prefix) => room.as_str().starts_with(prefix),
        }
    }
}

/// A beginning in the form that names have: another letter behind it must give a name.
fn prefix_of(prefix: &str) -> Result<String, String> {
    const LETTER: char = 'x';
    let name = RoomName::parse(&format!("{prefix}{LETTER}")).map_err(|error| error.to_string())?;
    Ok(name.as_str().strip_suffix(LETTER).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_means_a_room_or_a_beginning() {
        let is_of = |pattern: &str, room: &str| {
            RoomPattern::parse(pattern).unwrap().is_of(&RoomName::parse(room).unwrap())
        };
        assert!(is_of("ops", "ops") && is_of(" ops ", "ops") && !is_of("ops", "ops2"));
        assert!(is_of("ops*", "ops") && is_of("ops*", "ops-night") && !is_of("ops*", "op"));
        assert!(is_of("*", "anything"));
        // Brought to NFC, as names are.
        assert!(is_of("cafe\u{301}*", "caf\u{e9}-2"));
        assert!(RoomPattern::parse("").is_err() && RoomPattern::parse("a\u{202e}*").is_err());
    }
}
