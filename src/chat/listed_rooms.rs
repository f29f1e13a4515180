//! The rooms that users can find. Owns what `rooms.listed` means, and the merge of rooms that it names with those that begin as
//! it says; presence knows who is in them. Called by `chat::members`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::backend::{BackendError, Presence, RoomSize, RoomsPage};
use crate::protocol::{RoomName, RoomPattern};

/// The rooms that the settings list.
#[derive(Debug, Default)]
pub(super) struct ListedRooms {
    /// Listed also while nobody is in them.
    names: BTreeSet<RoomName>,
    /// Rooms that begin like this are listed while somebody is in them. None begins like another one.
    prefixes: BTreeSet<String>,
}

impl ListedRooms {
    /// Reads the entries of the setting.
    ///
    /// # Errors
    /// Says which entry is no name.
    pub(super) fn new(entries: &[String]) -> Result<Self, String> {
        let mut listed = Self::default();
        for entry in entries {
            match RoomPattern::parse(entry).map_err(|error| format!("{entry:?} {error}"))? {
                RoomPattern::Prefix(prefix) => listed.prefixes.insert(prefix),
                RoomPattern::Room(room) => listed.names.insert(room),
            };
        }
        let all = listed.prefixes.clone();
        listed
            .prefixes
            .retain(|prefix| !all.iter().any(|other| other != prefix && prefix.starts_with(other)));
        Ok(listed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.prefixes.is_empty()
    }

    /// Whether an entry is this name.
    pub(super) fn has_name(&self, room: &RoomName) -> bool {
        self.names.contains(room)
    }

    /// A page of them after a room. Asks the store once for each beginning that the page can reach, and once for the sizes of the
    /// rooms that were named.
    pub(super) async fn page(
        &self,
        presence: &dyn Presence,
        after: Option<&RoomName>,
        limit: u32,
    ) -> Result<RoomsPage, BackendError> {
        let wanted = limit as usize + 1;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found: BTreeMap<RoomName, Option<u64>> = BTreeMap::new();
        let mut is_complete = true;
        for prefix in &self.prefixes {
            // What is found already fills the page before this beginning.
            if found.keys().filter(|room| room.as_str() < prefix.as_str()).count() >= wanted {
                break;
            }
            let is_over =
                |after: &RoomName| after.as_str() > prefix.as_str() && !after.as_str().starts_with(prefix);
            if after.is_some_and(is_over) {
                continue;
            }
            // A page of the store is after a room, so the room that is the beginning itself is asked for by its name.
            let start = RoomName::parse(prefix).ok();
            let is_itself =
                |room: &RoomName| room.as_str() == prefix && after.is_none_or(|after| room > after);
            if let Some(room) = start.clone().filter(is_itself) {
                found.insert(room, None);
            }
            let page = presence.rooms(after.max(start.as_ref()), limit + 1).await?;
            is_complete &= page.is_complete;
            let rooms = page.rooms.into_iter().filter(|size| size.room.as_str().starts_with(prefix));
            found.extend(rooms.map(|size| (size.room, Some(size.count))));
        }
        for room in self.names.range::<RoomName, _>((from, Bound::Unbounded)).take(wanted) {
            found.entry(room.clone()).or_insert(None);
        }
        let unknown: Vec<RoomName> =
            found.iter().filter(|(_, count)| count.is_none()).map(|(room, _)| room.clone()).collect();
        if !unknown.is_empty() {
            let page = presence.sizes(&unknown).await?;
            is_complete &= page.is_complete;
            found.extend(page.rooms.into_iter().map(|size| (size.room, Some(size.count))));
        }
        let is_listed = |room: &RoomName, count: u64| count > 0 || self.has_name(room);
        let rooms = found.into_iter().map(|(room, count)| (room, count.unwrap_or(0)));
        let mut rooms: Vec<RoomSize> = rooms
            .filter(|(room, count)| is_listed(room, *count))
            .map(|(room, count)| RoomSize { room, count })
            .collect();
        let more = rooms.len() > limit as usize;
        rooms.truncate(limit as usize);
        Ok(RoomsPage { rooms, more, is_complete })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(entries: &[&str]) -> Result<ListedRooms, String> {
        ListedRooms::new(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn entries_are_names_or_beginnings() {
        let rooms = listed(&[" lobby ", "dev-*", "dev-rust*", "e\u{301}*", "team *", "a*b"]).unwrap();
        let names: Vec<&str> = rooms.names.iter().map(RoomName::as_str).collect();
        assert_eq!(names, ["a*b", "lobby"]);
        assert_eq!(rooms.prefixes.iter().collect::<Vec<_>>(), ["dev-", "team ", "é"]);
        assert_eq!(listed(&["*", "x*"]).unwrap().prefixes.len(), 1);
        assert!(listed(&[]).unwrap().is_empty());
        let long = format!("{}*", "y".repeat(64));
        for bad in ["", " ", "a\nb", "a\nb*", &long] {
            assert!(listed(&[bad]).unwrap_err().starts_with(&format!("{bad:?} ")), "{bad:?}");
        }
    }
}
