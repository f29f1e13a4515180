//! The HTTP upgrade. Owns every check that comes before a connection costs anything: method, version, key, origin, room
//! on the node, token. Called by the router for `/` and `/ws`; spawns the connection.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    AUTHORIZATION, CONNECTION, HOST, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use metrics::counter;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::Instrument;

use super::address::client_address;
use super::admission::Admission;
use super::connection;
use super::state::AppState;
use super::write_timeout::WriteTimeout;
use crate::chat::{ConnectionGuard, Credential, Session};
use crate::metrics as names;
use crate::protocol::{CloseReason, ErrorCode, Token, frame};

/// When a client may try a full node again. The time to wait is spread, or all would come back at once.
const FULL_RETRY_MS: std::ops::RangeInclusive<u64> = 2_000..=8_000;

/// What the kernel holds for one connection. Left to itself it takes up to 4 MB from a node for a client that reads slowly:
/// memory that no limit of ours counts, and a ping that waits behind it comes too late to be answered in time.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// Why an upgrade was refused.
enum Refusal {
    BadRequest(&'static str),
    BadVersion,
    BadOrigin,
    Unauthorized,
    Full,
    Unavailable,
    Internal,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (result, status, text) = match self {
            Self::BadRequest(why) => ("bad_request", StatusCode::BAD_REQUEST, why),
            Self::BadVersion => {
                ("bad_version", StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint, version 13")
            }
            Self::BadOrigin => (
                "bad_origin",
                StatusCode::FORBIDDEN,
                "this Origin may not connect: add it to server.allowed_origins",
            ),
            Self::Unauthorized => ("unauthorized", StatusCode::UNAUTHORIZED, "the token is not valid"),
            Self::Full => ("full", StatusCode::SERVICE_UNAVAILABLE, "the node is full"),
            Self::Unavailable => {
                ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "the token can't be checked at present")
            }
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "what the cluster's store holds of the token can't be read: an operator has to look",
            ),
        };
        counter!(names::HANDSHAKES, "result" => result).increment(1);
        let scope = match self {
            Self::Unauthorized | Self::BadOrigin => Some("auth"),
            Self::Full => Some("overload"),
            _ => None,
        };
        if let Some(scope) = scope {
            counter!(names::REJECTIONS, "scope" => scope).increment(1);
        }
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        match self {
            Self::BadVersion => {
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            }
            Self::Unauthorized => {
                headers.insert("www-authenticate", HeaderValue::from_static("Bearer"));
            }
            Self::Full | Self::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            Self::BadRequest(_) | Self::BadOrigin | Self::Internal => {}
        }
        response
    }
}

/// True if the request asks for an upgrade at all; otherwise it is a plain GET.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(SEC_WEBSOCKET_KEY) || has_token(headers, &UPGRADE, "websocket")
}

/// Upgrades, or says why not.
pub(super) async fn upgrade(
    State(app): State<Arc<AppState>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response {
    match try_upgrade(app, peer, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn try_upgrade(
    app: Arc<AppState>,
    peer: SocketAddr,
    mut request: Request<Body>,
) -> Result<Response, Refusal> {
    let config = app.node.config().clone();
    let accept = check_request(&request)?;
    if !is_origin_allowed(request.headers(), &config.server.allowed_origins) {
        return Err(Refusal::BadOrigin);
    }
    let address = client_address(peer.ip(), request.headers(), &config.server.trusted_proxies);
    let upgrade = request
        .extensions_mut()
        .remove::<OnUpgrade>()
        .ok_or(Refusal::BadRequest("this request can't be upgraded: use HTTP/1.1"))?;
    let deadline = config.server.handshake_timeout;
    match app.admission.admit(address) {
        Admission::Full => return Err(Refusal::Full),
        Admission::Refuse(permit) => {
            counter!(names::HANDSHAKES, "result" => "full").increment(1);
            counter!(names::REJECTIONS, "scope" => "overload").increment(1);
            app.connections.spawn(async move {
                if let Ok(Ok(upgraded)) = timeout(deadline, upgrade).await {
                    let _ = timeout(deadline, refuse_full(upgraded)).await;
                }
                drop(permit);
            });
        }
        Admission::Admit(permit) => {
            let seat = app.node.connect();
            let credential = check_token(&app, request.headers(), &seat).await?;
            counter!(names::HANDSHAKES, "result" => "ok").increment(1);
            let span = tracing::info_span!("connection", id = %seat.outbox().id(), client = %address);
            let node = app.node.clone();
            let task = async move {
                let Ok(Ok(upgraded)) = timeout(deadline, upgrade).await else { return };
                let Some((socket, early)) = into_socket(upgraded) else { return };
                let session = Box::new(Session::new(node.clone(), seat, credential));
                connection::serve(node, socket, early, session).await;
                drop(permit);
            };
            app.connections.spawn(task.instrument(span));
        }
    }
    Ok(switching_protocols(&accept))
}

fn check_request(request: &Request<Body>) -> Result<String, Refusal> {
    let headers = request.headers();
    // The router answers HEAD as it would GET; a 101 to it would be no WebSocket.
    if request.method() != Method::GET {
        return Err(Refusal::BadRequest("an upgrade to a WebSocket is a GET"));
    }
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
        return Err(Refusal::BadVersion);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::BadVersion);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if BASE64_STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(Refusal::BadRequest("Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    Ok(derive_accept_key(key))
}

fn has_token(headers: &HeaderMap, name: &axum::http::HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// A client that is no browser sends no Origin, and is not at risk of being used by a page. Without a list, a page must
/// come from the host and port that it connects to.
fn is_origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if allowed.iter().any(|one| one == "*" || one.eq_ignore_ascii_case(origin)) {
        return true;
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let own = origin.split_once("://").map_or("", |(_, host)| host);
    allowed.is_empty() && !own.is_empty() && own.eq_ignore_ascii_case(host)
}

async fn check_token(
    app: &AppState,
    headers: &HeaderMap,
    seat: &ConnectionGuard,
) -> Result<Option<Credential>, Refusal> {
    let Some(header) = headers.get(AUTHORIZATION).filter(|_| app.node.config().auth.enabled) else {
        return Ok(None);
    };
    let token = bearer(header).ok_or(Refusal::Unauthorized)?;
    match app.node.authenticate(&Token::new(token), seat.outbox()).await {
        Ok(credential) => Ok(Some(credential)),
        // Only where the token was judged: a client that hears 401 forgets a token that may be good.
        Err(error) => Err(match error.code() {
            ErrorCode::Unauthorized => Refusal::Unauthorized,
            ErrorCode::Unavailable => Refusal::Unavailable,
            _ => Refusal::Internal,
        }),
    }
}

/// The token of an `Authorization: Bearer …` header.
pub(super) fn bearer(header: &HeaderValue) -> Option<&str> {
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn switching_protocols(accept: &str) -> Response {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// The socket under an upgraded connection, with what was read beyond the request. hyper's own buffer is dropped: it
/// would stay with the connection for life.
fn into_socket(upgraded: Upgraded) -> Option<(TcpStream, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<WriteTimeout>>().ok()?;
    let socket = parts.io.into_inner().into_inner();
    if let Err(error) = SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_BYTES) {
        tracing::debug!(%error, "the send buffer keeps the system's size");
    }
    Some((socket, Bytes::copy_from_slice(&parts.read_buf)))
}

async fn refuse_full(upgraded: Upgraded) {
    let Some((mut socket, _)) = into_socket(upgraded) else { return };
    let goodbye = frame::close(
        CloseReason::Full.code(),
        &format!("retry_after_ms={}", rand::random_range(FULL_RETRY_MS)),
    );
    if socket.write_all(&goodbye).await.is_ok() && socket.shutdown().await.is_ok() {
        let mut scrap = [0; 512];
        while matches!(socket.read(&mut scrap).await, Ok(count) if count > 0) {}
    }
}
