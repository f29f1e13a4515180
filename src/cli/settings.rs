//! `chatnode config`. Owns the look at the settings before anything runs on them; judges nothing itself. Called by the
//! command.

use std::process::ExitCode;

use clap::Subcommand;

use super::{load, print_error, say};
use crate::config::{self, Flags};

/// What to do with the settings.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Say what is wrong with the settings, or warn of what is dangerous
    Check,
    /// Print the settings that are in force and where each came from; secrets are hidden
    Print,
}

pub(super) fn run(flags: &Flags, action: &Action) -> ExitCode {
    let loaded = match load(flags) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match action {
        Action::Check => {
            for warning in config::warnings(&loaded.config) {
                print_error(&format_args!("warning: {warning}"));
            }
            say("the settings are good\n");
        }
        Action::Print => say(&loaded.to_string()),
    }
    ExitCode::SUCCESS
}
