//! The routes of a node. Owns the two sets of paths, for clients and for operators, on one port or on two; the handlers
//! are elsewhere. Built by the server.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};

use super::address::ClientAddress;
use super::hosts::HostCheck;
use super::state::AppState;
use super::{api, handshake, health, hosts, web};

/// The routes for clients, on a listener with this address; with `operators`, those for operators too.
pub fn public(app: &Arc<AppState>, listens_on: IpAddr, operators: bool) -> Router {
    let clients = Router::new()
        .route("/", get(root))
        .route("/ws", get(socket))
        .route("/assets/{name}", get(web::asset))
        .with_state(app.clone());
    let routes = if operators { clients.merge(operator_routes(app)) } else { clients };
    checked(app, listens_on, routes)
}

/// The routes for operators, on a listener of their own.
pub fn internal(app: &Arc<AppState>, listens_on: IpAddr) -> Router {
    checked(app, listens_on, operator_routes(app))
}

fn checked(app: &Arc<AppState>, listens_on: IpAddr, routes: Router) -> Router {
    let check = HostCheck::new(app, listens_on);
    routes.fallback(not_found).layer(middleware::from_fn_with_state(check, hosts::check))
}

fn operator_routes(app: &Arc<AppState>) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .nest("/api/v1", api::routes(app))
        .with_state(app.clone())
}

async fn root(
    app: State<Arc<AppState>>,
    client: Extension<ClientAddress>,
    request: Request<Body>,
) -> Response {
    if handshake::wants_upgrade(request.headers()) {
        handshake::upgrade(app, client, request).await
    } else {
        web::index(&app.node.config())
    }
}

/// Only WebSockets: a request without an upgrade gets the error that an upgrade would get, or one that names the required version.
async fn socket(
    app: State<Arc<AppState>>,
    client: Extension<ClientAddress>,
    request: Request<Body>,
) -> Response {
    if handshake::wants_upgrade(request.headers()) {
        handshake::upgrade(app, client, request).await
    } else {
        handshake::answer_in_advance(&app, client.0)
    }
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "not found: the chat page is at /, WebSockets are at / and /ws").into_response()
}
