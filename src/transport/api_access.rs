//! Who may call the server API: the checks before each call. Owns their order (key, rate, scope), the answers to refused calls, and the
//! deadline of the others; the keys are in `api_keys`. Around all paths of the API.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::counter;
use tokio::time::timeout;
use tracing::{Instrument, info_span};

use super::api_call::ApiError;
use super::api_keys::{ApiKey, NoCall};
use super::handshake::bearer;
use super::state::AppState;
use crate::chat::RequestError;
use crate::config::ApiScope;
use crate::metrics as names;

/// Finds the key of a call, and counts the call to its rate. Lines that the call writes into the log name the key.
pub(super) async fn check_key(
    State(app): State<Arc<AppState>>,
    headers: HeaderMap,
    mut request: Request,
    next: Next,
) -> Response {
    let given = headers.get(AUTHORIZATION).and_then(bearer).unwrap_or_default();
    let key = match app.api_keys.admit(given) {
        Ok(key) => key,
        Err(refusal) => return refuse(refusal).into_response(),
    };
    let span = info_span!("api", key = key.name.as_str());
    request.extensions_mut().insert(key);
    let config = app.node.config();
    // Within this time, the body has to arrive and the store has to answer.
    let deadline = config.server.handshake_timeout + config.limits.request_timeout;
    match timeout(deadline, next.run(request).instrument(span)).await {
        Ok(response) => response,
        Err(_) => ApiError::from(RequestError::timed_out()).into_response(),
    }
}

/// Lets calls pass whose key has the scope that their path needs.
pub(super) async fn check_scope(
    State(scope): State<ApiScope>,
    Extension(key): Extension<Arc<ApiKey>>,
    request: Request,
    next: Next,
) -> Response {
    if key.allows(scope) {
        key.count("admitted");
        return next.run(request).await;
    }
    key.count("no_scope");
    counter!(names::REJECTIONS, "scope" => "auth").increment(1);
    let message = format!(
        "the key {} lacks the scope {scope}, which this call needs: use another key, or add the scope in auth.api_keys",
        key.name,
        scope = scope.as_str()
    );
    ApiError::new(StatusCode::FORBIDDEN, "forbidden", message).into_response()
}

fn refuse(refusal: NoCall) -> ApiError {
    match refusal {
        NoCall::Off => {
            let message = "the server API is off: set auth.admin_key or auth.api_keys to turn it on";
            ApiError::new(StatusCode::NOT_FOUND, "forbidden", message)
        }
        NoCall::UnknownKey => {
            counter!(names::REJECTIONS, "scope" => "auth").increment(1);
            let message =
                "send a key (auth.admin_key, or one of auth.api_keys) as `Authorization: Bearer <key>`";
            ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
        }
        NoCall::TooMany(key, wait) => {
            key.count("over_rate");
            counter!(names::REJECTIONS, "scope" => "rate").increment(1);
            let message = format!(
                "the key {} makes more calls at this node than its entry in auth.api_keys allows; nothing was done; try again later",
                key.name
            );
            ApiError::rate_limited(message, wait)
        }
    }
}
