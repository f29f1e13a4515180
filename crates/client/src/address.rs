//! The address of a node, and what to show it at the handshake. Owns the checks of the URL, the token and the headers; opens
//! nothing. Made by the client's options and by `chatnode chat`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ClientConfig;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Uri};

use crate::tls::{self, TrustError};

/// The time in which a connection must be open, unless the program says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is wrong with an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is not the URL of a node.
    #[error("{0:?} is not a URL such as ws://127.0.0.1:8080/")]
    Url(String),
    /// The URL asks for TLS, and there are no root certificates.
    #[error(transparent)]
    Tls(#[from] TrustError),
    /// The token can't stand in a header.
    #[error("the token contains characters that no token has")]
    Token,
    /// The name or the value of a header is invalid.
    #[error("the header {0:?} is invalid")]
    Header(String),
}

/// The address of a node, or of the load balancer in front of several.
#[derive(Clone)]
pub struct Address {
    pub(crate) request: ClientRequestBuilder,
    pub(crate) token: Option<BearerToken>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) connect_timeout: Duration,
    url: String,
}

/// A token as the handshake shows it.
#[derive(Clone)]
pub(crate) struct BearerToken(String);

impl BearerToken {
    /// # Errors
    /// The token can't stand in a header.
    pub(crate) fn new(token: &str) -> Result<Self, AddressError> {
        let value = format!("Bearer {token}");
        HeaderValue::try_from(&value).map_err(|_| AddressError::Token)?;
        Ok(Self(value))
    }

    pub(crate) fn add_to(&self, request: ClientRequestBuilder) -> ClientRequestBuilder {
        request.with_header("Authorization", &self.0)
    }
}

// The request may hold secrets.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.url).finish()
    }
}

impl Address {
    /// The address with this URL: `ws://`, `wss://`, or the URL of the chat page. For TLS, reads the root certificates of
    /// this machine.
    ///
    /// # Errors
    /// The URL is invalid, or there are no root certificates.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        Self::parse_with(url, tls::native_config)
    }

    /// The same, with this configuration if the URL asks for TLS.
    ///
    /// # Errors
    /// The URL is invalid.
    pub fn parse_with_tls(url: &str, tls: Arc<ClientConfig>) -> Result<Self, AddressError> {
        Self::parse_with(url, || Ok(tls))
    }

    /// The same, with the TLS configuration from elsewhere.
    pub(crate) fn parse_with(
        url: &str,
        tls: impl FnOnce() -> Result<Arc<ClientConfig>, TrustError>,
    ) -> Result<Self, AddressError> {
        let uri = websocket(url)?;
        let tls = (uri.scheme_str() == Some("wss")).then(tls).transpose()?;
        let url = uri.to_string();
        let request = ClientRequestBuilder::new(uri);
        Ok(Self { request, token: None, tls, connect_timeout: CONNECT_TIMEOUT, url })
    }

    /// The URL. It never contains the token.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Shows this token at the handshake.
    ///
    /// # Errors
    /// The token can't stand in a header.
    pub fn with_token(mut self, token: &str) -> Result<Self, AddressError> {
        self.token = Some(BearerToken::new(token)?);
        Ok(self)
    }

    /// Adds a header to the handshake.
    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Result<Self, AddressError> {
        let is_valid = HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok();
        if !is_valid {
            return Err(AddressError::Header(name.to_owned()));
        }
        self.request = self.request.with_header(name, value);
        Ok(self)
    }
}

fn websocket(url: &str) -> Result<Uri, AddressError> {
    let bad = || AddressError::Url(url.to_owned());
    let mut parts = url.parse::<Uri>().map_err(|_| bad())?.into_parts();
    match parts.scheme.as_ref().map_or("", |scheme| scheme.as_str()) {
        "ws" | "http" => parts.scheme = Some("ws".parse().map_err(|_| bad())?),
        "wss" | "https" => parts.scheme = Some("wss".parse().map_err(|_| bad())?),
        _ => return Err(bad()),
    }
    Uri::from_parts(parts).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_websocket_or_its_page() {
        assert_eq!(Address::parse("http://h:1/").unwrap().url, "ws://h:1/");
        assert_eq!(Address::parse("ws://[::1]:80/ws").unwrap().url, "ws://[::1]:80/ws");
        assert_eq!(websocket("https://h/").unwrap().to_string(), "wss://h/");
        for url in ["localhost:8080", "ftp://h/"] {
            assert!(Address::parse(url).unwrap_err().to_string().contains("not a URL"), "{url}");
        }
    }

    #[test]
    fn an_address_hides_its_token_and_checks_its_headers() {
        let address = || Address::parse("ws://h/").unwrap();
        assert!(!format!("{:?}", address().with_token("s3cret").unwrap()).contains("s3cret"));
        assert!(matches!(address().with_token("a\nb"), Err(AddressError::Token)));
        assert!(address().with_header("X-Region", "eu").is_ok());
        for (name, value) in [("X Region", "eu"), ("X-Region", "e\nu")] {
            assert!(matches!(address().with_header(name, value), Err(AddressError::Header(_))));
        }
    }
}
