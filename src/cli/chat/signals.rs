//! The signals that end a chat. Owns waiting for them, so that the connection can be closed first; ends nothing itself. Called
//! by the line mode and the terminal.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Interrupt and terminate.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for a signal. Returns the exit code that a shell reports for a program that the signal killed.
    pub(super) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}
