//! The server API, `/api/v1`, for the back end of a product. Owns its paths, the check of its key and its JSON; the
//! node does the work. Without a key in the settings, the API is off.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::time::timeout;

use super::handshake::bearer;
use super::state::AppState;
use super::trace_header;
use crate::chat::{RequestError, Submission};
use crate::jwt::MAX_JTI_BYTES;
use crate::protocol::requests::Before;
use crate::protocol::{
    ErrorCode, Extras, MAX_HISTORY, MAX_MEMBERS, NameError, RequestId, RoomName, Token, Topic, UserName,
};
use crate::traces::{Arrived, Ending, RequestSpan};

/// The maximum lifetime of a token: a year. After that, a new one has to be issued.
const MAX_TTL_SECONDS: u64 = 366 * 24 * 3_600;

/// The maximum number of rooms on a page: for each one, the store looks once at what each node holds.
const MAX_ROOMS: u32 = 200;

/// An error of a call: `{"code", "message"}` with a status.
struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    fn invalid(message: impl Into<String>) -> Self {
        let code = ErrorCode::InvalidMessage.as_str();
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }

    fn name(field: &str, error: &NameError) -> Self {
        Self::invalid(format!("`{field}` {error}"))
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let status = match error.code() {
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::MessageTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self { status, code: error.code().as_str(), message: error.message().to_owned() }
    }
}

impl ApiError {
    /// An error for a request that axum could not read.
    fn unreadable(status: StatusCode, text: String) -> Self {
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::MessageTooLarge,
            _ => ErrorCode::InvalidMessage,
        };
        Self { status, code: code.as_str(), message: text }
    }
}

macro_rules! from_rejections {
    ($($rejection:ty),+) => {$(
        impl From<$rejection> for ApiError {
            fn from(rejection: $rejection) -> Self {
                Self::unreadable(rejection.status(), rejection.body_text())
            }
        }
    )+};
}
from_rejections!(JsonRejection, QueryRejection, PathRejection);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "code": self.code, "message": self.message }))).into_response()
    }
}

/// A JSON body, with errors in the format of this API.
#[derive(FromRequest)]
#[from_request(via(Json), rejection(ApiError))]
struct Body<T>(T);

/// A query, with errors in the format of this API.
#[derive(FromRequestParts)]
#[from_request(via(Query), rejection(ApiError))]
struct Params<T>(T);

/// A name in a path, with errors in the format of this API.
#[derive(FromRequestParts)]
#[from_request(via(Path), rejection(ApiError))]
struct Name<T>(T);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueToken {
    username: String,
    ttl_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeToken {
    token: Option<String>,
    jti: Option<String>,
    expires_at: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendMessage {
    sender_username: String,
    content: String,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamesQuery {
    after: Option<String>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessagesQuery {
    before: Option<u64>,
    epoch: Option<String>,
    limit: Option<u32>,
}

/// All paths, behind the key.
pub(super) fn routes(app: &Arc<AppState>) -> Router<Arc<AppState>> {
    // The limit for frames fits bodies too: both contain at most one message.
    let body_limit = app.node.config().limits.max_frame_bytes;
    Router::new()
        .route("/tokens", post(issue_token))
        .route("/tokens/revoke", post(revoke_token))
        .route("/users/{user}/tokens", delete(revoke_tokens_of))
        .route("/users/{user}/disconnect", post(disconnect))
        .route("/users/{user}/messages", post(send_to_user))
        .route("/rooms", get(rooms))
        .route("/rooms/{room}/members", get(members))
        .route("/rooms/{room}/messages", get(messages).post(send_to_room))
        .route("/nodes", get(nodes))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(middleware::from_fn_with_state(app.clone(), check_key))
}

/// Compares the key in constant time, so that the time of a refusal reveals nothing about it.
async fn check_key(
    State(app): State<Arc<AppState>>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let config = app.node.config();
    let Some(key) = &config.auth.admin_key else {
        let message = "the server API is off: set auth.admin_key to turn it on".to_owned();
        return ApiError { status: StatusCode::NOT_FOUND, code: "forbidden", message }.into_response();
    };
    let given = headers.get(AUTHORIZATION).and_then(bearer).unwrap_or_default();
    if bool::from(given.as_bytes().ct_eq(key.expose_secret().as_bytes())) {
        // Within this time, the body has to arrive and the store has to answer.
        let deadline = config.server.handshake_timeout + config.limits.request_timeout;
        return match timeout(deadline, next.run(request)).await {
            Ok(response) => response,
            Err(_) => ApiError::from(RequestError::timed_out()).into_response(),
        };
    }
    metrics::counter!(crate::metrics::REJECTIONS, "scope" => "auth").increment(1);
    let message = "send the key (auth.admin_key) as `Authorization: Bearer <key>`".to_owned();
    ApiError { status: StatusCode::UNAUTHORIZED, code: "unauthorized", message }.into_response()
}

async fn no_such_path() -> ApiError {
    ApiError { status: StatusCode::NOT_FOUND, code: "not_found", message: "no such path in /api/v1".into() }
}

async fn no_such_method() -> ApiError {
    let message = "this path does not support this method".into();
    ApiError { status: StatusCode::METHOD_NOT_ALLOWED, code: "method_not_allowed", message }
}

fn user(field: &str, name: &str) -> Result<UserName, ApiError> {
    UserName::parse(name).map_err(|error| ApiError::name(field, &error))
}

fn room(field: &str, name: &str) -> Result<RoomName, ApiError> {
    RoomName::parse(name).map_err(|error| ApiError::name(field, &error))
}

async fn issue_token(
    State(app): State<Arc<AppState>>,
    Body(call): Body<IssueToken>,
) -> Result<Response, ApiError> {
    let user = user("username", &call.username)?;
    if call.ttl_seconds.is_some_and(|ttl| ttl == 0 || ttl > MAX_TTL_SECONDS) {
        return Err(ApiError::invalid(format!("`ttl_seconds` must be from 1 to {MAX_TTL_SECONDS}")));
    }
    let issued = app.node.admin().issue_token(&user, call.ttl_seconds.map(Duration::from_secs)).await?;
    let body = json!({ "token": issued.token, "username": user, "expires_at": issued.expires_at });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

async fn revoke_token(
    State(app): State<Arc<AppState>>,
    Body(call): Body<RevokeToken>,
) -> Result<StatusCode, ApiError> {
    let admin = app.node.admin();
    match (call.token.map(Token::new), call.jti, call.expires_at) {
        (Some(token), None, None) => match (token.uuid(), token.jwt()) {
            (Some(uuid), _) => admin.revoke_token(uuid).await?,
            (None, Some(jwt)) => admin.revoke_jwt(jwt).await?,
            (None, None) => return Err(ApiError::invalid("`token` must be a UUID or a JWT")),
        },
        (None, Some(jti), expires_at) => {
            if !(1..=MAX_JTI_BYTES).contains(&jti.len()) {
                return Err(ApiError::invalid(format!("`jti` must have 1 to {MAX_JTI_BYTES} bytes")));
            }
            admin.revoke_jti(&jti, expires_at).await?;
        }
        _ => return Err(ApiError::invalid("give either `token`, or `jti` with or without its `expires_at`")),
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn revoke_tokens_of(
    State(app): State<Arc<AppState>>,
    Name(name): Name<String>,
) -> Result<StatusCode, ApiError> {
    app.node.admin().revoke_tokens_of(&user("user", &name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn disconnect(
    State(app): State<Arc<AppState>>,
    Name(name): Name<String>,
) -> Result<StatusCode, ApiError> {
    app.node.admin().disconnect(&user("user", &name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn send_to_user(
    State(app): State<Arc<AppState>>,
    Name(name): Name<String>,
    headers: HeaderMap,
    Body(call): Body<SendMessage>,
) -> Result<Response, ApiError> {
    send(&app, Topic::User(user("user", &name)?), &headers, call).await
}

async fn send_to_room(
    State(app): State<Arc<AppState>>,
    Name(name): Name<String>,
    headers: HeaderMap,
    Body(call): Body<SendMessage>,
) -> Result<Response, ApiError> {
    send(&app, Topic::Room(room("room", &name)?), &headers, call).await
}

async fn send(
    app: &AppState,
    to: Topic,
    headers: &HeaderMap,
    call: SendMessage,
) -> Result<Response, ApiError> {
    let sender = user("sender_username", &call.sender_username)?;
    let most = app.node.config().limits.max_content_bytes;
    if call.content.is_empty() {
        return Err(ApiError::invalid("`content` must not be empty"));
    }
    if call.content.len() > most {
        let message = format!("`content` has {} bytes; the limit is {most}", call.content.len());
        return Err(RequestError::new(ErrorCode::MessageTooLarge, message).into());
    }
    let invalid = || ApiError::invalid("`id` must have 1 to 64 characters");
    let id = call.id.as_deref().map(|id| RequestId::parse(id).ok_or_else(invalid)).transpose()?;
    let id = id.as_ref().map(RequestId::as_str);
    // The operator's own messages have no owner.
    let trace = trace_header::read(headers);
    let mut span = RequestSpan::begin(Arrived::now(), "SendMessage", (None, &trace), None);
    let message_id = span.message_id();
    let from = Submission { sender: &sender, to: &to, client_id: id, owner: None, message_id };
    let stored = app.node.publish(&from, &call.content, &Extras::default()).await;
    match &stored {
        Ok(stored) => {
            span.stored(stored.position.message_id, stored.duplicate);
            span.end(Ending::Done);
        }
        Err(error) => span.end(Ending::Failed(error.code(), error.outcome())),
    }
    let stored = stored?;
    let position = stored.position;
    let body = json!({
        "message_id": position.message_id,
        "epoch": position.epoch,
        "seq": position.seq,
        "sent_at": stored.sent_at,
        "duplicate": stored.duplicate,
    });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

async fn rooms(
    State(app): State<Arc<AppState>>,
    Params(query): Params<NamesQuery>,
) -> Result<Response, ApiError> {
    let after = query.after.as_deref().map(|after| room("after", after)).transpose()?;
    let limit = bounded(query.limit, MAX_ROOMS, MAX_ROOMS)?;
    let page = app.node.members().rooms(after.as_ref(), limit).await?;
    Ok(Json(json!({ "rooms": page.rooms, "more": page.more })).into_response())
}

async fn members(
    State(app): State<Arc<AppState>>,
    Name(name): Name<String>,
    Params(query): Params<NamesQuery>,
) -> Result<Response, ApiError> {
    let room = room("room", &name)?;
    let after = query.after.as_deref().map(|after| user("after", after)).transpose()?;
    let limit = bounded(query.limit, MAX_MEMBERS, MAX_MEMBERS)?;
    let page = app.node.members().page(&room, after.as_ref(), limit).await?;
    let body = json!({ "room": room, "members": page.members, "count": page.count, "more": page.more });
    Ok(Json(body).into_response())
}

async fn messages(
    State(app): State<Arc<AppState>>,
    Name(name): Name<String>,
    Params(query): Params<MessagesQuery>,
) -> Result<Response, ApiError> {
    let limit = bounded(query.limit, 50, MAX_HISTORY)?;
    let before = match (query.before, query.epoch) {
        (None, _) => None,
        (Some(seq), Some(epoch)) => Some(Before { epoch: epoch.parse().ok(), seq }),
        (Some(_), None) => return Err(ApiError::invalid("`epoch` must be given together with `before`")),
    };
    let topic = Topic::Room(room("room", &name)?);
    let page = app.node.history().page(&topic, before, limit).await?;
    Ok(([(CONTENT_TYPE, "application/json")], page).into_response())
}

fn bounded(limit: Option<u32>, default: u32, most: u32) -> Result<u32, ApiError> {
    match limit.unwrap_or(default) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        _ => Err(ApiError::invalid(format!("`limit` must be from 1 to {most}"))),
    }
}

async fn nodes(State(app): State<Arc<AppState>>) -> Result<Response, ApiError> {
    let nodes = app.node.admin().nodes().await?;
    Ok(Json(json!({ "nodes": nodes })).into_response())
}
