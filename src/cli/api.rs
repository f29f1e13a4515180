//! A small HTTP client for the endpoints of a node. Owns one request at a time, its deadline and the limit for its
//! answer, not the meaning of requests. Called by the subcommands that use a running node.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::own_certificate::{self, OwnCertificateError};
use crate::config::Config;
use chatnode_client::tls::{self, TrustError};

/// The largest accepted answer: more than any command needs.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A node that answers requests.
#[derive(Debug)]
pub(super) struct Api {
    authority: Authority,
    path: String,
    /// For HTTPS: the trusted root certificates.
    tls: Option<Arc<ClientConfig>>,
    key: Option<SecretString>,
    deadline: Duration,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The URL is invalid.
    #[error("invalid URL {0:?}: it must be an HTTP URL such as http://127.0.0.1:8080")]
    Url(String),
    /// The URL needs TLS, and there are no trusted root certificates.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The certificate of the node on this machine can't be read.
    #[error(transparent)]
    Own(#[from] OwnCertificateError),
    /// There is no connection.
    #[error("can't connect to {0}: {why}", why = tls::explain(.1).unwrap_or_else(|| no_node(.1)))]
    Connect(Authority, io::Error),
    /// The connection failed before the answer was complete.
    #[error("no answer from {0}: {1}")]
    Broken(Authority, Box<dyn std::error::Error + Send + Sync>),
    /// The answer took too long.
    #[error("no answer from {0} in {deadline}", deadline = humantime::format_duration(*.1))]
    TimedOut(Authority, Duration),
}

impl Api {
    /// The node at this URL; without a URL, the node with these settings on this machine.
    pub(super) fn new(url: Option<&str>, config: &Config, deadline: Duration) -> Result<Self, ApiError> {
        let is_own = url.is_none();
        let own = own_url(config);
        let url = url.unwrap_or(&own);
        let bad = || ApiError::Url(url.to_owned());
        let parts = url.parse::<Uri>().map_err(|_| bad())?.into_parts();
        let is_plain = parts.scheme == Some(Scheme::HTTP);
        if !is_plain && parts.scheme != Some(Scheme::HTTPS) {
            return Err(bad());
        }
        let authority = parts.authority.ok_or_else(bad)?;
        let path =
            parts.path_and_query.map_or_else(String::new, |path| path.path().trim_end_matches('/').into());
        let tls = match (is_plain, is_own) {
            (true, _) => None,
            (false, true) => own_certificate::config(config)?,
            (false, false) => Some(tls::native_config()?),
        };
        Ok(Self { authority, path, tls, key: config.auth.admin_key.clone(), deadline })
    }

    /// Sends a request, with the key in the settings if there is one, and waits for the whole answer.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, Bytes), ApiError> {
        tokio::time::timeout(self.deadline, self.exchange(method, path, body))
            .await
            .map_err(|_| ApiError::TimedOut(self.authority.clone(), self.deadline))?
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, Bytes), ApiError> {
        let unreachable = |error| ApiError::Connect(self.authority.clone(), error);
        let host = self.authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = self.authority.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
        let Some(tls) = &self.tls else { return self.exchange_over(stream, method, path, body).await };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other).map_err(unreachable)?;
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await.map_err(unreachable)?;
        self.exchange_over(stream, method, path, body).await
    }

    async fn exchange_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, Bytes), ApiError> {
        let broken = |error| ApiError::Broken(self.authority.clone(), error);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| broken(e.into()))?;
        // Ends with this function, by being dropped.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.path))
            .header(HOST, self.authority.as_str())
            .header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, format!("Bearer {}", key.expose_secret()));
        }
        let body = body.map_or_else(String::new, serde_json::Value::to_string);
        let request = request.body(Full::<Bytes>::from(body)).map_err(|e| broken(e.into()))?;
        let answer = sender.send_request(request).await.map_err(|e| broken(e.into()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(broken)?;
        Ok((status, body.to_bytes()))
    }
}

fn no_node(error: &io::Error) -> String {
    format!("{error}: is the node running? --url names another one")
}

/// The URL of a node with these settings on this machine.
fn own_url(config: &Config) -> String {
    let (scheme, host, port) = match config.internal.port {
        Some(port) => ("http", &config.internal.host, port),
        None if config.tls.cert_file.is_some() => ("https", &config.host, config.port),
        None => ("http", &config.host, config.port),
    };
    format!("{scheme}://{}", reachable(host, port))
}

/// The address at which this machine reaches a listener on this host and port.
pub(super) fn reachable(host: &str, port: u16) -> String {
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => "127.0.0.1".into(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => "[::1]".into(),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    };
    format!("{host}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_url_follows_the_settings() {
        let mut config = Config::default();
        assert_eq!(own_url(&config), "http://127.0.0.1:8080");
        config.host = "::".into();
        assert_eq!(own_url(&config), "http://[::1]:8080");
        config.tls.cert_file = Some("cert.pem".into());
        assert_eq!(own_url(&config), "https://[::1]:8080");
        config.internal.host = "0.0.0.0".into();
        config.internal.port = Some(8081);
        assert_eq!(own_url(&config), "http://127.0.0.1:8081");
    }

    #[test]
    fn url_must_be_http() {
        for url in ["wss://example.com", "127.0.0.1:8080", "", "http://"] {
            assert!(Api::new(Some(url), &Config::default(), Duration::from_secs(1)).is_err(), "{url}");
        }
        let api = Api::new(Some("http://h:1/base/"), &Config::default(), Duration::from_secs(1)).unwrap();
        assert_eq!((api.authority.as_str(), api.path.as_str()), ("h:1", "/base"));
    }
}
