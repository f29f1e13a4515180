//! The raw log of the room with rights, read from Redis directly. Owns what its entries look like from outside. Called once, at the end of
//! a run.

use redis::aio::MultiplexedConnection;
use serde::Deserialize;

use crate::guarded::ROOM;
use crate::guarded_event::{GuardedEntry, GuardedEvent, GuardedKind};
use crate::history::Event;
use crate::wire::{epoch, room_name, user_number};

#[derive(Deserialize)]
struct Body {
    change: Option<String>,
    sender_username: Option<String>,
    kind: Option<String>,
    action: Option<String>,
    target_username: Option<String>,
}

/// The log; none if there is none.
pub async fn read(connection: &mut MultiplexedConnection, prefix: &str) -> redis::RedisResult<Option<Event>> {
    let tag = format!("{prefix}:{{r:{}}}", room_name(ROOM));
    let meta: Option<String> =
        redis::cmd("HGET").arg(format!("{tag}:meta")).arg("e").query_async(connection).await?;
    let Some(epoch) = meta.as_deref().and_then(epoch) else { return Ok(None) };
    let entries: Vec<(String, Vec<(String, String)>)> =
        redis::cmd("XRANGE").arg(format!("{tag}:log")).arg("-").arg("+").query_async(connection).await?;
    let entries = entries.iter().map(|(id, fields)| {
        entry(id, fields).unwrap_or_else(|| panic!("invalid entry of the room with rights: {id} {fields:?}"))
    });
    Ok(Some(Event::Guarded(GuardedEvent::Log { epoch, entries: entries.collect() })))
}

fn entry(id: &str, fields: &[(String, String)]) -> Option<GuardedEntry> {
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let body: Body = serde_json::from_str(&format!("{{{}}}", field("b")?)).ok()?;
    let user = |name: Option<String>| user_number(&name?);
    let what = match body.change.as_deref() {
        None => GuardedKind::Message { user: user(body.sender_username)? },
        Some("Room") => GuardedKind::Room { kind: body.kind },
        Some("Moderation") => GuardedKind::Action { user: user(body.target_username)?, action: body.action? },
        Some(_) => return None,
    };
    let message_id = field("i")?.parse().ok()?;
    Some(GuardedEntry { seq: id.strip_suffix("-0")?.parse().ok()?, message_id, what })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn entry_is_a_message_or_an_action() {
        let fields = |body: &str| {
            let id = Uuid::from_u128(5).to_string();
            [("i", id.as_str()), ("p", ""), ("b", body)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
        };
        let ban = r#""change":"Moderation","room":"room-99","action":"ban","target_username":"user-901""#;
        let found = entry("7-0", &fields(ban)).unwrap();
        let (message_id, action) = (Uuid::from_u128(5), "ban".to_owned());
        let what = GuardedKind::Action { user: 901, action };
        assert_eq!(found, GuardedEntry { seq: 7, message_id, what });
        let said = entry("8-0", &fields(r#""sender_username":"user-902","content":"x""#)).unwrap();
        assert_eq!(said.what, GuardedKind::Message { user: 902 });
    }
}
