//! `chatnode serve`: one node, from its settings to its exit code. Owns the runtime, the signals and the output at the
//! start; `server` owns the node. Called by the command.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::files::FileBudget;
use super::output::{MISUSE, load, print, print_error};
use crate::config::{self, Config, Flags, LogFormat};
use crate::server::{ServeError, Server, ShutdownKind};
use crate::telemetry;

/// Not an error of the settings alone: other commands, such as `chatnode health`, need no key.
const NO_KEY: &str = "auth.enabled is true and auth.admin_key is unset, so nobody could get a token: set CHAT_AUTH__ADMIN_KEY to \
                      the same random key on every node (openssl rand -hex 32), or set auth.enabled to false";

pub(super) fn run(flags: &Flags) -> ExitCode {
    let (changed, config) = match load(flags) {
        Ok(loaded) => (loaded.changed(), loaded.config),
        Err(code) => return code,
    };
    if config.auth.enabled && config.auth.admin_key.is_none() {
        print_error(&NO_KEY);
        return ExitCode::from(MISUSE);
    }
    // Dropped last: it writes the lines that still wait.
    let _log = match telemetry::install_logs(&config.log) {
        Ok(guard) => guard,
        Err(error) => {
            print_error(&format_args!("can't open the log: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.node.threads > 0 {
        builder.worker_threads(config.node.threads);
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "can't start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(serve(config, &changed));
    // Nobody needs the result of what still runs, such as a DNS lookup.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn serve(mut config: Config, changed: &str) -> ExitCode {
    let log_format = config.log.format;
    for warning in config::warnings(&config) {
        warn!("{warning}");
    }
    let files = FileBudget::raise(&config);
    config.max_connections = files.connections;
    // Handled before anything is open, so that a signal never kills the node without a drain.
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            error!(%error, "can't handle signals");
            return ExitCode::FAILURE;
        }
    };
    let backend = config.store();
    let bound = tokio::select! {
        bound = Server::bind(config) => bound.map(|server| server.with_http_sockets(files.http, files.operators)),
        // No client is connected yet, so there is nothing to drain.
        _ = signals.next() => return ExitCode::SUCCESS,
    };
    let server = match bound {
        Ok(server) => server,
        Err(error) => {
            error!(%error, "can't start");
            return if matches!(error, ServeError::Setting(_)) {
                ExitCode::from(MISUSE)
            } else {
                ExitCode::FAILURE
            };
        }
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        url = format_args!("{}://{}/", if server.has_tls() { "wss" } else { "ws" }, server.address()),
        operators = server.internal_address().map(|at| tracing::field::display(format!("http://{at}/"))),
        store = backend,
        settings = changed,
        "started"
    );
    // Where the log is for programs, standard output often goes to the same place.
    if log_format == LogFormat::Text {
        let greeting = greeting(&server, &backend);
        // On a thread of its own: a pipe that nobody reads must not keep the node from serving.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = print(&greeting) {
                warn!(%error, "can't write the greeting to standard output");
            }
        });
    }
    let (request, shutdown) = oneshot::channel();
    let mut request = Some(request);
    // The sender is dropped only at the end of this function, together with the node.
    let shutdown = async { shutdown.await.unwrap_or(ShutdownKind::GoingAway) };
    let mut running = std::pin::pin!(server.run(shutdown));
    loop {
        tokio::select! {
            ended = &mut running => return match ended {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    error!(%error, "the node failed");
                    ExitCode::FAILURE
                }
            },
            kind = signals.next() => {
                let Some(request) = request.take() else {
                    warn!("second signal: exiting at once");
                    telemetry::flush_logs();
                    // The exit code that a shell reports for a program that the signal killed.
                    std::process::exit(128 + kind.as_raw_value());
                };
                info!("shutting down; send a second signal to exit at once");
                // A supervisor sends SIGTERM, and starts the next node; Ctrl-C means that the node goes away. A node
                // that is already stopping has dropped the receiver and needs no notice.
                let restarts = kind == SignalKind::terminate();
                let _ = request.send(if restarts { ShutdownKind::Restarting } else { ShutdownKind::GoingAway });
            }
        }
    }
}

fn greeting(server: &Server, backend: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let at = server.address();
    let operators =
        server.internal_address().map_or_else(String::new, |at| format!("; operators at http://{at}/"));
    let s = if server.has_tls() { "s" } else { "" };
    format!(
        "chatnode {version} listens at ws{s}://{at}/ ({backend} backend; chat page at http{s}://{at}/{operators})\n"
    )
}

/// The signals that a node handles.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    ignored: [(&'static str, Signal); 3],
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            // By default, each of them would kill the node without a drain.
            ignored: [
                ("SIGHUP", signal(SignalKind::hangup())?),
                ("SIGUSR1", signal(SignalKind::user_defined1())?),
                ("SIGUSR2", signal(SignalKind::user_defined2())?),
            ],
        })
    }

    /// Waits for the next signal that stops the node. Logs the ignored ones.
    async fn next(&mut self) -> SignalKind {
        loop {
            let [(first, hangup), (second, user1), (third, user2)] = &mut self.ignored;
            let name = tokio::select! {
                _ = self.interrupt.recv() => return SignalKind::interrupt(),
                _ = self.terminate.recv() => return SignalKind::terminate(),
                _ = hangup.recv() => first,
                _ = user1.recv() => second,
                _ = user2.recv() => third,
            };
            info!(
                signal = *name,
                "ignoring a signal: a node reads its settings only at the start; to change them, restart the node \
                 with SIGTERM"
            );
        }
    }
}
