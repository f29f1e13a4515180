//! Output and exit codes of every subcommand, and the steps that they share: loading the settings, and running one
//! exchange with a node. Owns no subcommand. Called by all of them.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config::{Flags, Loaded};

/// The exit code for an invalid command line or invalid settings; clap uses it too.
pub(super) const MISUSE: u8 = 2;

/// How long the last errors wait for a reader.
const PATIENCE: Duration = Duration::from_secs(5);

/// The settings; or prints their problems and returns the exit code.
pub(super) fn load(flags: &Flags) -> Result<Loaded, ExitCode> {
    crate::config::load(flags).map_err(|refused| {
        for problem in refused.0 {
            print_error(&problem);
        }
        ExitCode::from(MISUSE)
    })
}

/// Prints to standard output. It is not an error if the reader is gone (`chatnode config print | head`).
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    is_written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Prints the result of a command, and returns the exit code: a result that can't be written is a failure.
pub(super) fn print_result(text: &str) -> ExitCode {
    exit_code(print(text))
}

/// Prints what clap returns instead of a command: help, the version, or an error of the command line.
pub(super) fn print_usage(usage: &clap::Error) -> ExitCode {
    let printed = usage.print().and_then(|()| io::stdout().flush());
    if usage.use_stderr() {
        return ExitCode::from(MISUSE);
    }
    exit_code(is_written(printed))
}

fn is_written(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn exit_code(written: io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&unwritten(&error));
            ExitCode::FAILURE
        }
    }
}

/// The message for output that can't be written.
pub(super) fn unwritten(error: &io::Error) -> String {
    format!("can't write to standard output: {error}")
}

/// Prints an error.
pub(super) fn print_error(what: &dyn Display) {
    let _gone = writeln!(io::stderr(), "chatnode: {what}");
}

/// Prints the last errors of a program. Nobody may be reading them: then they must not keep it from ending.
pub(super) async fn print_errors(errors: Vec<String>) {
    let (sender, printed) = oneshot::channel();
    let print = move || {
        errors.iter().for_each(|error| print_error(error));
        sender.send(())
    };
    if std::thread::Builder::new().name("errors".into()).spawn(print).is_ok() {
        let _unread = tokio::time::timeout(PATIENCE, printed).await;
    }
}

/// Runs one short exchange with a node.
pub(super) fn block_on<F: Future<Output = ExitCode>>(exchange: F) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(exchange),
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}
