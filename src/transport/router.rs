//! Which path is answered by what. Owns the two faces of a node: clients' and operators', on one port or on two. Built
//! by the server.

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

/// The clients' face; with `operators`, both.
pub fn public(app: &Arc<AppState>, operators: bool) -> Router {
    let clients = Router::new()
        .route("/", get(root))
        .route("/ws", get(socket))
        .route("/assets/{name}", get(web::asset))
        .with_state(app.clone());
    if operators { clients.merge(operator_routes(app)) } else { clients }.fallback(not_found)
}

/// The operators' face, for a port of its own.
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

/// Only a WebSocket: whoever comes without an upgrade is told which it takes.
async fn socket(
    app: State<Arc<AppState>>,
    peer: ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response {
    handshake::upgrade(app, peer, request).await
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "nothing here: the chat page is at /, WebSockets at / and /ws").into_response()
}
