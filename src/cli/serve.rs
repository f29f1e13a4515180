//! `chatnode serve`: one node, from its settings to its exit code. Owns the runtime, the signals and the output at the
//! start; `server` owns the node. Called by the command.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::files::FileBudget;
use super::output::{MISUSE, load, print, print_error};
use super::reload::Reloader;
use super::supervisor::Supervisor;
use crate::config::{self, Config, Flags, LogFormat};
use crate::server::{ServeError, Server, ShutdownKind};
use crate::telemetry;
use crate::traces::{self, Settings};

/// Not an error of the settings alone: other commands, such as `chatnode health`, need no key.
const NO_KEY: &str = "auth.enabled is true, auth.admin_key and auth.jwt are unset, and no key in auth.api_keys has the scope tokens, so \
                      nobody could get a token: set CHAT_AUTH__ADMIN_KEY to the same random key on every node (openssl rand -hex \
                      32), set auth.jwt to accept the tokens of your identity provider, or set auth.enabled to false";

pub(super) fn run(flags: &Flags) -> ExitCode {
    let (changed, config) = match load(flags) {
        Ok(loaded) => (loaded.changed(), loaded.config),
        Err(code) => return code,
    };
    if !config.can_authenticate() {
        print_error(&NO_KEY);
        return ExitCode::from(MISUSE);
    }
    let traces = match Settings::read(&|name| std::env::var_os(name)) {
        Ok(settings) => settings,
        Err(problems) => {
            problems.iter().for_each(|problem| print_error(problem));
            return ExitCode::from(MISUSE);
        }
    };
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
    let reloader = Reloader::new(flags, config.clone());
    let code = runtime.block_on(async {
        let code = serve(config, &changed, reloader, traces).await;
        traces::stop().await;
        code
    });
    // Nobody needs the result of what still runs, such as a DNS lookup.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn serve(mut config: Config, changed: &str, reloader: Reloader, traces: Option<Settings>) -> ExitCode {
    let supervisor = Arc::new(Supervisor::of_process());
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
    let (backend, name) = (config.store(), config.node.name.clone());
    let bound = tokio::select! {
        bound = Server::bind(config) => bound.map(|server| server.with_http_sockets(files.http, files.operators)),
        // No client is connected yet, so there is nothing to drain.
        _ = signals.end() => return ExitCode::SUCCESS,
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
    if let Some(settings) = traces
        && let Err(error) = traces::start(&settings, name.as_deref())
    {
        error!(error, "can't start the traces");
        return ExitCode::from(MISUSE);
    }
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
    let control = Arc::new(server.control());
    let alive = supervisor.clone();
    tokio::spawn(async move { alive.keep_alive().await });
    let started = tokio::spawn({
        let (supervisor, control) = (supervisor.clone(), control.clone());
        async move { supervisor.follow_start(&control).await }
    });
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
                if kind == SignalKind::hangup() {
                    supervisor.reloading();
                    reloader.reload(&control);
                    // Else the end of the start tells it.
                    if started.is_finished() {
                        supervisor.ready("ready; the settings were read again");
                    }
                    continue;
                }
                started.abort();
                let Some(request) = request.take() else {
                    warn!("second signal: exiting at once");
                    telemetry::flush_logs();
                    // The exit code that a shell reports for a program that the signal killed.
                    std::process::exit(128 + kind.as_raw_value());
                };
                supervisor.stopping();
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
    hangup: Signal,
    ignored: [(&'static str, Signal); 2],
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            // By default, each of them would kill the node without a drain.
            ignored: [
                ("SIGUSR1", signal(SignalKind::user_defined1())?),
                ("SIGUSR2", signal(SignalKind::user_defined2())?),
            ],
        })
    }

    /// Waits for the next signal that stops the node.
    async fn end(&mut self) -> SignalKind {
        loop {
            match self.next().await {
                kind if kind == SignalKind::hangup() => {
                    info!("ignoring SIGHUP: the node has not started yet")
                }
                kind => return kind,
            }
        }
    }

    /// Waits for the next signal that stops the node, or lets it read its settings. Logs the ignored ones.
    async fn next(&mut self) -> SignalKind {
        loop {
            let [(first, user1), (second, user2)] = &mut self.ignored;
            let name = tokio::select! {
                _ = self.interrupt.recv() => return SignalKind::interrupt(),
                _ = self.terminate.recv() => return SignalKind::terminate(),
                _ = self.hangup.recv() => return SignalKind::hangup(),
                _ = user1.recv() => first,
                _ = user2.recv() => second,
            };
            info!(
                signal = *name,
                "ignoring a signal: SIGHUP lets the node read its settings again, SIGTERM ends it"
            );
        }
    }
}
