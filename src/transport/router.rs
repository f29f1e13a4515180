//! Which path is answered by what. Owns the two faces of a node: clients' and operators', on one port or on two. Built
//! by the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::task::TaskTracker;

use super::gate::Gate;
use super::{api, handshake, operator, page};
use crate::chat::Node;

/// What all requests share.
pub struct Shared {
    pub(super) node: Arc<Node>,
    pub(super) gate: Arc<Gate>,
    /// One task per WebSocket connection.
    pub(super) connections: TaskTracker,
    pub(super) is_draining: AtomicBool,
    pub(super) metrics: Box<dyn Fn() -> String + Send + Sync>,
}

impl Shared {
    /// `metrics` renders the metrics page; `connections` tracks every connection's task.
    pub fn new(
        node: Arc<Node>,
        connections: TaskTracker,
        metrics: Box<dyn Fn() -> String + Send + Sync>,
    ) -> Arc<Self> {
        let config = node.config();
        let gate = Gate::new(config.max_connections, config.limits.max_connections_per_address);
        Arc::new(Self {
            gate: Arc::new(gate),
            connections,
            is_draining: AtomicBool::new(false),
            metrics,
            node,
        })
    }

    /// From now on `/readyz` says 503.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }
}

/// The clients' face; with `operators`, both.
pub fn public(shared: &Arc<Shared>, operators: bool) -> Router {
    let clients = Router::new()
        .route("/", get(root))
        .route("/ws", get(socket))
        .route("/assets/{name}", get(page::asset))
        .with_state(shared.clone());
    if operators { clients.merge(operator_routes(shared)) } else { clients }.fallback(not_found)
}

/// The operators' face, for a port of its own.
pub fn internal(shared: &Arc<Shared>) -> Router {
    operator_routes(shared).fallback(not_found)
}

fn operator_routes(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(operator::healthz))
        .route("/readyz", get(operator::readyz))
        .route("/metrics", get(operator::metrics))
        .nest("/api/v1", api::routes(shared))
        .with_state(shared.clone())
}

async fn root(shared: State<Arc<Shared>>, peer: ConnectInfo<SocketAddr>, request: Request<Body>) -> Response {
    if handshake::wants_upgrade(request.headers()) {
        handshake::upgrade(shared, peer, request).await
    } else {
        page::index(shared.node.config())
    }
}

/// Only a WebSocket: whoever comes without an upgrade is told which it takes.
async fn socket(
    shared: State<Arc<Shared>>,
    peer: ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response {
    handshake::upgrade(shared, peer, request).await
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "nothing here: the chat page is at /, WebSockets at / and /ws").into_response()
}
