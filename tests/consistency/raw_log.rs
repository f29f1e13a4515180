//! The raw logs, read from Redis directly. Owns the format of keys and entries, as seen from outside; uses no answer of a node.
//! Called once, at the end of a run.

use std::net::SocketAddr;
use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use serde::Deserialize;
use uuid::Uuid;

use crate::entry::EntryBody;
use crate::history::{Event, Kind, LogEntry, Topic};
use crate::wire::{epoch, room_name, user_name, user_number};

/// What stands in the place of erased entries: for each one its seq, id, the id before it, its body, and 1 if it was a message.
const ERASED: &str = r"
local erased = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local seq, epoch = string.match(field, '^t(%d+) (%x+)$')
  if epoch == ARGV[1] and seq + 0 >= ARGV[2] + 0 then
    local place = cmsgpack.unpack(redis.call('HGET', KEYS[1], field))
    erased[#erased + 1] = { seq, place[1], place[2], place[4], place[5] or 0 }
  end
end
return erased";

/// The number of entries per request.
const PAGE: usize = 2_000;

/// A connection with long timeouts, because the machine may still be busy after the run.
pub async fn connect(redis: SocketAddr) -> redis::RedisResult<MultiplexedConnection> {
    let patience = Some(Duration::from_secs(30));
    let patient =
        AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience);
    let client = redis::Client::open(format!("redis://{redis}"))?;
    client.get_multiplexed_async_connection_with_config(&patient).await
}

/// One log; none if it does not exist.
pub async fn read(
    connection: &mut MultiplexedConnection,
    prefix: &str,
    topic: Topic,
) -> redis::RedisResult<Option<Event>> {
    let tag = match topic {
        Topic::Room(room) => format!("{prefix}:{{r:{}}}", room_name(room)),
        Topic::Inbox(user) => format!("{prefix}:{{u:{}}}", user_name(user)),
    };
    let meta: (Option<String>, Option<String>) =
        redis::cmd("HMGET").arg(format!("{tag}:meta")).arg("e").arg("f").query_async(connection).await?;
    let (Some(text), Some(first)) = meta else { return Ok(None) };
    let Some(epoch) = epoch(&text) else { return Ok(None) };
    let mut entries: Vec<LogEntry> = Vec::new();
    loop {
        let after = entries.last().map_or("-".to_owned(), |last| format!("({}-0", last.seq));
        let page: Vec<(String, Vec<(String, String)>)> = redis::cmd("XRANGE")
            .arg(format!("{tag}:log"))
            .arg(after)
            .arg("+")
            .arg("COUNT")
            .arg(PAGE)
            .query_async(connection)
            .await?;
        let whole = page.len() == PAGE;
        entries.extend(page.iter().map(|(id, fields)| {
            entry(id, fields).unwrap_or_else(|| panic!("invalid entry in {topic:?}: {id} {fields:?}"))
        }));
        if !whole {
            break;
        }
    }
    let eval = |command: &mut redis::Cmd| {
        command.arg(ERASED).arg(1).arg(format!("{tag}:x")).arg(&text).arg(&first).to_owned()
    };
    let erased: Vec<(u64, String, String, String, u8)> =
        eval(&mut redis::cmd("EVAL")).query_async(connection).await?;
    for (seq, message_id, prev, body, is_message) in erased {
        let fields =
            [("i", message_id), ("p", prev), ("b", body)].map(|(key, value)| (key.to_owned(), value));
        let erased = entry(&format!("{seq}-0"), &fields);
        let erased = erased.unwrap_or_else(|| panic!("invalid tombstone in {topic:?}: {seq} {fields:?}"));
        let kind = if is_message == 1 { Kind::Tombstone } else { Kind::ErasedEdit };
        entries.push(LogEntry { kind, ..erased });
    }
    entries.sort_by_key(|entry| entry.seq);
    Ok(Some(Event::Log { topic, epoch, entries }))
}

fn entry(id: &str, fields: &[(String, String)]) -> Option<LogEntry> {
    let field = |name| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let message = |text: &str| match text {
        "" | "-" => Some(Uuid::nil()),
        text => text.parse().ok(),
    };
    let json = format!("{{{}}}", field("b")?);
    let body: EntryBody<'_> = serde_json::from_str(&json).ok()?;
    let name: Change<'_> = serde_json::from_str(&json).ok()?;
    let kind = body.kind(name.change.unwrap_or("GroupChat"))?;
    Some(LogEntry {
        seq: id.strip_suffix("-0")?.parse().ok()?,
        message_id: message(field("i")?)?,
        prev: message(field("p")?)?,
        id: body.publish_id(kind),
        sender: user_number(body.sender_username),
        kind,
    })
}

/// How the body of a change begins.
#[derive(Deserialize)]
struct Change<'a> {
    change: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::content;

    #[test]
    fn entry_is_parsed_from_its_fields() {
        let (id, message_id) = (Uuid::from_u128(4), Uuid::from_u128(5));
        let body = format!(
            r#""change":"Edit","sender_username":"user-007","target":{{"message_id":"{id}"}},"content":"{}","client_id":"{id}""#,
            content(id, 5)
        );
        let fields = [("i", message_id.to_string()), ("p", String::new()), ("t", "1".into()), ("b", body)]
            .map(|(key, value)| (key.to_owned(), value));
        let expected = LogEntry {
            seq: 12,
            message_id,
            prev: Uuid::nil(),
            id: Some(id),
            sender: Some(7),
            kind: Kind::Edit { target: id },
        };
        assert_eq!(entry("12-0", &fields), Some(expected));
    }
}
