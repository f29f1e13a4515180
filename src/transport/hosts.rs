//! Which names of this node browsers may use. Owns the check of `Host`, against pages that make their own name point to
//! this node (DNS rebinding), and the comparison of an `Origin` with the allowed ones. Used by the router for each
//! request, and by the handshake.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::counter;
use tokio::time::Instant;

use super::notices::{Subject, printable};
use super::state::AppState;
use crate::metrics as names;

/// The check of one listener.
#[derive(Clone)]
pub(super) struct HostCheck {
    app: Arc<AppState>,
    /// Only this machine can reach the listener.
    is_on_loopback: bool,
}

impl HostCheck {
    /// A listener that only this machine can reach serves no unknown names: only rebinding could bring them there. Any
    /// other listener may have names that the settings don't list.
    pub(super) fn new(app: &Arc<AppState>, listens_on: IpAddr) -> Self {
        Self { app: app.clone(), is_on_loopback: listens_on.to_canonical().is_loopback() }
    }

    fn serves(&self, request: &Request) -> Result<(), Vec<u8>> {
        let config = self.app.node.config();
        let allowed = &config.server.allowed_hosts;
        if allowed.is_empty() && !self.is_on_loopback {
            return Ok(());
        }
        // Programs can leave the header out; browsers always send it.
        let headers = request.headers().get_all(HOST).iter().map(HeaderValue::as_bytes);
        let mut hosts =
            headers.chain(request.uri().authority().map(|authority| authority.as_str().as_bytes()));
        let is_served = |host: &[u8]| str::from_utf8(host).is_ok_and(|host| is_served(host, allowed));
        hosts.find(|host| !is_served(host)).map_or(Ok(()), |host| Err(host.to_owned()))
    }
}

/// Refuses requests for names that this node does not serve.
pub(super) async fn check(State(check): State<HostCheck>, request: Request, next: Next) -> Response {
    // Balancers ask these under names of their own. They reveal nothing, and a 421 would take every node out at once.
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    if !is_probe && let Err(host) = check.serves(&request) {
        counter!(names::REJECTIONS, "scope" => "auth").increment(1);
        let host = printable(&host);
        if check.app.notices.is_first(Subject::Host, &host, Instant::now()) {
            tracing::warn!(host, "refused a request for a host name that server.allowed_hosts does not list");
        }
        let text =
            format!("this node does not serve the host name \"{host}\": add it to server.allowed_hosts\n");
        return (StatusCode::MISDIRECTED_REQUEST, [(X_CONTENT_TYPE_OPTIONS, "nosniff")], text)
            .into_response();
    }
    next.run(request).await
}

/// Addresses can't be rebound, and no one else can own the names of the loopback.
fn is_served(host: &str, allowed: &[String]) -> bool {
    let Some((name, _)) = split_port(host) else { return false };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.parse::<IpAddr>().is_ok()
        || address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
        || name == "localhost"
        || name.ends_with(".localhost")
        || allowed.iter().any(|entry| entry == "*" || entry.eq_ignore_ascii_case(&name))
}

/// A host and its port, if the text contains nothing else.
fn split_port(host: &str) -> Option<(&str, Option<u16>)> {
    let end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, port) = host.split_at(end);
    if name.is_empty() || name.contains(['/', '?', '#', '@']) {
        return None;
    }
    match port.strip_prefix(':') {
        // `host:` without a number means the default port.
        Some("") => Some((name, None)),
        Some(port) => Some((name, Some(port.parse().ok()?))),
        None => port.is_empty().then_some((name, None)),
    }
}

/// An origin in parts. Its port is never missing if the scheme has a default.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        // Browsers send none, but some programs write the address of a site, which has one.
        let (host, port) = split_port(rest.strip_suffix('/').unwrap_or(rest))?;
        let scheme = scheme.to_ascii_lowercase();
        Some(Self { port: port.or_else(|| default_port(&scheme)), host: host.to_ascii_lowercase(), scheme })
    }

    /// Whether this is the page that the node serves under `host`. The scheme can't be compared: a balancer may end TLS.
    fn is_own(&self, host: &str) -> bool {
        split_port(host).is_some_and(|(name, port)| {
            self.host.eq_ignore_ascii_case(name) && self.port == port.or_else(|| default_port(&self.scheme))
        })
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Clients other than browsers send no Origin, and no foreign page can misuse them. The node's own page may always
/// connect, other pages only if the settings list them.
///
/// # Errors
/// The reason for the client and the operator: the `Origin`, and the setting that would allow it.
pub(super) fn check_origin(headers: &HeaderMap, allowed: &[String]) -> Result<(), ForeignOrigin> {
    let Some(sent) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = sent.to_str().ok().and_then(Origin::parse);
    let matches = |entry: &String| {
        entry == "*"
            || entry.as_bytes().eq_ignore_ascii_case(sent.as_bytes())
            || origin.is_some() && Origin::parse(entry) == origin
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if allowed.iter().any(matches) || origin.as_ref().is_some_and(|origin| origin.is_own(host)) {
        return Ok(());
    }
    Err(ForeignOrigin { sent: printable(sent.as_bytes()), is_site: origin.is_some() })
}

/// An `Origin` that is not allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForeignOrigin {
    /// As it was sent, safe to print.
    pub(super) sent: String,
    /// Whether it is the origin of a web site, so that a setting can list it.
    is_site: bool,
}

impl ForeignOrigin {
    /// What the operator can do.
    pub(super) fn setting(&self) -> &'static str {
        if self.is_site {
            "add it to server.allowed_origins, without a slash at its end"
        } else {
            "it is not the origin of a web site: only \"*\" in server.allowed_origins allows it"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_loopback_names_are_always_served() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]:80",
            "10.0.0.7",
            "localhost:1",
            "LOCALHOST",
            "a.localhost.",
        ] {
            assert!(is_served(host, &[]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[evil]",
            "",
        ] {
            assert!(!is_served(host, &[]), "{host}");
        }
        let allowed = ["chat.example.com".to_owned()];
        assert!(is_served("Chat.example.com:443", &allowed) && !is_served("x.chat.example.com", &allowed));
        assert!(is_served("anything.example", &["*".to_owned()]));
    }

    #[test]
    fn default_ports_of_origins_are_equal() {
        let own = |origin: &str, host: &str| Origin::parse(origin).is_some_and(|origin| origin.is_own(host));
        assert!(own("https://x", "x:443") && own("https://x:443", "x") && own("http://x:80", "X"));
        assert!(!own("https://x", "x:80") && !own("http://x", "x:443") && !own("https://x:8443", "x"));
        assert!(own("http://[::1]:8080", "[::1]:8080") && !own("https://x/x", "x") && !own("null", "null"));
        assert!(own("https://x/", "x:443") && own("http://x:8080/", "x:8080") && !own("https://x//", "x"));
        assert_eq!(Origin::parse("HTTPS://x:443"), Origin::parse("https://X"));
    }
}
