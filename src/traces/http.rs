//! One batch to the receiver, over HTTP. Owns the connection, its TLS and its deadline; what is sent, and what happens after a failure,
//! is the exporter's matter. A batch is sent every few seconds, so each has a connection of its own.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chatnode_client::tls;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// The largest accepted answer. It says at most how many spans the receiver has refused, and why.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Why the last try failed, for the log: the exporter's own error does not say it.
#[derive(Debug, Clone, Default)]
pub(super) struct LastFailure(Arc<Mutex<Option<String>>>);

impl LastFailure {
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, why: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

/// Sends requests on the runtime of the node, whatever thread asks for it.
pub(super) struct Client {
    pub(super) runtime: Handle,
    /// For HTTPS.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) timeout: Duration,
    pub(super) failure: LastFailure,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (limit, exchange) = (self.timeout, exchange(self.tls.clone(), request));
        // The timer begins inside the runtime: the caller's thread has none.
        let answer = match self.runtime.spawn(async move { timeout(limit, exchange).await }).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                let limit = humantime::format_duration(limit);
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {limit}")).into())
            }
            Err(_) => Err("the node stops".into()),
        };
        answer.inspect_err(|error| self.failure.set(error.to_string()))
    }
}

async fn exchange(
    tls: Option<Arc<ClientConfig>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let authority = request.uri().authority().cloned().ok_or("the URL has no host")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let unreachable = |error: io::Error| match tls::explain(&error) {
        Some(why) => format!("can't connect to {authority}: {why}"),
        None => format!("can't connect to {authority}: {error}"),
    };
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(unreachable)?;
    let Some(tls) = tls else { return send(stream, request).await };
    let name = ServerName::try_from(host)?;
    let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(unreachable)?;
    send(stream, request).await
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    mut request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this function, by being dropped.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let (authority, path) = (request.uri().authority().cloned(), request.uri().path_and_query().cloned());
    if let Some(authority) = authority {
        request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    }
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    let answer = sender.send_request(request.map(Full::new)).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
