//! The calls of the server API that keep users out of the whole server. Owns their bodies; `chat::admin` does the work.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::api_call::{ApiError, Body, InPath, user};
use super::state::AppState;
use crate::protocol::requests::until;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ban {
    #[serde(default, deserialize_with = "until")]
    until: Option<u64>,
}

pub(super) async fn get(
    State(app): State<Arc<AppState>>,
    InPath(name): InPath<String>,
) -> Result<Response, ApiError> {
    let user = user("user", &name)?;
    let Some(until) = app.node.admin().ban_of(&user).await? else {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", "this user is not banned"));
    };
    Ok(Json(json!({ "username": user, "until": until })).into_response())
}

pub(super) async fn put(
    State(app): State<Arc<AppState>>,
    InPath(name): InPath<String>,
    Body(Ban { until }): Body<Ban>,
) -> Result<StatusCode, ApiError> {
    app.node.admin().ban(&user("user", &name)?, until).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn delete(
    State(app): State<Arc<AppState>>,
    InPath(name): InPath<String>,
) -> Result<StatusCode, ApiError> {
    app.node.admin().unban(&user("user", &name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
