//! What the node tells the program that supervises it, as systemd expects it of `Type=notify` (sd_notify(3)). Owns the socket; needs
//! no library. A node without such a supervisor tells nobody. Used by `chatnode serve`.

use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::warn;

use crate::server::Control;

/// How long the start waits for the store before the node counts as started all the same: it serves, and waits on.
const STORE_WAIT: Duration = Duration::from_secs(10);
/// How often it looks meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The supervisor of this process.
pub(super) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it has to hear of the node.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names.
    pub(super) fn of_process() -> Self {
        let socket = std::env::var("NOTIFY_SOCKET").ok().and_then(|name| match open(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                warn!(%error, name, "can't tell the supervisor anything: NOTIFY_SOCKET can't be used");
                None
            }
        });
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        // Without the variable, the watchdog concerns every process that has the other one.
        let is_own = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_own && *micros > 0);
        Self { socket, watchdog: watchdog.map(Duration::from_micros) }
    }

    /// Sends one notice; a supervisor that does not read loses it.
    fn tell(&self, notice: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(notice.as_bytes(), address) {
            warn!(%error, "can't tell the supervisor that the state has changed");
        }
    }

    /// The node accepts clients.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The settings are being read again; [`Supervisor::ready`] ends it.
    pub(super) fn reloading(&self) {
        self.tell("RELOADING=1\nSTATUS=reading the settings again");
    }

    /// The node drains.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    /// Tells when the node is ready: when its store answers, or after some time.
    pub(super) async fn follow_start(&self, control: &Control) {
        let ready = async {
            while !control.is_ready() {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        let is_ready = tokio::time::timeout(STORE_WAIT, ready).await.is_ok();
        self.ready(if is_ready { "ready" } else { "listening; the store does not answer yet" });
    }

    /// Tells regularly that the runtime runs. To be run by it: a runtime that stands still tells nothing.
    pub(super) async fn keep_alive(&self) {
        let Some(limit) = self.watchdog else { return };
        let mut tick = tokio::time::interval(limit / 3);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.tell("WATCHDOG=1");
        }
    }
}

/// A socket to send to a path, or to a name of Linux that begins with `@`.
fn open(name: &str) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(name) => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}
