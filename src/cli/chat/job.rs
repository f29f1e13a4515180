//! The chat as a job of a shell. Owns the signals that end, suspend and continue it; restores nothing itself. Called by the
//! terminal.

use std::io;

use rustix::process::{
    Signal as Number, getpgrp, getpid, getppid, getsid, kill_current_process_group, kill_process,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::signals::Signals;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// To end, with the exit code that a shell reports for a program that the signal killed.
    End(u8),
    /// To restore the terminal and stop.
    Suspend,
    /// The job runs again, and the terminal may be in other modes.
    Continued,
}

/// The signals of a job.
pub(super) struct Job {
    ends: Signals,
    hangup: Signal,
    quit: Signal,
    suspend: Signal,
    continued: Signal,
}

impl Job {
    pub(super) fn new() -> io::Result<Self> {
        let of = |number: Number| signal(SignalKind::from_raw(number.as_raw()));
        Ok(Self {
            ends: Signals::new()?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            suspend: of(Number::TSTP)?,
            continued: of(Number::CONT)?,
        })
    }

    /// Waits for a signal. Cancel safe.
    pub(super) async fn next(&mut self) -> Call {
        tokio::select! {
            code = self.ends.next() => Call::End(code),
            _ = self.hangup.recv() => Call::End(129),
            _ = self.quit.recv() => Call::End(131),
            _ = self.suspend.recv() => Call::Suspend,
            _ = self.continued.recv() => Call::Continued,
        }
    }
}

/// Whether a shell can continue this job. Without one, nobody could (the process group is orphaned: POSIX, 3.264), as in
/// `xterm -e chatnode chat`.
pub(super) fn has_shell() -> bool {
    let session = getsid(None);
    let is_under_shell = |parent| getsid(Some(parent)) == session;
    session.is_ok_and(|session| session != getpgrp()) && getppid().is_some_and(is_under_shell)
}

/// Asks all processes of the job to suspend themselves, as Ctrl+Z does in a terminal that is not in raw mode.
pub(super) fn ask_to_suspend() {
    let _ended = kill_current_process_group(Number::TSTP);
}

/// Stops this process until the shell continues it.
pub(super) fn stop() {
    let _ended = kill_process(getpid(), Number::STOP);
}
