//! What the settings say about rooms. Owns the default room, the rooms that users can find, and which rooms are read-only for
//! users, together with those that look like them; membership is the session's. Made by `server` before a port is open, asked by requests.

use std::collections::HashSet;

use unicode_security::confusable_detection::skeleton;

use super::error::RequestError;
use super::listed_rooms::ListedRooms;
use crate::config;
use crate::protocol::{ErrorCode, RoomName};

/// The rules for rooms of one node.
pub struct RoomRules {
    default: RoomName,
    read_only: HashSet<RoomName>,
    listed: ListedRooms,
    /// Their skeletons (UTS 39): two names with one skeleton look alike. Mostly empty, and then nothing is computed.
    skeletons: HashSet<String>,
}

impl RoomRules {
    /// Reads the rooms' names.
    ///
    /// # Errors
    /// An invalid name, with its setting.
    pub fn new(rooms: &config::Rooms) -> Result<Self, String> {
        let parse = |setting: &str, name: &String| {
            RoomName::parse(name).map_err(|error| format!("{setting} {name:?} {error}"))
        };
        let default = parse("rooms.default", &rooms.default)?;
        let read_only = rooms
            .read_only
            .iter()
            .map(|name| parse("rooms.read_only", name))
            .collect::<Result<HashSet<_>, _>>()?;
        let listed = ListedRooms::new(&rooms.listed).map_err(|error| format!("rooms.listed {error}"))?;
        let skeletons = read_only.iter().map(skeleton_of).collect();
        Ok(Self { default, read_only, listed, skeletons })
    }

    /// The room of an `Enter` without a room.
    pub(super) fn default(&self) -> &RoomName {
        &self.default
    }

    /// The rooms that users can find.
    pub(super) fn listed(&self) -> &ListedRooms {
        &self.listed
    }

    /// Whether a setting names this room.
    pub(super) fn is_named(&self, room: &RoomName) -> bool {
        *room == self.default || self.read_only.contains(room) || self.listed.has_name(room)
    }

    /// Whether a user may make this room, or change it: not one that a setting names, or one that looks like a read-only one.
    pub(super) fn check_may_change(&self, room: &RoomName) -> Result<(), RequestError> {
        if self.is_named(room) {
            let message =
                format!("room {:?} is one of the server's: only an administrator changes it", room.as_str());
            return Err(RequestError::new(ErrorCode::Forbidden, message));
        }
        self.check_may_speak(room)
    }

    /// Whether a user may publish there; the server API always may.
    pub(super) fn check_may_speak(&self, room: &RoomName) -> Result<(), RequestError> {
        if self.skeletons.is_empty() || !self.skeletons.contains(&skeleton_of(room)) {
            return Ok(());
        }
        let message = if self.read_only.contains(room) {
            format!("room {:?} is read-only for users", room.as_str())
        } else {
            format!(
                "room {:?} looks like a room that is read-only for users: use another name",
                room.as_str()
            )
        };
        Err(RequestError::new(ErrorCode::Forbidden, message))
    }
}

fn skeleton_of(room: &RoomName) -> String {
    skeleton(room.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(read_only: &[&str]) -> RoomRules {
        let read_only = read_only.iter().map(|name| (*name).to_owned()).collect();
        RoomRules::new(&config::Rooms { read_only, ..config::Rooms::default() }).unwrap()
    }

    fn may_speak(rules: &RoomRules, room: &str) -> bool {
        rules.check_may_speak(&RoomName::parse(room).unwrap()).is_ok()
    }

    #[test]
    fn rooms_that_look_like_a_read_only_one_are_read_only() {
        let rules = rules(&["news", "café"]);
        // A joiner, a Cyrillic letter, a letter-like symbol, full width, two letters for one.
        for room in [
            "news",
            "news\u{200d}",
            "n\u{435}ws",
            "ne\u{1d604}s",
            "ｎews",
            "cafe\u{301}",
            "caf\u{e9}\u{200c}",
        ] {
            assert!(!may_speak(&rules, room), "{room:?}");
        }
        for room in ["News", "NEWS", "new", "newss", "cafe", "日本"] {
            assert!(may_speak(&rules, room), "{room:?}");
        }
    }

    proptest! {
        #[test]
        fn invisible_additions_change_nothing(
            name in "[a-z]{1,20}",
            place in 0..20_usize,
            hidden in proptest::sample::select(vec!['\u{200c}', '\u{200d}', '\u{fe0f}', '\u{34f}', '\u{3164}']),
        ) {
            let rules = rules(&[&name]);
            let mut chars: Vec<char> = name.chars().collect();
            chars.insert(place.min(chars.len()), hidden);
            prop_assert!(!may_speak(&rules, &chars.into_iter().collect::<String>()));
        }

        #[test]
        fn without_read_only_rooms_all_are_writable(name in "\\p{L}{1,20}") {
            prop_assert!(may_speak(&rules(&[]), &name));
        }
    }
}
