//! The command: subcommands, their output and their exit codes. Owns the command line and its messages; the other
//! layers do the work. Called by the two binaries.
//!
//! Exit codes: 0 success, 1 failure, 2 invalid command line or settings, 130 and 143 after a second signal.

mod api;
mod chat;
mod cluster;
mod files;
mod health;
mod output;
mod own_certificate;
mod reload;
mod serve;
mod server_api;
mod settings;
mod supervisor;
mod token;

use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

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
    #[command(flatten)]
    Cluster(cluster::Action),
    /// Print the completion script for a shell
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
}

/// Runs the command with the arguments of the process.
pub fn main() -> ExitCode {
    let mut command = command();
    let parsed = command
        .try_get_matches_from_mut(std::env::args_os())
        .and_then(|matches| Command::from_arg_matches(&matches).map_err(|error| error.format(&mut command)));
    let Command { flags, action } = match parsed {
        Ok(command) => command,
        Err(usage) => return print_usage(&usage),
    };
    match action.unwrap_or(Action::Serve) {
        Action::Serve => serve::run(&flags),
        Action::Chat(options) => chat::run(&flags, &options),
        Action::Token(action) => token::run(&flags, &action),
        Action::Config(action) => settings::run(&flags, &action),
        Action::Health(options) => health::run(&flags, &options),
        Action::Cluster(action) => cluster::run(&flags, &action),
        Action::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "chatnode", &mut script);
            print_result(&String::from_utf8_lossy(&script))
        }
    }
}

/// The flags that find a node on this machine.
const NODE: &[&str] = &["config", "host", "port", "internal_port"];
/// The flags that find its port for clients.
const CLIENTS: &[&str] = &["config", "host", "port"];

/// The command line. Every subcommand accepts every flag, so that one set of flags fits all; its help lists those that it uses.
fn command() -> clap::Command {
    let mut command = Command::command();
    for (name, used) in [
        ("chat", CLIENTS),
        ("token", NODE),
        ("health", NODE),
        ("rooms", NODE),
        ("who", NODE),
        ("say", NODE),
        ("kick", NODE),
        ("nodes", NODE),
        ("completions", &[]),
    ] {
        let flags = Flags::augment_args(clap::Command::new("flags"));
        let unused = flags.get_arguments().filter(|flag| !used.contains(&flag.get_id().as_str()));
        // An argument of its own comes before the global one with the same id.
        let unused: Vec<clap::Arg> = unused.map(|flag| flag.clone().hide(true)).collect();
        command = command.mut_subcommand(name, |subcommand| subcommand.args(unused));
    }
    command
}
