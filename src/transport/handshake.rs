//! The upgrade from HTTP to WebSocket. Owns every check before a connection uses resources: method, version, key,
//! rate, origin, admission, token. Called by the router for `/` and `/ws`; spawns the connection. Also tells pages in advance what an
//! upgrade would get.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CONNECTION, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use metrics::counter;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::Instrument;

use super::address::{ClientAddress, Shared};
use super::connection;
use super::early_closes::Young;
use super::hosts::{ForeignOrigin, check_origin};
use super::notices::{Notices, Subject};
use super::state::AppState;
use super::switching_socket::{HttpSocket, SwitchingSocket};
use super::tls_session::TlsSession;
use super::trace_header;
use super::unfinished::Unfinished;
use super::write_timeout::WriteTimeout;
use crate::chat::{ClientKind, ConnectionGuard, Credential, NoPlace, Session};
use crate::metrics as names;
use crate::protocol::{ErrorCode, Token};

/// When a client may try again a node that is full or can't check its token, in seconds. The time is random, or all clients
/// would return at the same time.
const RETRY_SECONDS: std::ops::RangeInclusive<u64> = 2..=8;

/// Tells an answer of the node from one of a balancer that finds no node and answers with the same status.
const REFUSED: HeaderName = HeaderName::from_static("x-chat-refused");

/// When a client whose address has too many connections may try again, in seconds.
const TOO_MANY_RETRY_SECONDS: u64 = 5;

/// The size of the kernel's send buffer for one connection. By default the kernel buffers up to 4 MB for a client that
/// reads slowly: no limit in the settings counts this memory, and a ping behind it would arrive too late to be answered
/// in time.
const SEND_BUFFER_BYTES: usize = 128 << 10;

const NO_FREE_SEAT: &str = "the node is full: it has no free seat";

const TOO_MANY_CONNECTIONS: Refusal =
    Refusal::TooMany("too many connections from this address", TOO_MANY_RETRY_SECONDS);

/// Why an upgrade is refused.
enum Refusal {
    BadRequest(&'static str),
    BadVersion,
    BadOrigin(ForeignOrigin),
    /// Why, if the token was checked.
    Unauthorized(Option<String>),
    /// Until when.
    Banned(String),
    Full(&'static str),
    /// For its address; it may come back after so many seconds.
    TooMany(&'static str, u64),
    Unavailable,
    Internal,
}

impl From<NoPlace> for Refusal {
    fn from(error: NoPlace) -> Self {
        match error {
            NoPlace::Full => Self::Full("the node is full: too many connections wait to name their user"),
            NoPlace::Share => Self::TooMany(
                "too many connections from this address wait to name their user",
                TOO_MANY_RETRY_SECONDS,
            ),
        }
    }
}

impl Refusal {
    fn count(&self) {
        let result = self.answer().0;
        counter!(names::HANDSHAKES, "result" => result).increment(1);
        let scope = match self {
            Self::Unauthorized(_) | Self::Banned(_) | Self::BadOrigin(_) => Some("auth"),
            Self::Full(_) => Some("overload"),
            Self::TooMany(..) => Some("rate"),
            _ => None,
        };
        if let Some(scope) = scope {
            counter!(names::REJECTIONS, "scope" => scope).increment(1);
        }
    }

    /// The label of the metric, the status, and the reason.
    fn answer(&self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::BadRequest(why) => ("bad_request", StatusCode::BAD_REQUEST, *why),
            Self::BadVersion => (
                "bad_version",
                StatusCode::UPGRADE_REQUIRED,
                "this endpoint requires a WebSocket upgrade, version 13",
            ),
            Self::BadOrigin(origin) => ("bad_origin", StatusCode::FORBIDDEN, origin.setting()),
            Self::Unauthorized(_) => ("unauthorized", StatusCode::UNAUTHORIZED, "the token is not valid"),
            Self::Banned(_) => ("banned", StatusCode::FORBIDDEN, "you are banned from this server"),
            Self::Full(why) => ("full", StatusCode::SERVICE_UNAVAILABLE, *why),
            // Not 503, which a balancer takes for a fault of the node: this concerns one address only.
            Self::TooMany(why, _) => ("too_many", StatusCode::TOO_MANY_REQUESTS, *why),
            Self::Unavailable => (
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "the store or the key server does not answer, so the token can't be checked now",
            ),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "the stored data of this token can't be read; an operator has to look at it",
            ),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (result, status, text) = self.answer();
        let text = match &self {
            Self::BadOrigin(ForeignOrigin { sent, .. }) => {
                format!("the Origin \"{sent}\" is not allowed: {text}\n").into()
            }
            Self::Unauthorized(Some(why)) | Self::Banned(why) => Cow::Owned(why.clone()),
            _ => Cow::Borrowed(text),
        };
        let mut response = (status, [(X_CONTENT_TYPE_OPTIONS, "nosniff")], text).into_response();
        let headers = response.headers_mut();
        if matches!(self, Self::Full(_) | Self::TooMany(..)) {
            headers.insert(REFUSED, HeaderValue::from_static(result));
        }
        match self {
            Self::BadVersion => {
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            }
            Self::Unauthorized(_) => {
                headers.insert("www-authenticate", HeaderValue::from_static("Bearer"));
            }
            Self::Full(_) | Self::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from(rand::random_range(RETRY_SECONDS)));
            }
            Self::TooMany(_, seconds) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Self::BadRequest(_) | Self::BadOrigin(_) | Self::Banned(_) | Self::Internal => {}
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
    Extension(client): Extension<ClientAddress>,
    request: Request<Body>,
) -> Response {
    match try_upgrade(app, client, request).await {
        Ok(response) => response,
        Err(refusal) => {
            refusal.count();
            refusal.into_response()
        }
    }
}

/// What an upgrade would get now, as the answer to a request without one. Browsers tell their pages neither the status nor the
/// headers of a refused upgrade, so a page asks here. It is no upgrade, so it is not counted.
pub(super) fn answer_in_advance(app: &AppState, client: ClientAddress) -> Response {
    let (bounded, limits) = (client.counted(), &app.node.config().limits);
    let pause = |address| app.handshake_rate.pause(address, limits.handshakes_per_minute, Instant::now());
    let is_admitted = bounded
        .map(pause)
        .filter(|pause| !pause.is_zero())
        .map_or(Ok(()), |pause| Err(too_many_upgrades(pause)))
        .and_then(|()| check_pause(app, bounded))
        .and_then(|()| {
            app.address_limit
                .has_room(bounded, limits.max_connections_per_address)
                .then_some(())
                .ok_or(TOO_MANY_CONNECTIONS)
        })
        .and_then(|()| check_seat(app))
        // Pages have no token in their upgrade, so they wait until they name their user.
        .and_then(|()| app.node.check_wait(bounded).map_err(Refusal::from));
    is_admitted.err().unwrap_or(Refusal::BadVersion).into_response()
}

async fn try_upgrade(
    app: Arc<AppState>,
    client: ClientAddress,
    mut request: Request<Body>,
) -> Result<Response, Refusal> {
    let config = app.node.config();
    let accept = check_request(&request)?;
    let bounded = client.counted();
    if let Some(address) = bounded {
        let most = config.limits.handshakes_per_minute;
        app.handshake_rate.take(address, most, Instant::now()).map_err(too_many_upgrades)?;
    }
    if let Err(origin) = check_origin(request.headers(), &config.server.allowed_origins) {
        if app.notices.is_first(Subject::Origin, &origin.sent, Instant::now()) {
            tracing::warn!(origin = origin.sent, "refused an Origin: {}", origin.setting());
        }
        return Err(Refusal::BadOrigin(origin));
    }
    warn_of_proxy(&app.notices, client);
    let upgrade = request
        .extensions_mut()
        .remove::<OnUpgrade>()
        .ok_or(Refusal::BadRequest("this request can't be upgraded: use HTTP/1.1"))?;
    let kind = client_kind(request.headers());
    check_pause(&app, bounded)?;
    let most = config.limits.max_connections_per_address;
    let permit = app.address_limit.admit(bounded, most).ok_or(TOO_MANY_CONNECTIONS)?;
    // Asked before the token is looked up, which costs the store a request.
    check_seat(&app)?;
    let mut guard = app.node.connect();
    let credential = check_token(&app, bounded, request.headers(), &guard).await?;
    if credential.is_none() {
        guard.wait(bounded)?;
    } else if !guard.take_seat() {
        return Err(Refusal::Full(NO_FREE_SEAT));
    }
    counter!(names::HANDSHAKES, "result" => "ok").increment(1);
    let span = tracing::info_span!("connection", id = %guard.outbox().id(), client = %client.address);
    let node = app.node.clone();
    let unfinished = Unfinished::new(app.unfinished.clone(), guard.outbox().clone(), client.address);
    let young = Young::new(bounded, app.early_closes.clone());
    let trace = trace_header::read(request.headers());
    let session = Session::new(node.clone(), guard, bounded, kind, credential).with_trace(trace);
    let session = Box::new(session);
    let task = async move {
        let Ok(Ok(upgraded)) = timeout(config.server.handshake_timeout, upgrade).await else { return };
        let Some((socket, early)) = into_socket(upgraded) else { return };
        connection::serve(node, socket, early, session, unfinished, young).await;
        drop(permit);
    };
    app.connections.spawn(task.instrument(span));
    Ok(switching_protocols(&accept))
}

fn too_many_upgrades(pause: Duration) -> Refusal {
    Refusal::TooMany("too many upgrades from this address within a minute", pause.as_secs() + 1)
}

fn check_pause(app: &AppState, address: Option<IpAddr>) -> Result<(), Refusal> {
    match address.and_then(|address| app.early_closes.pause(address, Instant::now())) {
        None => Ok(()),
        Some(pause) => {
            let why =
                "the node closed several connections from this address at once; wait before the next one";
            Err(Refusal::TooMany(why, pause.as_secs() + 1))
        }
    }
}

fn check_seat(app: &AppState) -> Result<(), Refusal> {
    if app.node.has_free_seat() { Ok(()) } else { Err(Refusal::Full(NO_FREE_SEAT)) }
}

/// Limits per address don't apply behind this proxy. The settings most likely mean otherwise, so this is logged, once an hour
/// for each proxy.
fn warn_of_proxy(notices: &Notices, client: ClientAddress) {
    let address = client.address;
    let is_first = || notices.is_first(Subject::Proxy, &address.to_string(), Instant::now());
    match client.shared {
        Shared::No | Shared::ByProxy => {}
        Shared::ByUntrustedProxy if is_first() => {
            tracing::warn!(%address, "a private address forwards for clients, so limits per address don't apply to \
                them: if it is your balancer, add it to server.trusted_proxies");
        }
        Shared::ByUnreadableProxy if is_first() => {
            tracing::warn!(%address, "a network of server.trusted_proxies forwards without a client address that can \
                be read, so limits per address don't apply to its clients: let it set X-Forwarded-For");
        }
        Shared::ByUntrustedProxy | Shared::ByUnreadableProxy => {}
    }
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
    bounded: Option<IpAddr>,
    headers: &HeaderMap,
    guard: &ConnectionGuard,
) -> Result<Option<Credential>, Refusal> {
    let Some(header) = headers.get(AUTHORIZATION).filter(|_| app.node.config().auth.enabled) else {
        return Ok(None);
    };
    let token = bearer(header).ok_or(Refusal::Unauthorized(None))?;
    match app.node.authenticate(&Token::new(token), guard.outbox(), bounded).await {
        Ok(credential) => Ok(Some(credential)),
        // 401 only if the store checked the token: a client that gets 401 forgets the token, which may be valid.
        Err(error) => Err(match error.code() {
            ErrorCode::Unauthorized => Refusal::Unauthorized(Some(error.message().to_owned())),
            ErrorCode::Forbidden => Refusal::Banned(error.message().to_owned()),
            ErrorCode::Unavailable => Refusal::Unavailable,
            ErrorCode::RateLimited => {
                let wait = error.retry_after_ms().unwrap_or_default() / 1_000 + 1;
                Refusal::TooMany("too many failed tokens from this address", wait)
            }
            _ => Refusal::Internal,
        }),
    }
}

/// Every browser sends both headers; a program may send one of them.
fn client_kind(headers: &HeaderMap) -> ClientKind {
    let is_mozilla = headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    if headers.contains_key(ORIGIN) && is_mozilla { ClientKind::Browser } else { ClientKind::Program }
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

/// A socket, its TLS, and the bytes that were read after the request.
type Parts = ((TcpStream, Option<TlsSession>), Bytes);

/// The socket of an upgraded connection, and the bytes that were read after the request. hyper's own buffer is dropped:
/// otherwise it would exist as long as the connection.
fn into_socket(upgraded: Upgraded) -> Option<Parts> {
    let ((socket, tls), early) = match into_parts::<WriteTimeout>(upgraded) {
        Ok(plain) => plain,
        Err(upgraded) => into_parts::<TlsStream<WriteTimeout>>(upgraded).ok()?,
    };
    if let Err(error) = SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_BYTES) {
        tracing::debug!(%error, "can't set the size of the send buffer");
    }
    Some(((socket, tls), early))
}

fn into_parts<S: HttpSocket>(upgraded: Upgraded) -> Result<Parts, Upgraded> {
    let parts = upgraded.downcast::<TokioIo<SwitchingSocket<S>>>()?;
    Ok((parts.io.into_inner().into_parts(), Bytes::copy_from_slice(&parts.read_buf)))
}
