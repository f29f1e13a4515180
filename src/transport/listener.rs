//! The listener for one port. Owns the sockets that are not yet WebSockets: their maximum number, and the deadlines for
//! requests, for answers and for the whole connection. Run by the server, once per port.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::write_timeout::WriteTimeout;

/// The maximum number of open HTTP connections to the public port, without upgraded ones. Others wait in the kernel's queue.
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

/// Accepts connections until `stop`, at most `sockets` at the same time; the head of a request must arrive within `deadline`.
pub async fn listen(
    listener: TcpListener,
    sockets: usize,
    router: Router,
    deadline: Duration,
    tracker: TaskTracker,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(sockets));
    let mut back_off = FIRST_BACK_OFF;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = async {
                // The semaphore is never closed, so this always returns a permit.
                let permit = permits.clone().acquire_owned().await.ok();
                listener.accept().await.map(|socket| (socket, permit))
            } => accepted,
        };
        match accepted {
            Ok(((socket, peer), permit)) => {
                back_off = FIRST_BACK_OFF;
                let serve = serve(socket, peer, router.clone(), deadline, stop.clone());
                tracker.spawn(async move {
                    serve.await;
                    drop(permit);
                });
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
    router: Router,
    deadline: Duration,
    stop: CancellationToken,
) {
    // Small frames must not wait for the acknowledgement of earlier ones.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "the connection closed immediately");
        return;
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().oneshot(request);
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(deadline)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(WriteTimeout::new(socket, deadline * STALL)), service)
        .with_upgrades();
    tokio::pin!(connection);
    let life = deadline * LIFE;
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        _ = timeout(life, stop.cancelled()) => {
            connection.as_mut().graceful_shutdown();
            timeout(life, connection).await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection failed"),
        Err(_) => tracing::debug!("an HTTP connection was closed: its last answer took too long"),
    }
}
