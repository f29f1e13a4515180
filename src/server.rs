//! One node, assembled from its layers. Owns the listeners, the background tasks and the order of the shutdown; each
//! layer owns its own work. Called by the command, and by tests that start nodes in their own process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{self, Backend, ConnectError, Deliver, Embedded};
use crate::chat::{Inlet, Node, RoomRules};
use crate::config::Config;
use crate::jwt::Verifier;
use crate::protocol::CloseReason;
use crate::supervise::critical;
use crate::transport::{self, ApiKeys, AppState, ListenOptions, Tls};
use crate::{metrics as names, telemetry};

/// How long background tasks may take to end after the drain.
const LAST_TASKS: Duration = Duration::from_secs(2);

/// Why a node could not start or continue.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The node can't listen on this address.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address in the settings.
        address: String,
        /// The reason.
        source: std::io::Error,
    },
    /// A setting is invalid, and the settings were not checked before.
    #[error("{0}")]
    Setting(String),
    /// The store can't be used, now or later.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A background task ended, so that the node could not continue; the log names the task.
    #[error("a background task ended unexpectedly, so the node shut down")]
    Broken,
}

/// Why a node shuts down. Clients see it in the close code, and reconnect in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownKind {
    /// Another node takes its place: a restart, an update, a smaller cluster.
    Restarting,
    /// A person stops it for good.
    GoingAway,
}

impl From<ShutdownKind> for CloseReason {
    fn from(kind: ShutdownKind) -> Self {
        match kind {
            ShutdownKind::Restarting => Self::Restarting,
            ShutdownKind::GoingAway => Self::GoingAway,
        }
    }
}

/// Checks the files that the settings name, as a start does.
///
/// # Errors
/// The text names the setting and the file.
pub fn check_files(config: &Config) -> Result<(), String> {
    Tls::new(&config.tls)?;
    ApiKeys::new(&config.auth)?;
    Verifier::new(&config.auth.jwt).map(drop)
}

/// A node that listens but does not serve yet.
pub struct Server {
    listener: TcpListener,
    internal: Option<TcpListener>,
    addresses: (SocketAddr, Option<SocketAddr>),
    /// The maximum number of HTTP connections per listener.
    http_sockets: (usize, usize),
    node: Arc<Node>,
    app: Arc<AppState>,
    tls: Option<Arc<Tls>>,
    connections: TaskTracker,
    background: TaskTracker,
    stop: CancellationToken,
}

impl Server {
    /// Opens the ports and starts the node's tasks. If the store does not answer yet, the node serves and waits for it.
    pub async fn bind(config: Config) -> Result<Self, ServeError> {
        Self::bind_to(config, None).await
    }

    /// One of several nodes in this process that share an embedded store.
    pub async fn bind_in(config: Config, store: &Embedded) -> Result<Self, ServeError> {
        Self::bind_to(config, Some(store)).await
    }

    async fn bind_to(config: Config, store: Option<&Embedded>) -> Result<Self, ServeError> {
        let recorder = telemetry::install_recorder();
        let rooms = RoomRules::new(&config.rooms).map_err(ServeError::Setting)?;
        let tls = Tls::new(&config.tls).map_err(ServeError::Setting)?;
        let jwt = Verifier::new(&config.auth.jwt).map_err(ServeError::Setting)?;
        let api_keys = ApiKeys::new(&config.auth).map_err(ServeError::Setting)?;
        let (listener, address) = open(&config.host, config.port).await?;
        let (internal, internal_address) = match config.internal.port {
            Some(port) => open(&config.internal.host, port).await.map(|(l, a)| (Some(l), Some(a)))?,
            None => (None, None),
        };
        let stop = CancellationToken::new();
        let (background, connections) = (TaskTracker::new(), TaskTracker::new());
        let inlet = Inlet::new(&config);
        let deliver: Arc<dyn Deliver> = inlet.registry();
        let backend: Backend = match store {
            Some(store) => store.join(&config, deliver),
            None => {
                let (backend, warnings) =
                    backend::connect(&config, deliver, &background, stop.clone()).await?;
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                backend
            }
        };
        gauge!(names::CONNECTIONS_LIMIT).set(config.max_connections as f64);
        let node = Node::start(config, (rooms, jwt), backend, inlet, &background, &stop);
        let render = {
            let node = node.clone();
            let recorder = recorder.clone();
            Box::new(move || {
                gauge!(names::READY).set(f64::from(u8::from(node.is_ready())));
                telemetry::render(&recorder)
            })
        };
        background.spawn(critical("metrics", &stop, upkeep(recorder, stop.clone())));
        let app = AppState::new(node.clone(), api_keys, connections.clone(), render);
        background.spawn(critical("notices", &stop, app.clone().sum_up_notices(stop.clone())));
        if let Some(tls) = tls.clone() {
            background.spawn(critical("certificate", &stop, tls.follow_files(stop.clone())));
        }
        let addresses = (address, internal_address);
        let http_sockets = (transport::HTTP_SOCKETS, transport::OPERATOR_SOCKETS);
        Ok(Self {
            listener,
            internal,
            addresses,
            http_sockets,
            node,
            app,
            tls,
            connections,
            background,
            stop,
        })
    }

    /// The same node with fewer HTTP connections to the port for clients and to the port for operators.
    #[must_use]
    pub fn with_http_sockets(self, public: usize, operators: usize) -> Self {
        Self { http_sockets: (public, operators), ..self }
    }

    /// The address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.addresses.0
    }

    /// The control of the node while it runs.
    pub fn control(&self) -> Control {
        Control { node: self.node.clone(), app: self.app.clone(), tls: self.tls.clone() }
    }

    /// Whether clients connect by TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The address of the endpoints for operators, if they have their own.
    pub fn internal_address(&self) -> Option<SocketAddr> {
        self.addresses.1
    }

    /// Serves until `shutdown` resolves, then shuts down in order and returns.
    ///
    /// # Errors
    /// [`ServeError::Broken`] if a background task ended by itself; the node drains in this case too.
    pub async fn run(self, shutdown: impl Future<Output = ShutdownKind>) -> Result<(), ServeError> {
        let config = self.node.config();
        let deadline = config.server.handshake_timeout;
        let no_more_clients = self.stop.child_token();
        let http = TaskTracker::new();
        let public = transport::public(&self.app, self.addresses.0.ip(), self.internal.is_none());
        let clients = no_more_clients.clone();
        let (sockets, operator_sockets) = self.http_sockets;
        let trusted_proxies: Arc<[_]> = config.server.trusted_proxies.as_slice().into();
        let options =
            |sockets, tls| ListenOptions { sockets, deadline, trusted_proxies: trusted_proxies.clone(), tls };
        let listen =
            transport::listen(self.listener, options(sockets, self.tls), public, http.clone(), clients);
        http.spawn(critical("listener", &no_more_clients, listen));
        if let (Some(internal), Some(address)) = (self.internal, self.addresses.1) {
            let router = transport::internal(&self.app, address.ip());
            let options = options(operator_sockets, None);
            let listen = transport::listen(internal, options, router, http.clone(), self.stop.clone());
            http.spawn(critical("internal listener", &self.stop, listen));
        }
        let (kind, is_broken) = tokio::select! {
            kind = shutdown => (kind, false),
            // The supervisor of the process will start it again.
            () = no_more_clients.cancelled() => (ShutdownKind::Restarting, true),
        };

        let started = Instant::now();
        tracing::info!(connections = self.node.connection_count(), reason = ?kind, "draining");
        gauge!(names::DRAINING).set(1.0);
        self.app.drain();
        // The delay is for the load balancer in front of other nodes; without other nodes there is nothing to wait for.
        if config.is_clustered() && !is_broken {
            sleep(config.drain.delay).await;
        }
        no_more_clients.cancel();
        self.connections.close();
        let until = started + config.drain.delay + config.drain.timeout;
        let close_all = async {
            self.node.close_all(kind.into(), config.drain.spread).await;
            self.connections.wait().await;
            self.node.settle().await;
        };
        if timeout_at(until, close_all).await.is_err() {
            tracing::warn!(
                connections = self.node.connection_count(),
                "drain.timeout is over: exiting with connections left"
            );
        }
        self.stop.cancel();
        self.background.close();
        http.close();
        if timeout(LAST_TASKS, async { tokio::join!(self.background.wait(), http.wait()) }).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        // Last: a heartbeat after this would take a new lease, and the node would stay listed until that lease ends.
        self.node.release().await;
        gauge!(names::DRAINING).set(0.0);
        tracing::info!("stopped");
        if is_broken { Err(ServeError::Broken) } else { Ok(()) }
    }
}

/// What can be asked of a node that runs, and changed.
pub struct Control {
    node: Arc<Node>,
    app: Arc<AppState>,
    tls: Option<Arc<Tls>>,
}

impl Control {
    /// The settings now.
    pub fn config(&self) -> Arc<Config> {
        self.node.config()
    }

    /// Takes other settings over, of those that a running node can change.
    pub fn apply(&self, config: Config) {
        self.app.apply(config);
    }

    /// Reads the certificate for clients again, if its files have changed. Waits for the disk.
    pub fn renew_certificate(&self) {
        if let Some(tls) = &self.tls {
            tls.refresh();
        }
    }

    /// Whether the store answers and the node can serve clients.
    pub fn is_ready(&self) -> bool {
        self.node.is_ready()
    }
}

/// The size of the kernel's receive buffer for one connection. By default it grows to megabytes while a client sends fast,
/// and a client over its rate fills it: no limit in the settings counts this memory.
const RECEIVE_BUFFER_BYTES: usize = 96 << 10;

async fn open(host: &str, port: u16) -> Result<(TcpListener, SocketAddr), ServeError> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let failed = |source| ServeError::Listen { address: address.clone(), source };
    let listener = TcpListener::bind((host, port)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    // The sockets that it accepts inherit the size.
    if let Err(error) = SockRef::from(&listener).set_recv_buffer_size(RECEIVE_BUFFER_BYTES) {
        tracing::warn!(%error, "can't set the size of the receive buffers: fast clients may use much memory of the kernel");
    }
    Ok((listener, address))
}

/// Runs the upkeep of the recorder: without it, its histograms grow without bound.
async fn upkeep(recorder: metrics_exporter_prometheus::PrometheusHandle, stop: CancellationToken) {
    let mut tick = interval(Duration::from_secs(5));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => recorder.run_upkeep(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn receive_buffers_have_a_fixed_size() {
        let (listener, address) = open("127.0.0.1", 0).await.unwrap();
        let _client = TcpStream::connect(address).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let size = SockRef::from(&accepted).recv_buffer_size().unwrap();
        // Linux doubles it, and counts its own structures in it.
        assert!([RECEIVE_BUFFER_BYTES, 2 * RECEIVE_BUFFER_BYTES].contains(&size), "{size}");
    }
}
