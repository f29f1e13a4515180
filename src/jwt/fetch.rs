//! One HTTP request for the keys of an identity provider. Owns its deadline, the limit of its answer, and that it goes to the URL in
//! the settings and nowhere else; what the answer means is the matter of `key_set`. Called by `remote_keys`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatnode_client::tls;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// How long the whole request may take: less than a client's request, which may wait for it.
const DEADLINE: Duration = Duration::from_secs(3);

/// The largest answer. The sets of large providers have some 20 KiB.
const MAX_BYTES: usize = 256 << 10;

/// The address of the keys. A constant: nothing in a token changes it.
pub(super) struct Source {
    url: Uri,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

impl Source {
    /// The source at this URL, which the settings have checked.
    ///
    /// # Errors
    /// The URL needs TLS, and there are no root certificates.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let url: Uri = url.parse().map_err(|_| "auth.jwt.jwks_url: it is no URL".to_owned())?;
        let authority = url.authority().ok_or("auth.jwt.jwks_url: it has no host")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match url.scheme_str() {
            Some("https") => {
                Some(tls::native_config().map_err(|error| format!("auth.jwt.jwks_url: {error}"))?)
            }
            _ => None,
        };
        let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Self { host, port, tls, url })
    }

    /// Reads the document.
    ///
    /// # Errors
    /// The text says what went wrong, for the log.
    pub(super) async fn fetch(&self) -> Result<Bytes, String> {
        match timeout(DEADLINE, self.exchange()).await {
            Ok(result) => result,
            Err(_) => Err(format!("no complete answer in {} s", DEADLINE.as_secs())),
        }
    }

    async fn exchange(&self) -> Result<Bytes, String> {
        let unreachable = |error: std::io::Error| {
            tls::explain(&error).map_or_else(|| format!("can't connect: {error}"), |text| text.to_string())
        };
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(unreachable)?;
        let Some(tls) = &self.tls else { return self.exchange_over(stream).await };
        let name = ServerName::try_from(self.host.clone()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await.map_err(unreachable)?;
        self.exchange_over(stream).await
    }

    async fn exchange_over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Bytes, String> {
        let broken = |error: hyper::Error| format!("the connection failed: {error}");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with this function, by being dropped.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(path)
            .header(HOST, authority)
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(USER_AGENT, concat!("chatnode/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        check_status(&answer)?;
        match Limited::new(answer.into_body(), MAX_BYTES).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(format!("the answer has more than {} KiB", MAX_BYTES >> 10))
            }
            Err(error) => Err(format!("the connection failed: {error}")),
        }
    }
}

fn check_status<T>(answer: &Response<T>) -> Result<(), String> {
    match answer.status() {
        StatusCode::OK => Ok(()),
        // Whoever could send the node elsewhere could choose its keys, or let it reach inner services.
        status if status.is_redirection() => {
            Err(format!("it answers {status}, and redirects are not followed: set the final URL"))
        }
        status => Err(format!("it answers {status}")),
    }
}
