//! The command: subcommands, their output and their exit codes. Owns the command line and its messages; the other
//! layers do the work. Called by the two binaries.
//!
//! Exit codes: 0 success, 1 failure, 2 invalid command line or settings, 130 and 143 after a second signal.

mod api;
mod chat;
mod files;
mod health;
mod output;
mod serve;
mod settings;
mod token;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::output::{print_result, print_usage};
use crate::config::Flags;

/// A chat server: rooms and private messages over WebSocket, on one node or on many nodes that share one Redis.
///
/// Without a subcommand, chatnode runs the server. Sources of settings, a later one overrides an earlier one: defaults,
/// --config FILE, .env, the environment (CHAT_LIMITS__BURST for limits.burst), flags.
#[derive(Debug, Parser)]
#[command(name = "chatnode", version, max_term_width = 100)]
struct Command {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run the server (the default)
    Serve,
    /// Chat in the terminal, or send the lines of a pipe
    Chat(chat::Options),
    /// Issue and revoke tokens through the server API of a running node
    #[command(subcommand)]
    Token(token::Action),
    /// Check or print the settings without starting a node
    #[command(subcommand)]
    Config(settings::Action),
    /// Check whether a running node is ready; exits with 0 or 1
    Health(health::Options),
    /// Print the completion script for a shell
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
}

/// Runs the command with the arguments of the process.
pub fn main() -> ExitCode {
    let Command { flags, action } = match Command::try_parse() {
        Ok(command) => command,
        Err(usage) => return print_usage(&usage),
    };
    match action.unwrap_or(Action::Serve) {
        Action::Serve => serve::run(&flags),
        Action::Chat(options) => chat::run(&flags, &options),
        Action::Token(action) => token::run(&flags, &action),
        Action::Config(action) => settings::run(&flags, &action),
        Action::Health(options) => health::run(&flags, &options),
        Action::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Command::command(), "chatnode", &mut script);
            print_result(&String::from_utf8_lossy(&script))
        }
    }
}
