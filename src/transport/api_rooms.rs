//! Calls of the server API about rooms with rights: making and changing them, what their users are, and acting on these users. Owns their
//! JSON; the node does the work. The server API stands above all roles.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::api_call::{ApiError, Body, InPath, Params, bounded, request_id, room, user};
use super::state::AppState;
use crate::chat::{Asker, Caller, RoomUpdate, RoomUser, UserAction};
use crate::protocol::requests::{self, RightsAck, check_action};
use crate::protocol::{Action, MessageId, RequestId, Role, RoomKind, UserName};

/// The most users on a page.
const MAX_USERS: u32 = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PutRoom {
    #[serde(default)]
    kind: Option<RoomKind>,
    #[serde(default, deserialize_with = "requests::room_topic")]
    topic: Option<String>,
    #[serde(default, deserialize_with = "requests::slow_mode")]
    slow_mode_ms: Option<u64>,
    owner: Option<String>,
    by: Option<String>,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Moderate {
    action: Action,
    target_username: String,
    #[serde(default)]
    role: Option<Role>,
    #[serde(default, deserialize_with = "requests::until")]
    until: Option<u64>,
    #[serde(default, deserialize_with = "requests::reason")]
    reason: Option<String>,
    by: Option<String>,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsersQuery {
    after: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn put(
    State(app): State<Arc<AppState>>,
    InPath(name): InPath<String>,
    Body(call): Body<PutRoom>,
) -> Result<Response, ApiError> {
    let room = room("room", &name)?;
    let owner = call.owner.as_deref().map(|owner| user("owner", owner)).transpose()?;
    let by = call.by.as_deref().map(|by| user("by", by)).transpose()?;
    let id = request_id(call.id.as_deref())?;
    let update = RoomUpdate {
        room: &room,
        kind: call.kind,
        topic: call.topic.as_deref(),
        slow_mode_ms: call.slow_mode_ms,
        owner: owner.as_ref(),
    };
    let stored = app.node.update_room(&update, &caller(by.as_ref(), id.as_ref())).await?;
    Ok(Json(RightsAck::from(stored)).into_response())
}

pub(super) async fn get(
    State(app): State<Arc<AppState>>,
    InPath(name): InPath<String>,
    Params(query): Params<UsersQuery>,
) -> Result<Response, ApiError> {
    let room = room("room", &name)?;
    let after = query.after.as_deref().map(|after| user("after", after)).transpose()?;
    let limit = bounded(query.limit, MAX_USERS, MAX_USERS)? as usize;
    let Some(found) = app.node.room_users(&room).await? else {
        let message = "this room has no rights: anyone may enter it and write there";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", message));
    };
    let is_after =
        |user: &&RoomUser| after.as_ref().is_none_or(|after| user.username.as_str() > after.as_str());
    let mut users = found.users.iter().filter(is_after);
    let page: Vec<&RoomUser> = users.by_ref().take(limit).collect();
    let body = json!({
        "room": room,
        "kind": found.kind,
        "topic": found.topic,
        "slow_mode_ms": found.slow_mode_ms,
        "users": page,
        "more": users.next().is_some(),
    });
    Ok(Json(body).into_response())
}

pub(super) async fn moderate(
    State(app): State<Arc<AppState>>,
    InPath(name): InPath<String>,
    Body(call): Body<Moderate>,
) -> Result<Response, ApiError> {
    let Moderate { action, role, until, .. } = call;
    let room = room("room", &name)?;
    let target = user("target_username", &call.target_username)?;
    let by = call.by.as_deref().map(|by| user("by", by)).transpose()?;
    let id = request_id(call.id.as_deref())?;
    check_action(action, role, until).map_err(ApiError::invalid)?;
    let reason = call.reason.as_deref();
    let action = UserAction { room: &room, action, target: &target, role, until, reason };
    let stored = app.node.act_on_user(&action, &caller(by.as_ref(), id.as_ref())).await?;
    Ok(Json(RightsAck::from(stored)).into_response())
}

fn caller<'a>(by: Option<&'a UserName>, id: Option<&'a RequestId>) -> Caller<'a> {
    let (client_id, message_id) = (id.map(RequestId::as_str), MessageId::generate());
    Caller { asker: Asker::Server, by, client_id, payer: None, message_id }
}
