//! What a server of a Redis Cluster says about the slots. Owns the reading of `CLUSTER SLOTS`, and the decision between the maps of
//! several servers; asks nobody. Used by the slot reader.

use std::collections::HashMap;

use redis::Value;

use super::slot::SLOTS;
use crate::config::RedisAddress;

/// A server: its id, host (empty: that of the server which was asked) and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ServerName {
    pub(super) id: String,
    pub(super) host: String,
    pub(super) port: u16,
}

/// The slots as one server has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// For each slot its master, if it has one.
    pub(super) owners: Vec<Option<ServerName>>,
    /// The replicas.
    pub(super) replicas: Vec<ServerName>,
}

impl SlotMap {
    /// Reads the reply to `CLUSTER SLOTS`: `[first, last, [host, port, id, …], replica…]` for each range. A range whose master is at
    /// an unknown address (`?`) has none here. `None` for another format.
    pub(super) fn parse(reply: &Value) -> Option<Self> {
        let Value::Array(ranges) = reply else { return None };
        let mut map = Self { owners: vec![None; SLOTS], replicas: Vec::new() };
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [Value::Int(first), Value::Int(last), servers @ ..] = &range[..] else { return None };
            let slots = map.owners.get_mut(usize::try_from(*first).ok()?..=usize::try_from(*last).ok()?)?;
            let mut servers = servers.iter().map(server);
            slots.fill(servers.next()??);
            for replica in servers.flatten().flatten() {
                if !map.replicas.contains(&replica) {
                    map.replicas.push(replica);
                }
            }
        }
        Some(map)
    }
}

/// A server of a range; `Some(None)` if its address is not known.
fn server(value: &Value) -> Option<Option<ServerName>> {
    let Value::Array(fields) = value else { return None };
    let [host, Value::Int(port), id, ..] = &fields[..] else { return None };
    let host = match host {
        Value::Nil => String::new(),
        host => text(host)?,
    };
    if host == "?" {
        return Some(None);
    }
    Some(Some(ServerName { id: text(id)?, host, port: u16::try_from(*port).ok()? }))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

/// The master of each slot that most maps name. If as many name another one, `present` wins, and otherwise the first one that
/// is named: a server that is cut off from the others has an old map, and so has one that was just told nothing.
pub(super) fn majority(
    maps: &[Vec<Option<(String, RedisAddress)>>],
    present: &[Option<String>],
) -> Vec<Option<(String, RedisAddress)>> {
    (0..SLOTS)
        .map(|slot| {
            let named = || maps.iter().filter_map(|map| map[slot].as_ref());
            let mut votes: HashMap<&str, usize> = HashMap::new();
            for (id, _) in named() {
                *votes.entry(id).or_default() += 1;
            }
            let most = votes.values().copied().max()?;
            let is_present =
                |id: &str| present.get(slot).is_some_and(|present| present.as_deref() == Some(id));
            let mut leading = named().filter(|(id, _)| votes[id.as_str()] == most);
            let first = leading.clone().next();
            leading.find(|(id, _)| is_present(id)).or(first).cloned()
        })
        .collect()
}
