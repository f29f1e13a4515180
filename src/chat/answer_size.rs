//! How much fits into one answer. Owns the sizes of names and of read markers as JSON, and the choice of those that fit;
//! pages of messages are cut where they are read. Pure. Called by the requests that answer with a list.

use crate::protocol::requests::Marker;
use crate::protocol::{MessageId, UserName, encode};

/// A message id as JSON.
const ID_BYTES: usize = 38;

/// A read marker, as it is in the store or in the object of an `Auth`.
pub(super) type PrivateMarker = (UserName, MessageId);

/// A name in a list, with the comma behind it.
pub(super) fn name_bytes(name: &UserName) -> usize {
    encode::string_bytes(name.as_str()) + 1
}

/// A marker in the object of an `Auth`: the name, a colon, the id and the comma.
pub(super) fn marker_bytes((peer, _): &PrivateMarker) -> usize {
    name_bytes(peer) + 1 + ID_BYTES
}

/// How many of the first entries fit into so many bytes together; at least one, if there is one.
pub(super) fn fitting(sizes: impl IntoIterator<Item = usize>, bytes: usize) -> usize {
    let mut left = bytes;
    let mut count = 0;
    for size in sizes {
        if size > left && count > 0 {
            break;
        }
        left = left.saturating_sub(size);
        count += 1;
    }
    count
}

/// The read markers that moved last, as many as fit into so many bytes as a JSON object, and whether there are more.
/// `markers` begins with the one that moved last.
pub(super) fn latest_markers<C: FromIterator<PrivateMarker>>(
    mut markers: Vec<PrivateMarker>,
    bytes: usize,
) -> (C, bool) {
    let count = fitting(markers.iter().map(marker_bytes), bytes);
    let has_more = count < markers.len();
    markers.truncate(count);
    (markers.into_iter().collect(), has_more)
}

/// A page of read markers in the order of the names, after a name: at most `limit`, as many as fit into so many bytes as a
/// JSON list, at least one. And whether there are more.
pub(super) fn page_of_markers(
    mut markers: Vec<PrivateMarker>,
    after: Option<&UserName>,
    limit: u32,
    bytes: usize,
) -> (Vec<Marker>, bool) {
    markers.retain(|(peer, _)| after.is_none_or(|after| peer > after));
    markers.sort_unstable();
    let size = |marker: &PrivateMarker| marker_bytes(marker) + Marker::KEYS_BYTES;
    let count = fitting(markers.iter().take(limit as usize).map(size), bytes);
    let has_more = count < markers.len();
    markers.truncate(count);
    let marker = |(target_username, message_id)| Marker { target_username, message_id };
    (markers.into_iter().map(marker).collect(), has_more)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn markers(count: usize) -> Vec<PrivateMarker> {
        let name = |number: usize| UserName::parse(&format!("{number:03}\"\\")).unwrap();
        (0..count).rev().map(|number| (name(number), MessageId::generate())).collect()
    }

    #[test]
    fn first_entries_are_taken_while_they_fit() {
        for (bytes, count) in [(0, 1), (9, 1), (10, 2), (29, 2), (30, 3), (1_000, 3)] {
            assert_eq!(fitting([5, 5, 20], bytes), count, "{bytes}");
        }
        assert_eq!((fitting([50, 1], 10), fitting([], 10)), (1, 0));
    }

    #[test]
    fn markers_fill_what_is_free_and_no_more() {
        let all = markers(300);
        for bytes in [60, 4_000, 12_345, 100_000] {
            let (read, has_more): (BTreeMap<UserName, MessageId>, bool) = latest_markers(all.clone(), bytes);
            let size = serde_json::to_string(&read).unwrap().len();
            assert!(size <= bytes + 1, "{size} of {bytes}");
            assert_eq!(has_more, read.len() < 300);
            assert!(all.iter().take(read.len()).all(|(peer, _)| read.contains_key(peer)));
            let (mut found, mut after): (Vec<Marker>, _) = (Vec::new(), None);
            loop {
                let (page, has_more) = page_of_markers(all.clone(), after.as_ref(), 100, bytes);
                let size = serde_json::to_string(&page).unwrap().len();
                assert!(size <= bytes + 1 || page.len() == 1, "{size} of {bytes}");
                assert!(!page.is_empty() && page.len() <= 100);
                after = page.last().map(|marker| marker.target_username.clone());
                found.extend(page);
                if !has_more {
                    break;
                }
            }
            assert_eq!(found.len(), 300);
            assert!(found.is_sorted_by(|one, next| one.target_username < next.target_username));
        }
    }
}
