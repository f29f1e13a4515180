//! The form of a host name. Owns the rules for the hosts in settings; resolves no name. Used by the rules of the settings, by
//! the reader of the flags, and where hosts of URLs are compared.

use std::net::Ipv6Addr;

use url::Host;

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

/// A host as URLs have it: in lower case, other scripts as Punycode, an IPv6 address in brackets. `None` if it is none, or has
/// something beside it.
pub fn url_host(host: &str) -> Option<String> {
    let host = Host::parse(host).ok()?;
    let has_plain_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    match &host {
        Host::Domain(name) if !has_plain_name(name) => None,
        _ => Some(host.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_urls_have_one_form() {
        let cases = [
            ("Files.Example", "files.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("[::1]", "[::1]"),
        ];
        for (given, host) in cases {
            assert_eq!(url_host(given).as_deref(), Some(host));
        }
        for bad in [
            "",
            "https://a.example",
            "a.example:80",
            "a.example/",
            "a; script-src *",
            "*.a",
            "a b",
            "::1",
            "ann@a",
        ] {
            assert_eq!(url_host(bad), None, "{bad}");
        }
    }
}
