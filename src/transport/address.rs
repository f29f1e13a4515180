//! The address of a client behind proxies. Owns the use of `X-Forwarded-For`: only that of a trusted proxy counts, read
//! from the right, so that entries that the client wrote itself are never used. Called at the handshake.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The client's address: that of the peer, or, if the peer is a trusted proxy, the last address in `X-Forwarded-For`
/// that is not a trusted proxy.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let peer = peer.to_canonical();
    if !is_trusted(peer) {
        return peer;
    }
    let lines = headers.get_all("x-forwarded-for").iter();
    let hops: Vec<&str> =
        lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).collect();
    let mut address = peer;
    for hop in hops.iter().rev() {
        // No trusted proxy wrote an invalid address, so the entries to its left can't be trusted.
        let Ok(hop) = hop.trim().parse::<IpAddr>() else { return address };
        address = hop.to_canonical();
        if !is_trusted(address) {
            return address;
        }
    }
    address
}

/// What limits per address count: one client usually has a whole /64 of IPv6 addresses.
pub(super) fn counted_as(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// Whether many clients may have this address of [`client_address`], so that a limit that nobody set must not count them
/// as one: it is a trusted proxy that named no client, or a private peer that forwards for others and is not trusted. The
/// second is most likely a balancer, and an error in the settings.
pub(super) fn is_shared(peer: IpAddr, address: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Shared {
    if trusted.iter().any(|network| network.contains(&address)) {
        return Shared::ByProxy;
    }
    let is_private = match peer.to_canonical() {
        IpAddr::V4(peer) => peer.is_private() || peer.is_loopback() || peer.is_link_local(),
        IpAddr::V6(peer) => peer.is_loopback() || peer.is_unique_local() || peer.is_unicast_link_local(),
    };
    let forwards = headers.contains_key("x-forwarded-for") || headers.contains_key("forwarded");
    // A trusted proxy names a client, which may well have a private address too.
    let is_peer = address == peer.to_canonical();
    if is_peer && is_private && forwards { Shared::ByUntrustedProxy } else { Shared::No }
}

/// Whether an address stands for many clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shared {
    No,
    ByProxy,
    ByUntrustedProxy,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address_of(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
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
    fn proxies_are_not_one_client() {
        let mut forwarded = HeaderMap::new();
        forwarded.insert("x-forwarded-for", "198.51.100.1".parse().unwrap());
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let shared = |peer: &str, headers: &HeaderMap| {
            let peer = peer.parse().unwrap();
            is_shared(peer, client_address(peer, headers, &trusted), headers, &trusted)
        };
        assert_eq!(shared("10.0.0.1", &HeaderMap::new()), Shared::ByProxy);
        assert_eq!(shared("192.168.0.1", &forwarded), Shared::ByUntrustedProxy);
        assert_eq!(shared("192.168.0.1", &HeaderMap::new()), Shared::No);
        assert_eq!(shared("203.0.113.9", &forwarded), Shared::No, "anyone can send the header");
        forwarded.insert("x-forwarded-for", "192.168.0.7".parse().unwrap());
        assert_eq!(shared("10.0.0.1", &forwarded), Shared::No, "a private client of a trusted proxy");
    }

    #[test]
    fn ipv6_network_counts_as_one() {
        let counted = |address: &str| counted_as(address.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn invalid_entry_stops_the_reading() {
        assert_eq!(address_of("10.0.0.1", &["6.6.6.6, nonsense, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(address_of("10.0.0.1", &[]), "10.0.0.1");
    }
}
