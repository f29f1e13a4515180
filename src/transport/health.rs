//! What machines ask about a node: does it live, may it have clients, how is it doing. Owns the three answers; balancers,
//! supervisors and Prometheus ask.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::state::AppState;

/// The process lives. Never depends on the store: restarting a node because the store is away would drop its clients for
/// nothing.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// New clients are welcome.
pub(super) async fn readyz(State(app): State<Arc<AppState>>) -> Response {
    if app.is_draining.load(Ordering::Acquire) {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else if app.node.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response()
    }
}

/// Prometheus' text format.
pub(super) async fn metrics(State(app): State<Arc<AppState>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (app.metrics)()).into_response()
}
