//! The upgrade from HTTP to WebSocket. Owns every check before a connection uses resources: method, version, key,
//! origin, admission, token. Called by the router for `/` and `/ws`; spawns the connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{
    AUTHORIZATION, CONNECTION, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
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
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::Instrument;

use super::address::{Shared, client_address, counted_as, is_shared};
use super::admission::Admission;
use super::connection;
use super::hosts::is_origin_allowed;
use super::state::AppState;
use super::unfinished::Unfinished;
use super::write_timeout::WriteTimeout;
use crate::chat::{ConnectionGuard, Credential, Session};
use crate::metrics as names;
use crate::protocol::{CloseReason, ErrorCode, Token, frame};

/// When a client may try a full node again. The time is random, or all clients would return at the same time.
const FULL_RETRY_MS: std::ops::RangeInclusive<u64> = 2_000..=8_000;

/// When a client whose address has too many connections may try again, in seconds.
const TOO_MANY_RETRY_SECONDS: u64 = 5;

/// The size of the kernel's send buffer for one connection. By default the kernel buffers up to 4 MB for a client that
/// reads slowly: no limit in the settings counts this memory, and a ping behind it would arrive too late to be answered
/// in time.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// Why an upgrade is refused.
enum Refusal {
    BadRequest(&'static str),
    BadVersion,
    BadOrigin,
    Unauthorized,
    Full,
    /// For its address; it may come back after so many seconds.
    TooMany(&'static str, u64),
    Unavailable,
    Internal,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (result, status, text) = match self {
            Self::BadRequest(why) => ("bad_request", StatusCode::BAD_REQUEST, why),
            Self::BadVersion => (
                "bad_version",
                StatusCode::UPGRADE_REQUIRED,
                "this endpoint requires a WebSocket upgrade, version 13",
            ),
            Self::BadOrigin => (
                "bad_origin",
                StatusCode::FORBIDDEN,
                "this Origin is not allowed: add it to server.allowed_origins",
            ),
            Self::Unauthorized => ("unauthorized", StatusCode::UNAUTHORIZED, "the token is not valid"),
            Self::Full => {
                ("full", StatusCode::SERVICE_UNAVAILABLE, "the node is full: it has no free connection")
            }
            // Not 503, which a balancer takes for a fault of the node: this concerns one address only.
            Self::TooMany(why, _) => ("too_many", StatusCode::TOO_MANY_REQUESTS, why),
            Self::Unavailable => (
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "the store does not answer, so the token can't be checked now",
            ),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "the stored data of this token can't be read; an operator has to look at it",
            ),
        };
        counter!(names::HANDSHAKES, "result" => result).increment(1);
        let scope = match self {
            Self::Unauthorized | Self::BadOrigin => Some("auth"),
            Self::Full => Some("overload"),
            Self::TooMany(..) => Some("rate"),
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
            Self::TooMany(_, seconds) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::BadRequest(_) | Self::BadOrigin | Self::Internal => {}
        }
        response
    }
}

/// Whether the request asks for an upgrade; otherwise it is a plain GET.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(SEC_WEBSOCKET_KEY) || has_token(headers, &UPGRADE, "websocket")
}

/// Upgrades the connection, or answers with the reason for the refusal.
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
        let origin =
            request.headers().get(ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default();
        if app.notices.is_first("origin", origin) {
            tracing::warn!(?origin, "refused an Origin that server.allowed_origins does not list");
        }
        return Err(Refusal::BadOrigin);
    }
    let address = client_address(peer.ip(), request.headers(), &config.server.trusted_proxies);
    let upgrade = request
        .extensions_mut()
        .remove::<OnUpgrade>()
        .ok_or(Refusal::BadRequest("this request can't be upgraded: use HTTP/1.1"))?;
    let deadline = config.server.handshake_timeout;
    match app.admission.admit(counted_as(address)) {
        Admission::Full => return Err(Refusal::Full),
        Admission::TooMany => {
            return Err(Refusal::TooMany("too many connections from this address", TOO_MANY_RETRY_SECONDS));
        }
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
            let guard = app.node.connect();
            let credential = check_token(&app, (peer.ip(), address), request.headers(), &guard).await?;
            counter!(names::HANDSHAKES, "result" => "ok").increment(1);
            let span = tracing::info_span!("connection", id = %guard.outbox().id(), client = %address);
            let node = app.node.clone();
            let unfinished = Unfinished::new(app.unfinished.clone(), guard.outbox().clone(), address);
            let task = async move {
                let Ok(Ok(upgraded)) = timeout(deadline, upgrade).await else { return };
                let Some((socket, early)) = into_socket(upgraded) else { return };
                let session = Box::new(Session::new(node.clone(), guard, credential));
                connection::serve(node, socket, early, session, unfinished).await;
                drop(permit);
            };
            app.connections.spawn(task.instrument(span));
        }
    }
    Ok(switching_protocols(&accept))
}

fn check_request(request: &Request<Body>) -> Result<String, Refusal> {
    let headers = request.headers();
    // The router treats HEAD like GET, but a 101 as its answer would not open a WebSocket.
    if request.method() != Method::GET {
        return Err(Refusal::BadRequest("a WebSocket upgrade must be a GET request"));
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

async fn check_token(
    app: &AppState,
    (peer, address): (IpAddr, IpAddr),
    headers: &HeaderMap,
    guard: &ConnectionGuard,
) -> Result<Option<Credential>, Refusal> {
    let Some(header) = headers.get(AUTHORIZATION).filter(|_| app.node.config().auth.enabled) else {
        return Ok(None);
    };
    let token = bearer(header).ok_or(Refusal::Unauthorized)?;
    let bounded = match is_shared(peer, address, headers, &app.node.config().server.trusted_proxies) {
        Shared::No => Some(counted_as(address)),
        Shared::ByProxy => None,
        Shared::ByUntrustedProxy => {
            if app.notices.is_first("proxy", &address.to_string()) {
                tracing::warn!(%address, "a private address forwards for clients, so failed tokens are not limited by \
                    address: if it is your balancer, add it to server.trusted_proxies");
            }
            None
        }
    };
    if let Some(address) = bounded
        && let Err(wait) = app.failed_tokens.take(address, Instant::now())
    {
        return Err(Refusal::TooMany("too many failed tokens from this address", wait.as_secs() + 1));
    }
    let checked = app.node.authenticate(&Token::new(token), guard.outbox()).await;
    if let Some(address) = bounded
        && checked.as_ref().err().is_none_or(|error| error.code() != ErrorCode::Unauthorized)
    {
        app.failed_tokens.give_back(address, Instant::now());
    }
    match checked {
        Ok(credential) => Ok(Some(credential)),
        // 401 only if the store checked the token: a client that gets 401 forgets the token, which may be valid.
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

/// The socket of an upgraded connection, and the bytes that were read after the request. hyper's own buffer is dropped:
/// otherwise it would exist as long as the connection.
fn into_socket(upgraded: Upgraded) -> Option<(TcpStream, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<WriteTimeout>>().ok()?;
    let socket = parts.io.into_inner().into_inner();
    if let Err(error) = SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_BYTES) {
        tracing::debug!(%error, "can't set the size of the send buffer");
    }
    Some((socket, Bytes::copy_from_slice(&parts.read_buf)))
}

async fn refuse_full(upgraded: Upgraded) {
    let Some((mut socket, _)) = into_socket(upgraded) else { return };
    let close_frame = frame::close(
        CloseReason::Full.code(),
        &CloseReason::Full.text(Some(rand::random_range(FULL_RETRY_MS))),
    );
    if socket.write_all(&close_frame).await.is_ok() && socket.shutdown().await.is_ok() {
        let mut scratch = [0; 512];
        while matches!(socket.read(&mut scratch).await, Ok(count) if count > 0) {}
    }
}
