//! The raw logs, read from Redis directly. Owns the format of keys and entries, as seen from outside; uses no answer of a node.
//! Called once, at the end of a run.

use std::net::SocketAddr;
use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use uuid::Uuid;

use crate::history::{Event, LogEntry, Topic};
use crate::wire::{epoch, publish_id, room_name, user_name, user_number};

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
    let text: Option<String> =
        redis::cmd("HGET").arg(format!("{tag}:meta")).arg("e").query_async(connection).await?;
    let Some(epoch) = text.as_deref().and_then(epoch) else { return Ok(None) };
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
            return Ok(Some(Event::Log { topic, epoch, entries }));
        }
    }
}

fn entry(id: &str, fields: &[(String, String)]) -> Option<LogEntry> {
    let field = |name| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let message = |text: &str| match text {
        "" | "-" => Some(Uuid::nil()),
        text => text.parse().ok(),
    };
    let body: Value = serde_json::from_str(&format!("{{{}}}", field("b")?)).ok()?;
    Some(LogEntry {
        seq: id.strip_suffix("-0")?.parse().ok()?,
        message_id: message(field("i")?)?,
        prev: message(field("p")?)?,
        id: publish_id(body["client_id"].as_str(), body["content"].as_str()?),
        sender: body["sender_username"].as_str().and_then(user_number),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::content;

    #[test]
    fn entry_is_parsed_from_its_fields() {
        let (id, message_id) = (Uuid::from_u128(4), Uuid::from_u128(5));
        let body =
            format!(r#""sender_username":"user-007","content":"{}","client_id":"{id}""#, content(id, 5));
        let fields = [("i", message_id.to_string()), ("p", String::new()), ("t", "1".into()), ("b", body)]
            .map(|(key, value)| (key.to_owned(), value));
        let expected = LogEntry { seq: 12, message_id, prev: Uuid::nil(), id: Some(id), sender: Some(7) };
        assert_eq!(entry("12-0", &fields), Some(expected));
    }
}
