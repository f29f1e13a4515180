//! The address of a client behind proxies. Owns the use of `X-Forwarded-For`: only that of a trusted proxy counts, read
//! from the right, so that entries that the client wrote itself are never used; and whether limits per address apply to
//! it. Called by the listener, once for each request.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The address of a client, as far as the node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientAddress {
    /// That of the peer, or, if the peer is a trusted proxy, the last address in `X-Forwarded-For` that is not a trusted
    /// proxy.
    pub(super) address: IpAddr,
    pub(super) shared: Shared,
}

/// Whether an address stands for many clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shared {
    No,
    /// A trusted proxy that named no client: perhaps it is the client itself.
    ByProxy,
    /// A trusted proxy that forwards and names no client in a form that the node reads.
    ByUnreadableProxy,
    /// A private peer that forwards for others and is not trusted. It is most likely a balancer, and an error in the
    /// settings.
    ByUntrustedProxy,
}

impl ClientAddress {
    pub(super) fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
        let mut address = peer.to_canonical();
        let has_forwarded = headers.contains_key("forwarded");
        let lines = headers.get_all("x-forwarded-for");
        if !is_trusted(address) {
            let forwards = has_forwarded || lines.iter().next().is_some();
            let shared = if forwards && is_private(address) { Shared::ByUntrustedProxy } else { Shared::No };
            return Self { address, shared };
        }
        // No proxy in use sends only `Forwarded`, so the node does not read it.
        let mut shared = if has_forwarded { Shared::ByUnreadableProxy } else { Shared::ByProxy };
        for line in lines.iter().rev() {
            for hop in line.as_bytes().rsplit(|byte| *byte == b',') {
                // No trusted proxy wrote an invalid address, so the entries to its left can't be trusted.
                let Some(hop) = parse_hop(hop) else {
                    return Self { address, shared: Shared::ByUnreadableProxy };
                };
                address = hop.to_canonical();
                if !is_trusted(address) {
                    return Self { address, shared: Shared::No };
                }
                shared = Shared::ByProxy;
            }
        }
        Self { address, shared }
    }

    /// The address, an IPv6 one as its network.
    pub(super) fn network(&self) -> IpAddr {
        network_of(self.address)
    }

    /// What limits per address count: one client usually has a whole /64 of IPv6 addresses. None: many clients may have
    /// this address, and a limit would take them for one.
    pub(super) fn counted(&self) -> Option<IpAddr> {
        match self.shared {
            Shared::No => Some(self.network()),
            Shared::ByProxy | Shared::ByUnreadableProxy | Shared::ByUntrustedProxy => None,
        }
    }
}

/// One address in `X-Forwarded-For`. Some proxies add the port of the client, and write IPv6 in brackets.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    if let Ok(address) = hop.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(socket) = hop.parse::<SocketAddr>() {
        return Some(socket.ip());
    }
    hop.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> ClientAddress {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        ClientAddress::of(peer.parse().unwrap(), &headers, &trusted)
    }

    fn address_of(peer: &str, forwarded: &[&str]) -> String {
        client(peer, forwarded).address.to_string()
    }

    #[test]
    fn untrusted_peer_cannot_set_its_address() {
        assert_eq!(address_of("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
    }

    #[test]
    fn trusted_proxy_entries_are_read_from_the_right() {
        assert_eq!(address_of("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(address_of("10.0.0.1", &["6.6.6.6, 198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(address_of("10.0.0.1", &["6.6.6.6", "198.51.100.1"]), "198.51.100.1");
        assert_eq!(address_of("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn entry_may_have_a_port_and_brackets() {
        for (entry, address) in [
            ("203.0.113.7:4711", "203.0.113.7"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("6.6.6.6, 203.0.113.7:4711, [::ffff:10.0.0.2]:80, 10.0.0.3:1", "203.0.113.7"),
            ("[::ffff:203.0.113.7]:4711", "203.0.113.7"),
        ] {
            let client = client("10.0.0.1", &[entry]);
            assert_eq!(
                (client.address.to_string().as_str(), client.shared),
                (address, Shared::No),
                "{entry}"
            );
        }
    }

    #[test]
    fn invalid_entry_stops_the_reading() {
        for entry in [
            "nonsense",
            "",
            "unknown",
            "_hidden",
            "for=203.0.113.7",
            "\"[2001:db8::1]\"",
            "203.0.113.7:",
            "203.0.113.7:65536",
            "203.0.113.7:http",
            "[203.0.113.7]",
            "[2001:db8::1",
            "2001:db8::1]:80",
            "[2001:db8::1]80",
            "[[2001:db8::1]]",
            "203.0.113.7 198.51.100.1",
        ] {
            let client = client("10.0.0.1", &[&format!("6.6.6.6, {entry}, 10.0.0.2")]);
            assert_eq!(client.address.to_string(), "10.0.0.2", "{entry}");
            assert_eq!((client.shared, client.counted()), (Shared::ByUnreadableProxy, None), "{entry}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", axum::http::HeaderValue::from_bytes(b"6.6.6.6, \xff").unwrap());
        let client = ClientAddress::of([10, 0, 0, 1].into(), &headers, &["10.0.0.0/8".parse().unwrap()]);
        assert_eq!((client.address, client.shared), ([10, 0, 0, 1].into(), Shared::ByUnreadableProxy));
    }

    #[test]
    fn proxies_are_not_one_client() {
        assert_eq!(client("10.0.0.1", &[]).shared, Shared::ByProxy);
        assert_eq!(client("10.0.0.1", &["10.0.0.2"]).shared, Shared::ByProxy);
        assert_eq!(client("10.0.0.1", &[]).counted(), None);
        assert_eq!(client("192.168.0.1", &["198.51.100.1"]).shared, Shared::ByUntrustedProxy);
        assert_eq!(client("192.168.0.1", &["198.51.100.1"]).counted(), None);
        assert_eq!(client("fd00::1", &["198.51.100.1"]).shared, Shared::ByUntrustedProxy);
        assert_eq!(client("192.168.0.1", &[]).shared, Shared::No);
        assert_eq!(client("203.0.113.9", &["198.51.100.1"]).shared, Shared::No, "anyone can send the header");
        assert_eq!(client("10.0.0.1", &["192.168.0.7"]).shared, Shared::No, "a client of a trusted proxy");
    }

    #[test]
    fn forwarded_alone_names_no_client() {
        let mut headers = HeaderMap::new();
        headers.insert("forwarded", "for=198.51.100.1".parse().unwrap());
        let shared = |peer: [u8; 4], headers: &HeaderMap| {
            ClientAddress::of(peer.into(), headers, &["10.0.0.0/8".parse().unwrap()]).shared
        };
        assert_eq!(shared([10, 0, 0, 1], &headers), Shared::ByUnreadableProxy);
        assert_eq!(shared([192, 168, 0, 1], &headers), Shared::ByUntrustedProxy);
        headers.insert("x-forwarded-for", "198.51.100.2".parse().unwrap());
        assert_eq!(shared([10, 0, 0, 1], &headers), Shared::No);
    }

    #[test]
    fn ipv6_network_counts_as_one() {
        let counted = |address: &str| network_of(address.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("192.0.2.7"), "192.0.2.7");
    }
}
