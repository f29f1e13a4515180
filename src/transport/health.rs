//! Health and metrics endpoints: `/healthz`, `/readyz` and `/metrics`. Owns the three answers, not the state behind
//! them. Called by the router, for load balancers, supervisors and Prometheus.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::state::AppState;

/// The process is alive. This never depends on the store: restarting a node because the store does not answer would
/// drop its clients without need.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the node accepts new clients.
pub(super) async fn readyz(State(app): State<Arc<AppState>>) -> Response {
    if app.is_draining.load(Ordering::Acquire) {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else if app.node.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer or refuses writes\n").into_response()
    }
}

/// The metrics in Prometheus' text format.
pub(super) async fn metrics(State(app): State<Arc<AppState>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (app.metrics)()).into_response()
}
