//! The form of a host name. Owns the rules for the hosts in settings; resolves no name. Used by the rules of the settings and by
//! the reader of the flags.

use std::net::Ipv6Addr;

/// What the setting `host` requires.
pub(super) const LISTEN_HOST: &str = "must be an IP address or a host name, without a port";

/// Whether a node can listen there: unlike in a URL, brackets and a port are not part of it.
pub(super) fn is_listen_host(host: &str) -> bool {
    is_host(host) && (is_ipv6(host) || !host.contains([':', '[', ']']))
}

/// Whether this is an IPv6 address without brackets, with or without the name of an interface (`fe80::1%eth0`).
pub(super) fn is_ipv6(host: &str) -> bool {
    host.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// Whether this can be the host of a URL.
pub(super) fn is_host(host: &str) -> bool {
    !host.is_empty() && !host.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@'))
}
