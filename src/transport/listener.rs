//! The listener for one port. Owns the sockets that are not yet WebSockets: the deadlines for requests, for answers and for
//! the whole connection. Which of them has to end for another one is decided in `http_sockets`. Run by the server, once per
//! port.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::address::{ClientAddress, Shared};
use super::http_sockets::{HttpPlace, HttpSockets};
use super::switching_socket::{HttpSocket, Switch, SwitchingSocket};
use super::tls::Tls;
use super::write_timeout::WriteTimeout;

/// The maximum number of open HTTP connections to the public port, without upgraded ones.
pub const HTTP_SOCKETS: usize = 1_024;
/// The same for the port for operators.
pub const OPERATOR_SOCKETS: usize = 256;
const FIRST_BACK_OFF: Duration = Duration::from_millis(5);
const LAST_BACK_OFF: Duration = Duration::from_secs(1);

/// For how many deadlines a peer may accept no data of an answer: 10 s by default, as for a WebSocket.
const STALL: u32 = 2;
/// For how many deadlines a connection accepts requests, a minute by default; the last answer may take as long again.
/// So no client keeps its permit for ever with endless requests, or by reading a byte at a time.
const LIFE: u32 = 12;

/// How one port is served.
#[derive(Clone)]
pub struct ListenOptions {
    /// The maximum number of open HTTP connections.
    pub sockets: usize,
    /// The head of a request must arrive within this time.
    pub deadline: Duration,
    /// Their sockets stand for many clients.
    pub trusted_proxies: Arc<[IpNet]>,
    /// The certificate, if this port speaks TLS.
    pub tls: Option<Arc<Tls>>,
}

/// Accepts connections until `stop`. Clients can't keep it from accepting: a further connection ends the one that has been
/// idle longest.
pub async fn listen(
    listener: TcpListener,
    options: ListenOptions,
    router: Router,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let sockets = HttpSockets::new(options.sockets);
    let mut back_off = FIRST_BACK_OFF;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = async {
                let (socket, peer) = listener.accept().await?;
                let client = ClientAddress::of(peer.ip(), &HeaderMap::new(), &options.trusted_proxies);
                let place = sockets.take(client.counted()).await;
                Ok::<_, std::io::Error>((socket, peer, place))
            } => accepted,
        };
        match accepted {
            Ok((socket, peer, place)) => {
                back_off = FIRST_BACK_OFF;
                let serve = serve(
                    socket,
                    peer,
                    place,
                    sockets.clone(),
                    router.clone(),
                    options.clone(),
                    stop.clone(),
                );
                tracker.spawn(serve);
            }
            // Most likely there are no file descriptors left: some will be closed soon.
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                sleep(back_off).await;
                back_off = (back_off * 2).min(LAST_BACK_OFF);
            }
        }
    }
}

async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    place: HttpPlace,
    sockets: Arc<HttpSockets>,
    router: Router,
    options: ListenOptions,
    stop: CancellationToken,
) {
    // Dropped last: the socket is closed before its place is free.
    let place = Arc::new(place);
    // Small frames must not wait for the acknowledgement of earlier ones.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "the connection closed immediately");
        return;
    }
    let deadline = options.deadline;
    let write_limit = deadline * STALL;
    let Some(tls) = options.tls.clone() else {
        let socket = WriteTimeout::new(socket, write_limit);
        return serve_http(socket, peer, place, sockets, router, options, stop).await;
    };
    // Its place is idle meanwhile: it ends for another one, as a slow request does.
    let accepted = tokio::select! {
        accepted = tls.accept(socket, write_limit, deadline) => accepted,
        () = place.ended() => return,
        () = stop.cancelled() => return,
    };
    match accepted {
        Ok(socket) => serve_http(socket, peer, place, sockets, router, options, stop).await,
        Err(error) => tracing::debug!(%error, client = %peer.ip(), "a TLS handshake failed"),
    }
}

async fn serve_http(
    socket: impl HttpSocket,
    peer: SocketAddr,
    place: Arc<HttpPlace>,
    sockets: Arc<HttpSockets>,
    router: Router,
    options: ListenOptions,
    stop: CancellationToken,
) {
    let deadline = options.deadline;
    let served = place.clone();
    let switch = Switch::default();
    let switching = switch.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let closes = served.request();
        let client = ClientAddress::of(peer.ip(), request.headers(), &options.trusted_proxies);
        if client.shared == Shared::ByUntrustedProxy {
            sockets.forwards(client.network());
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(client);
        let answer = router.clone().oneshot(request);
        let (served, switching) = (served.clone(), switching.clone());
        async move {
            let mut answer = answer.await.unwrap_or_else(|never| match never {});
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                switching.set();
            } else {
                served.answered();
                if closes {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let socket = SwitchingSocket::new(socket, switch);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(deadline)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    tokio::pin!(connection);
    let life = deadline * LIFE;
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = place.ended() => {
            tracing::debug!("an idle HTTP connection was closed: another one needs its place");
            return;
        }
        _ = timeout(life, stop.cancelled()) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = timeout(life, connection) => ended,
                () = place.ended() => return,
            }
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection failed"),
        Err(_) => tracing::debug!("an HTTP connection was closed: its last answer took too long"),
    }
}
