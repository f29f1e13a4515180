//! Addresses that servers announce and that are others for this node: behind NAT, or in a network of containers. Owns the form of
//! the setting and the translation. Used by the validation and by the backend that connects.

use super::redis_url::RedisAddress;

/// What each item must be.
const FORM: &str = "must list pairs such as 172.17.0.3:6379=redis-1.example.com:6379 or 172.17.0.3=10.0.0.7, announced \
                    address first";

/// Translates addresses.
#[derive(Debug, Clone, Default)]
pub struct AddressMap(Vec<(Place, Place)>);

/// A host, and a port unless every port is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    host: String,
    port: Option<u16>,
}

impl AddressMap {
    /// Parses the pairs.
    ///
    /// # Errors
    /// The text says what an item must be, as in "redis.address_map must …".
    pub fn parse(pairs: &[String]) -> Result<Self, String> {
        let parse = |pair: &String| {
            let (announced, reachable) = pair.split_once('=')?;
            let (announced, reachable) = (Place::parse(announced)?, Place::parse(reachable)?);
            // A port alone can't stand for all ports of a host.
            (announced.port.is_some() || reachable.port.is_none()).then_some((announced, reachable))
        };
        let pairs = pairs.iter().map(|pair| parse(pair).ok_or_else(|| format!("{FORM}, not {pair}")));
        Ok(Self(pairs.collect::<Result<_, _>>()?))
    }

    /// The address at which this node reaches the server that announces `host` and `port`. A pair with a port wins.
    pub fn reachable(&self, host: &str, port: u16, is_tls: bool) -> RedisAddress {
        let find = |wanted: Option<u16>| {
            self.0.iter().find(|(announced, _)| announced.host == host && announced.port == wanted)
        };
        let (host, port) = match find(Some(port)).or_else(|| find(None)) {
            Some((_, to)) => (to.host.as_str(), to.port.unwrap_or(port)),
            None => (host, port),
        };
        RedisAddress::Tcp { host: host.into(), port, is_tls }
    }
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (host, rest) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            // An IPv6 address without brackets has no port.
            None if text.matches(':').count() > 1 => (text, ""),
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok().filter(|port| *port > 0)?),
            None if rest.is_empty() => None,
            None => return None,
        };
        let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@');
        is_host.then(|| Self { host: host.into(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pair_translates_one_port_or_all_ports_of_a_host() {
        let pairs = ["172.17.0.3:6379=redis-1:7001", "172.17.0.3 = 10.0.0.7", "[fd00::3]:6379=[::1]:7002"];
        let map = AddressMap::parse(&pairs.map(String::from)).unwrap();
        for (host, port, reachable) in [
            ("172.17.0.3", 6379, "redis-1:7001"),
            ("172.17.0.3", 6380, "10.0.0.7:6380"),
            ("fd00::3", 6379, "[::1]:7002"),
            ("172.17.0.4", 6379, "172.17.0.4:6379"),
        ] {
            assert_eq!(map.reachable(host, port, false).to_string(), reachable);
        }
    }

    #[test]
    fn pair_without_two_addresses_is_refused() {
        for bad in ["a", "a=", "=b", "a:0=b:1", "a:x=b:1", "a=b:1", "redis://a=b", "[::1=b"] {
            let error = AddressMap::parse(&[bad.to_owned()]).unwrap_err();
            assert!(error.contains("announced address first") && error.ends_with(bad), "{error}");
        }
    }
}
