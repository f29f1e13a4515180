//! The server API, `/api/v1`, for the back end of a product. Owns its paths with the scope that each needs, and the calls about tokens,
//! users and lists; the node does the work. Without a key in the settings, the API is off.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::api_access::{check_key, check_scope};
use super::api_bans as bans;
use super::api_call::{ApiError, Body, InPath, Params, bounded, room, user};
use super::api_messages as messages;
use super::api_rooms as rights;
use super::state::AppState;
use crate::config::ApiScope;
use crate::jwt::MAX_JTI_BYTES;
use crate::protocol::{MAX_MEMBERS, Token};

/// The maximum lifetime of a token: a year. After that, a new one has to be issued.
const MAX_TTL_SECONDS: u64 = 366 * 24 * 3_600;

/// The maximum number of rooms on a page: for each one, the store looks once at what each node holds.
const MAX_ROOMS: u32 = 200;

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
struct NamesQuery {
    after: Option<String>,
    limit: Option<u32>,
}

type Routes = Router<Arc<AppState>>;

/// All paths, behind the keys.
pub(super) fn routes(app: &Arc<AppState>) -> Routes {
    // The limit for frames fits bodies too: both contain at most one message.
    let body_limit = app.node.config().limits.max_frame_bytes;
    needing(ApiScope::Tokens, for_tokens())
        .merge(needing(ApiScope::Publish, for_publishing()))
        .merge(needing(ApiScope::Read, for_reading()))
        .merge(needing(ApiScope::Moderate, for_moderating()))
        .merge(needing(ApiScope::Admin, Router::new().route("/nodes", get(nodes))))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(middleware::from_fn_with_state(app.clone(), check_key))
}

/// These paths only for keys with the scope.
fn needing(scope: ApiScope, routes: Routes) -> Routes {
    routes.route_layer(middleware::from_fn_with_state(scope, check_scope))
}

fn for_tokens() -> Routes {
    Router::new()
        .route("/tokens", post(issue_token))
        .route("/tokens/revoke", post(revoke_token))
        .route("/users/{user}/tokens", delete(revoke_tokens_of))
}

fn for_publishing() -> Routes {
    Router::new()
        .route("/users/{user}/messages", post(messages::send))
        .route("/users/{user}/messages/{message_id}", patch(messages::edit))
        .route("/users/{user}/messages/{message_id}/reactions", post(messages::react))
        .route("/rooms/{room}/messages", post(messages::send))
        .route("/rooms/{room}/messages/{message_id}", patch(messages::edit))
        .route("/rooms/{room}/messages/{message_id}/reactions", post(messages::react))
}

fn for_reading() -> Routes {
    Router::new()
        .route("/rooms", get(rooms))
        .route("/rooms/{room}", get(rights::get))
        .route("/rooms/{room}/members", get(members))
        .route("/rooms/{room}/messages", get(messages::list))
}

fn for_moderating() -> Routes {
    Router::new()
        .route("/users/{user}/disconnect", post(disconnect))
        .route("/users/{user}/ban", get(bans::get).put(bans::put).delete(bans::delete))
        .route("/users/{user}/messages/{message_id}", delete(messages::retract))
        .route("/rooms/{room}", put(rights::put))
        .route("/rooms/{room}/moderation", post(rights::moderate))
        .route("/rooms/{room}/messages/{message_id}", delete(messages::retract))
}

async fn no_such_path() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "no such path in /api/v1")
}

async fn no_such_method() -> ApiError {
    let message = "this path does not support this method";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
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
    InPath(name): InPath<String>,
) -> Result<StatusCode, ApiError> {
    app.node.admin().revoke_tokens_of(&user("user", &name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn disconnect(
    State(app): State<Arc<AppState>>,
    InPath(name): InPath<String>,
) -> Result<StatusCode, ApiError> {
    app.node.admin().disconnect(&user("user", &name)?).await?;
    Ok(StatusCode::NO_CONTENT)
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
    InPath(name): InPath<String>,
    Params(query): Params<NamesQuery>,
) -> Result<Response, ApiError> {
    let room = room("room", &name)?;
    let after = query.after.as_deref().map(|after| user("after", after)).transpose()?;
    let limit = bounded(query.limit, MAX_MEMBERS, MAX_MEMBERS)?;
    let page = app.node.members().page(&room, after.as_ref(), limit).await?;
    let body = json!({ "room": room, "members": page.members, "count": page.count, "more": page.more });
    Ok(Json(body).into_response())
}

async fn nodes(State(app): State<Arc<AppState>>) -> Result<Response, ApiError> {
    let nodes = app.node.admin().nodes().await?;
    Ok(Json(json!({ "nodes": nodes })).into_response())
}
