//! The routes of a node. Owns the two sets of paths, for clients and for operators, on one port or on two; the handlers
//! are elsewhere. Built by the server.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::state::AppState;
use super::{api, handshake, health, web};

/// The routes for clients; with `operators`, those for operators too.
pub fn public(app: &Arc<AppState>, operators: bool) -> Router {
    let clients = Router::new()
        .route("/", get(root))
        .route("/ws", get(socket))
        .route("/assets/{name}", get(web::asset))
        .with_state(app.clone());
    if operators { clients.merge(operator_routes(app)) } else { clients }.fallback(not_found)
}

/// The routes for operators, for a port of their own.
pub fn internal(app: &Arc<AppState>) -> Router {
    operator_routes(app).fallback(not_found)
}

fn operator_routes(app: &Arc<AppState>) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .nest("/api/v1", api::routes(app))
        .with_state(app.clone())
}

async fn root(app: State<Arc<AppState>>, peer: ConnectInfo<SocketAddr>, request: Request<Body>) -> Response {
    if handshake::wants_upgrade(request.headers()) {
        handshake::upgrade(app, peer, request).await
    } else {
        web::index(app.node.config())
    }
}

/// Only WebSockets: a request without an upgrade gets an error that names the required version.
async fn socket(
    app: State<Arc<AppState>>,
    peer: ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response {
    handshake::upgrade(app, peer, request).await
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "not found: the chat page is at /, WebSockets are at / and /ws").into_response()
}
