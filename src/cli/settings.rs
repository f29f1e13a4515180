//! `chatnode config`: check or print the settings before a node runs with them. Owns the output; `config` does the
//! checks. Called by the command.

use std::process::ExitCode;

use clap::Subcommand;

use super::output::{MISUSE, load, print_error, print_result};
use crate::config::{self, Flags};
use crate::server;
use crate::traces::Settings;

/// What to do with the settings.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Report invalid settings and certificates that can't be used, and warn about dangerous settings
    Check,
    /// Print the effective settings with the source of each; secrets are hidden
    Print,
}

pub(super) fn run(flags: &Flags, action: &Action) -> ExitCode {
    let loaded = match load(flags) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match action {
        Action::Check => {
            if let Err(error) = server::check_files(&loaded.config) {
                print_error(&error);
                return ExitCode::from(MISUSE);
            }
            if let Err(problems) = Settings::read(&|name| std::env::var_os(name)) {
                problems.iter().for_each(|problem| print_error(problem));
                return ExitCode::from(MISUSE);
            }
            for warning in config::warnings(&loaded.config) {
                print_error(&format_args!("warning: {warning}"));
            }
            print_result("the settings are valid\n")
        }
        Action::Print => print_result(&loaded.to_string()),
    }
}
