//! The nodes under load: their URLs, addresses, and whether they may be loaded. Owns how a URL is read and resolved, and the
//! rule for hosts beyond loopback; opens nothing but a probe. Made at the start, used by the dialler.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chatnode_client::tls;
use hyper::Uri;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// What is wrong with the nodes that were named.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// No URL of a node.
    #[error("{0:?} is not a URL such as ws://127.0.0.1:8080/ or wss://chat.example.com/")]
    Url(String),
    /// No address has this name.
    #[error("can't resolve {0}: {1}")]
    Unresolved(String, std::io::Error),
    /// Nobody listens.
    #[error("nothing answers at {0}: {1}")]
    Silent(String, String),
    /// It could be somebody else's.
    #[error(
        "{host} ({address}) is not on this machine. A load test can stop a server. If it is yours to load, add --i-may-load-this-host"
    )]
    NotAllowed { host: String, address: IpAddr },
    /// There are no root certificates.
    #[error(transparent)]
    Tls(#[from] tls::TrustError),
}

/// Which scheme and place a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) is_tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

impl Place {
    /// Reads `ws://`, `wss://`, `http://` or `https://`.
    ///
    /// # Errors
    /// It is none of them, or has no host.
    pub(crate) fn parse(url: &str) -> Result<Self, TargetError> {
        let bad = || TargetError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let is_tls = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(bad()),
        };
        // A user in the URL would have to go into a header.
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
        // The library takes an invalid port for none.
        let port = match authority.as_str().strip_prefix(authority.host()).ok_or_else(bad)?.strip_prefix(':')
        {
            Some(port) => port.parse().map_err(|_| bad())?,
            None => match is_tls {
                true => 443,
                false => 80,
            },
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { is_tls, host, port, path })
    }

    /// What stands in the header `Host`.
    pub(crate) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The URL for HTTP, with another path.
    pub(crate) fn http(&self, path: &str) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.authority())
    }
}

/// A node, or a balancer in front of several.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) place: Place,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Target {
    /// Finds the address of a node, and whether something answers there.
    ///
    /// # Errors
    /// The URL is invalid, nothing answers there, or it is not on this machine and `may_load` is false.
    pub(crate) async fn find(url: &str, may_load: bool, timeout: Duration) -> Result<Self, TargetError> {
        let place = Place::parse(url)?;
        let unresolved = |error| TargetError::Unresolved(place.host.clone(), error);
        let addresses: Vec<SocketAddr> =
            lookup_host((place.host.as_str(), place.port)).await.map_err(unresolved)?.collect();
        // Before anything is opened.
        if let Some(address) = addresses.iter().find(|address| !may_load && !is_loopback(address.ip())) {
            return Err(TargetError::NotAllowed { host: place.host, address: address.ip() });
        }
        let tls = match place.is_tls {
            true => {
                let name = ServerName::try_from(place.host.clone());
                let name = name.map_err(|_| TargetError::Url(url.to_owned()))?;
                Some((tls::native_config()?, name))
            }
            false => None,
        };
        let mut why = "the name has no address".to_owned();
        for address in addresses {
            match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
                Ok(Ok(_)) => return Ok(Self { place, address, tls }),
                Ok(Err(error)) => why = error.to_string(),
                Err(_) => why = format!("no answer within {timeout:?}"),
            }
        }
        Err(TargetError::Silent(place.authority(), why))
    }
}

/// Whether an address is on this machine for sure.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_others_are_refused() {
        let place = |url| Place::parse(url).unwrap();
        let read = place("wss://chat.example.com/ws?x=1");
        assert_eq!((read.is_tls, read.port, read.path.as_str()), (true, 443, "/ws?x=1"));
        assert_eq!(read.http("/metrics"), "https://chat.example.com:443/metrics");
        assert_eq!(place("ws://[::1]:8080").authority(), "[::1]:8080");
        assert_eq!(place("http://localhost").http("/x"), "http://localhost:80/x");
        for url in ["localhost:8080", "ftp://h/", "ws://", "ws://u:p@h/", "ws://h:/", "ws://h:99999/", ""] {
            let error = Place::parse(url).unwrap_err().to_string();
            assert!(error.contains("is not a URL such as"), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn only_loopback_is_loaded_without_permission() {
        let find = |url: &'static str, may| Target::find(url, may, Duration::from_millis(200));
        for url in ["ws://192.0.2.1:8080/", "ws://[2001:db8::1]/", "ws://0.0.0.0:1/"] {
            let error = find(url, false).await.unwrap_err().to_string();
            assert!(error.contains("--i-may-load-this-host"), "{error}");
        }
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback(address.parse().unwrap()), "{address}");
        }
        let error = find("ws://127.0.0.1:1/", false).await.unwrap_err().to_string();
        assert!(error.contains("nothing answers at 127.0.0.1:1"), "{error}");
    }
}
