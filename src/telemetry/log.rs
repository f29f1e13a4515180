//! The log of this process. Owns the subscriber, the hook for panics and the flush at the end; `log_writer` writes the
//! lines, and `repeat_limit` limits repeated ones. Called by the command.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, reload};

use super::log_writer::LogWriter;
use super::repeat_limit::RepeatLimit;
use crate::config::{Log, LogFormat};

/// How long the end of the program waits for a log that is not read.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a panic waits for it. The panic may end the process, and its line should still reach the log.
const PANIC_FLUSH_TIMEOUT: Duration = Duration::from_millis(100);

/// The log of this process.
static LOG: OnceLock<ProcessLog> = OnceLock::new();

/// The log of a process: its queue, and its limit for repeated lines.
#[derive(Clone)]
struct ProcessLog {
    writer: LogWriter,
    limit: RepeatLimit,
}

/// Replaces the filter of this process.
static SET_FILTER: OnceLock<Box<SetFilter>> = OnceLock::new();
type SetFilter = dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync;

/// Why the filter of the log can't be replaced.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The text is no filter.
    #[error(transparent)]
    Invalid(#[from] tracing_subscriber::filter::ParseError),
    /// This process has no log of ours.
    #[error("this process has another log")]
    NoLog,
    /// The log has ended.
    #[error(transparent)]
    Gone(#[from] reload::Error),
}

/// Sends the waiting log lines when it is dropped. Keep it until the end of the program.
#[derive(Debug)]
pub struct LogGuard(());

impl Drop for LogGuard {
    fn drop(&mut self) {
        flush_logs();
    }
}

/// Sends log lines to standard error, and panics as well. A log that can't be written or is not read loses lines, but
/// it never delays or ends the program. If the process already has a subscriber, it stays: tests start several nodes.
///
/// # Errors
/// If the log's own thread or its file descriptor can't be created.
pub fn install_logs(log: &Log) -> io::Result<LogGuard> {
    let limit = RepeatLimit::default();
    // Its own descriptor: the lock of `io::stderr()` would be held for as long as a write to a full pipe takes.
    let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let idle = limit.clone();
    let writer = LogWriter::start(file, move || idle.report(false))?;
    // Checked settings have a valid filter. If the settings were not checked, no log at all would be the worst outcome.
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    // On an error, the layer would print to standard error by itself, which panics if that fails too.
    let lines = layer().with_writer(writer.clone()).log_internal_errors(false);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let installed = tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .with(limit.clone())
        .with(filter_fn(|line| !contains_messages(line)))
        .try_init();
    if installed.is_ok() {
        SET_FILTER.get_or_init(|| Box::new(move |filter| handle.reload(filter)));
    }
    let log = LOG.get_or_init(|| ProcessLog { writer, limit });
    std::panic::set_hook(Box::new(|panic| log_panic(log, panic)));
    Ok(LogGuard(()))
}

/// Replaces the filter of the log.
///
/// # Errors
/// It is invalid, or this process has another log.
pub fn set_log_filter(filter: &str) -> Result<(), FilterError> {
    let filter = EnvFilter::try_new(filter)?;
    Ok(SET_FILTER.get().ok_or(FilterError::NoLog)?(filter)?)
}

/// Writes the waiting log lines, as far as the log accepts them within a second.
pub fn flush_logs() {
    if let Some(log) = LOG.get() {
        log.limit.report(true);
        log.writer.flush(FLUSH_TIMEOUT);
    }
}

/// Logs a panic in the format of the other lines. The hook of the standard library would wait for a log that is not
/// read.
fn log_panic(log: &ProcessLog, panic: &PanicHookInfo<'_>) {
    if tracing::enabled!(Level::ERROR) {
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let thread = std::thread::current();
        tracing::error!(thread = thread.name(), backtrace, "{panic}");
    } else {
        log.writer.add(format!("{panic}\n").as_bytes());
    }
    log.writer.flush(PANIC_FLUSH_TIMEOUT);
}

/// Whether a log line contains a message of a client: the WebSocket codec logs each message that it reads at the level
/// TRACE, including the token. These lines stay out of the log, whatever the filter is.
fn contains_messages(line: &Metadata<'_>) -> bool {
    line.target().starts_with("tungstenite") && *line.level() == Level::TRACE
}

/// The number of log lines that were not written, by reason. Zero without a log.
pub(super) fn dropped_lines() -> [(&'static str, u64); 3] {
    let (repeated, lost) =
        LOG.get().map_or_else(Default::default, |log| (log.limit.left_out(), log.writer.lost()));
    [("repeated", repeated), ("queue_full", lost.queue_full), ("write_failed", lost.write_failed)]
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn panic_is_logged_like_every_other_line() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let log =
            ProcessLog { writer: LogWriter::start(pipe, || {}).unwrap(), limit: RepeatLimit::default() };
        let lines = layer().with_writer(log.writer.clone()).json().flatten_event(true);
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| log_panic(&log, panic)));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            std::panic::catch_unwind(|| panic!("on purpose")).unwrap_err();
        });
        std::panic::set_hook(earlier);
        let mut log = String::new();
        // Other tests may panic at the same time; their lines have no subscriber, so they are plain text.
        while !log.lines().any(|line| line.starts_with('{') && line.ends_with('}')) {
            let mut buffer = [0; 4096];
            let count = reader.read(&mut buffer).unwrap();
            log.push_str(str::from_utf8(&buffer[..count]).unwrap());
        }
        let line = log.lines().find(|line| line.starts_with('{')).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let message = line["message"].as_str().unwrap();
        assert!(message.contains("src/telemetry/log.rs") && message.ends_with("on purpose"), "{message}");
        assert_eq!(line["level"], "ERROR");
    }
}
