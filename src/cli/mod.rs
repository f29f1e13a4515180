//! The command: subcommands, their output and their exit codes. Owns what people type and read; what it does is done by
//! the layers. Called by the two binaries.
//!
//! Exit codes: 0 done, 1 it failed, 2 the command line or the settings are wrong, 130 and 143 a second signal.

mod api;
mod chat;
mod health;
mod serve;
mod settings;
mod token;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Flags, Loaded};

/// The exit code where the command line or the settings are wrong; clap's own as well.
const MISUSE: u8 = 2;

/// A chat server: WebSocket, rooms, private messages, one node by itself or many around one store.
///
/// Without a subcommand it serves. Settings, later wins: defaults, --config FILE, .env, the environment (CHAT_LIMITS__BURST
/// for limits.burst), flags.
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
    /// Chat from a terminal, or send the lines of a pipe
    Chat(chat::Options),
    /// Issue and revoke tokens, through the API of a running node
    #[command(subcommand)]
    Token(token::Action),
    /// Check or print the settings, without starting anything
    #[command(subcommand)]
    Config(settings::Action),
    /// Ask a running node whether it is ready; exit code 0 or 1
    Health(health::Options),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command with the arguments of the process.
pub fn main() -> ExitCode {
    let Command { flags, action } = Command::parse();
    match action.unwrap_or(Action::Serve) {
        Action::Serve => serve::run(&flags),
        Action::Chat(options) => chat::run(&flags, &options),
        Action::Token(action) => token::run(&flags, &action),
        Action::Config(action) => settings::run(&flags, &action),
        Action::Health(options) => health::run(&flags, &options),
        Action::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Command::command(), "chatnode", &mut script);
            say(&String::from_utf8_lossy(&script));
            ExitCode::SUCCESS
        }
    }
}

/// The settings, or the exit code after telling what is wrong with them.
fn load(flags: &Flags) -> Result<Loaded, ExitCode> {
    crate::config::load(flags).map_err(|refused| {
        for problem in refused.0 {
            print_error(&problem);
        }
        ExitCode::from(MISUSE)
    })
}

/// Prints to standard output. A reader that went away (`chatnode config print | head`) is no error of ours.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints an error.
fn print_error(what: &dyn Display) {
    let _gone = writeln!(std::io::stderr(), "chatnode: {what}");
}

/// Runs one short conversation with a node.
fn block_on<F: Future<Output = ExitCode>>(conversation: F) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(conversation),
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}
