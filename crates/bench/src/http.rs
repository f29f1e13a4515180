//! Plain HTTP requests to a node. Owns one connection, its deadlines and the limit of an answer; does not know what is asked.
//! Used for the metrics and for tokens.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::link::Socket;
use crate::target::Target;

/// The largest answer.
const MAX_BODY_BYTES: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct HttpError(String);

impl HttpError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// A connection for requests, one after the other.
pub(crate) struct Http {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    timeout: Duration,
}

impl Http {
    /// Connects.
    ///
    /// # Errors
    /// There is no connection within this time.
    pub(crate) async fn open(target: &Target, timeout: Duration) -> Result<Self, HttpError> {
        let opening = async {
            let stream = TcpStream::connect(target.address).await.map_err(HttpError::new)?;
            let socket = match &target.tls {
                None => Socket::Plain(stream),
                Some((config, name)) => {
                    let connector = TlsConnector::from(std::sync::Arc::clone(config));
                    let stream = connector.connect(name.clone(), stream).await.map_err(HttpError::new)?;
                    Socket::Tls(Box::new(stream))
                }
            };
            http1::handshake(TokioIo::new(socket)).await.map_err(HttpError::new)
        };
        let opened = tokio::time::timeout(timeout, opening).await;
        let (sender, connection) =
            opened.map_err(|_| HttpError(format!("no connection within {timeout:?}")))??;
        // Its errors are those of the requests.
        tokio::spawn(connection);
        Ok(Self { sender, host: target.place.authority(), timeout })
    }

    /// Sends a request, with a key and JSON if there are any: the status and the body of the answer.
    ///
    /// # Errors
    /// There is no answer in time, or it is too long.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        key: Option<&str>,
        json: Option<String>,
    ) -> Result<(u16, Bytes), HttpError> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.host);
        if let Some(key) = key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        if json.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(json.unwrap_or_default()));
        let request = request.body(body).map_err(HttpError::new)?;
        let asking = async {
            self.sender.ready().await.map_err(HttpError::new)?;
            let answer = self.sender.send_request(request).await.map_err(HttpError::new)?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), MAX_BODY_BYTES).collect().await;
            Ok((status, body.map_err(HttpError::new)?.to_bytes()))
        };
        let asked = tokio::time::timeout(self.timeout, asking).await;
        asked.map_err(|_| HttpError(format!("no answer within {:?}", self.timeout)))?
    }
}
