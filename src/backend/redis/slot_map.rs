//! What a server of a Redis Cluster says about the slots. Owns the reading of `CLUSTER SLOTS`; asks nobody. Used by the slot reader.

use redis::Value;

use super::slot_owners::SlotOwners;

/// A server: its id, host (empty: that of the server which was asked) and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerName {
    pub(super) id: String,
    pub(super) host: String,
    pub(super) port: u16,
}

/// The slots as one server has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotMap {
    pub(super) owners: SlotOwners<ServerName>,
    /// The replicas.
    pub(super) replicas: Vec<ServerName>,
}

impl SlotMap {
    /// Reads the reply to `CLUSTER SLOTS`: `[first, last, [host, port, id, …], replica…]` for each range. A range whose master is at
    /// an unknown address (`?`) has none here. `None` for another format.
    pub(super) fn parse(reply: &Value) -> Option<Self> {
        let Value::Array(ranges) = reply else { return None };
        let mut map = Self { owners: SlotOwners::nobody(), replicas: Vec::new() };
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [Value::Int(first), Value::Int(last), servers @ ..] = &range[..] else { return None };
            let mut servers = servers.iter().map(server);
            let master = servers.next()??;
            map.owners.assign(usize::try_from(*first).ok()?, usize::try_from(*last).ok()?, master)?;
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

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn parse(reply: &str) -> Option<SlotMap> {
        SlotMap::parse(&parse_redis_value(reply.replace(' ', "\r\n").as_bytes()).unwrap())
    }

    fn name(id: &str, host: &str, port: u16) -> ServerName {
        ServerName { id: id.into(), host: host.into(), port }
    }

    #[test]
    fn ranges_name_their_master_and_replicas() {
        let map = parse(
            "*3 *4 :0 :5460 *4 $9 127.0.0.1 :7000 $1 a *0 *4 $3 ::1 :7003 $1 d *2 $8 hostname $1 h \
             *3 :5461 :5461 *3 $0  :7001 $1 b \
             *4 :5462 :16383 *3 $9 127.0.0.1 :7000 $1 a *3 $3 ::1 :7003 $1 d ",
        );
        let map = map.unwrap();
        assert_eq!(map.owners.masters(), [name("a", "127.0.0.1", 7000), name("b", "", 7001)]);
        for (slot, place) in [(0, 0), (5460, 0), (5461, 1), (5462, 0), (16_383, 0)] {
            assert_eq!(map.owners.place(slot), Some(place), "{slot}");
        }
        assert_eq!(map.replicas, [name("d", "::1", 7003)]);
    }

    #[test]
    fn master_without_a_known_address_has_no_slots() {
        // Redis says NULL or "" for itself, and "?" where it does not know the name that it is to tell.
        let map =
            parse("*2 *3 :0 :9 *3 $-1 :7000 $1 a *4 :10 :19 *3 $1 ? :7001 $1 b *3 $1 h :7002 $1 c ").unwrap();
        assert_eq!(map.owners.owner(9), Some(&name("a", "", 7000)));
        assert_eq!((map.owners.owner(10), map.owners.owner(20)), (None, None));
        assert_eq!(map.owners.masters().len(), 1);
        // No replica takes the place of its master.
        assert_eq!(map.replicas, [name("c", "h", 7002)]);
    }

    #[test]
    fn other_formats_are_refused() {
        assert_eq!(parse("*0 ").unwrap().owners.place(0), None);
        for reply in [
            "$4 text ",
            "*1 :5 ",
            "*1 *2 :0 :5 ",
            "*1 *3 :0 :5 :7 ",
            "*1 *3 :0 :16384 *3 $1 h :7000 $1 a ",
            "*1 *3 :-1 :5 *3 $1 h :7000 $1 a ",
            "*1 *3 :0 :5 *3 $1 h :70000 $1 a ",
            "*1 *3 :0 :5 *3 :1 :7000 $1 a ",
        ] {
            assert_eq!(parse(reply), None, "{reply}");
        }
    }
}
