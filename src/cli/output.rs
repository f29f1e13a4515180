//! Output and exit codes of every subcommand, and the steps that they share: loading the settings, and running one
//! exchange with a node. Owns no subcommand. Called by all of them.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use crate::config::{Flags, Loaded};

/// The exit code for an invalid command line or invalid settings; clap uses it too.
pub(super) const MISUSE: u8 = 2;

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
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints an error.
pub(super) fn print_error(what: &dyn Display) {
    let _gone = writeln!(std::io::stderr(), "chatnode: {what}");
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
