//! Where a node is, and how one gets in. Owns the judgement of an address and of a token; opens nothing. Called by the
//! client and by `chatnode chat`.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri};

use crate::tls::{self, TrustError};

/// What is wrong with an address or a token.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Not the URL of a node.
    #[error("{0:?} is not a URL such as ws://127.0.0.1:8080/")]
    Url(String),
    /// `wss://`, and nobody to trust.
    #[error(transparent)]
    Tls(#[from] TrustError),
    /// No header can hold it.
    #[error("the token holds characters that no token has")]
    Token,
}

/// A node, or the balancer in front of some.
#[derive(Clone)]
pub struct Address {
    pub(crate) request: ClientRequestBuilder,
    /// Over TLS, trusting these.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    name: String,
}

// The request may hold a token.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Address").field(&self.name).finish()
    }
}

impl Address {
    /// Of `ws://` or `wss://`; the chat page's is as good. Reads the authorities to trust for `wss://`.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let uri = websocket(url)?;
        let tls = (uri.scheme_str() == Some("wss")).then(tls::native_config).transpose()?;
        let name = uri.to_string();
        Ok(Self { request: ClientRequestBuilder::new(uri), tls, name })
    }

    /// The URL, for messages. Never holds the token.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shows the token at the upgrade.
    pub fn with_token(mut self, token: &str) -> Result<Self, AddressError> {
        let value = format!("Bearer {token}");
        HeaderValue::try_from(&value).map_err(|_| AddressError::Token)?;
        self.request = self.request.with_header("Authorization", value);
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
    fn a_websocket_or_its_page_is_an_address() {
        assert_eq!(Address::parse("http://h:1/").unwrap().name, "ws://h:1/");
        assert_eq!(Address::parse("ws://[::1]:80/ws").unwrap().name, "ws://[::1]:80/ws");
        assert_eq!(websocket("https://h/").unwrap().to_string(), "wss://h/");
        for url in ["localhost:8080", "ftp://h/"] {
            assert!(Address::parse(url).unwrap_err().to_string().contains("not a URL"), "{url}");
        }
    }

    #[test]
    fn a_token_is_not_shown_and_one_that_no_header_can_hold_is_refused() {
        let address = || Address::parse("ws://h/").unwrap();
        assert!(!format!("{:?}", address().with_token("s3cret").unwrap()).contains("s3cret"));
        assert!(matches!(address().with_token("a\nb"), Err(AddressError::Token)));
    }
}
