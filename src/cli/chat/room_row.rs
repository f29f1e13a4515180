//! What stands above the lines of a room with rights: who may enter and write, what the user is there, and the topic. Owns this text; does not
//! know where it is shown. Called by the screen.

use chatnode_client::text::harmless;
use chatnode_client::{RoomKind, RoomRights, Word};

use super::local_time::LocalTime;
use super::moderation_command::with_article;

/// The text, on one line and safe for a terminal. `None` if there is nothing to say.
pub(super) fn text(rights: &RoomRights, local: &LocalTime) -> Option<String> {
    let kind = (rights.kind != Word::Known(RoomKind::Open)).then(|| match rights.kind.known() {
        Some(RoomKind::Announce) => "only moderators write".to_owned(),
        _ => harmless(rights.kind.as_str()),
    });
    let slow = rights.slow_mode_ms.map(|slow| format!("one message in {} s", slow.div_ceil(1_000)));
    let role = rights.role.as_ref().map(|role| match role.known() {
        Some(role) => format!("you are {}", with_article(role)),
        None => format!("you are {}", harmless(role.as_str())),
    });
    let is_muted = rights.muted_until.is_some_and(|until| until == 0 || local.is_to_come(until));
    let muted = is_muted.then(|| "you are muted".to_owned());
    // Whatever its length, what the user may do stays visible.
    let topic = rights.topic.as_deref().map(|topic| format!("topic: {}", harmless(topic)));
    let parts: Vec<String> = [kind, slow, role, muted, topic].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" · "))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use jiff::tz::TimeZone;
    use serde_json::{Value, json};

    use super::*;

    fn text_of(rights: Value) -> Option<String> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000);
        text(&serde_json::from_value(rights).unwrap(), &LocalTime::new(&TimeZone::UTC, now))
    }

    #[test]
    fn a_room_says_what_the_user_may_do_and_its_topic() {
        for (rights, text) in [
            (json!({ "kind": "open" }), None),
            (json!({ "kind": "open", "topic": "a\u{1b}[2J\nb" }), Some("topic: a ⏎ b")),
            (
                json!({ "kind": "private", "topic": "t", "role": "owner", "slow_mode_ms": 1_500 }),
                Some("private · one message in 2 s · you are an owner · topic: t"),
            ),
            (
                json!({ "kind": "announce", "role": "member", "muted_until": 0 }),
                Some("only moderators write · you are a member · you are muted"),
            ),
            (json!({ "kind": "open", "muted_until": 1_001 }), Some("you are muted")),
            (json!({ "kind": "open", "muted_until": 1_000 }), None),
            (json!({ "kind": "hidden", "role": "janitor" }), Some("hidden · you are janitor")),
        ] {
            assert_eq!(text_of(rights).as_deref(), text);
        }
    }
}
