//! `chatnode chat`: a chat client for terminals and pipes. Owns the choice between a full screen and plain lines; the protocol
//! is the business of `chatnode-client`. Called by the command. The full screen needs the feature `tui`; without it there are
//! only lines.

mod command;
#[cfg(feature = "tui")]
mod completion;
#[cfg(feature = "tui")]
mod drafts;
#[cfg(feature = "tui")]
mod history;
mod input;
#[cfg(feature = "tui")]
mod job;
#[cfg(feature = "tui")]
mod keyboard;
#[cfg(feature = "tui")]
mod keys;
mod lines;
#[cfg(feature = "tui")]
mod local_time;
#[cfg(feature = "tui")]
mod mark;
mod message_command;
#[cfg(feature = "tui")]
mod message_rows;
mod moderation_command;
#[cfg(feature = "tui")]
mod modes;
mod names;
mod not_sent;
mod options;
mod outcome;
#[cfg(feature = "tui")]
mod painter;
#[cfg(feature = "tui")]
mod place;
mod printed;
mod printer;
#[cfg(feature = "tui")]
mod prompt;
#[cfg(feature = "tui")]
mod prompt_rows;
#[cfg(feature = "tui")]
mod room_row;
#[cfg(feature = "tui")]
mod screen;
mod signals;
mod surface;
#[cfg(feature = "tui")]
mod terminal;
#[cfg(feature = "tui")]
mod transcript;

pub(super) use options::Options;

use std::process::ExitCode;

use chatnode_client::model::Model;
use chatnode_client::{Session, WhoamiError, whoami};

use self::surface::Surface;
use super::output::{MISUSE, block_on, load, print_error};
use crate::config::{Config, Flags};

pub(super) fn run(flags: &Flags, options: &Options) -> ExitCode {
    let config = if options.names_a_node() {
        Config::default()
    } else {
        match load(flags) {
            Ok(loaded) => loaded.config,
            Err(code) => return code,
        }
    };
    let plan = match options.plan(&config) {
        Ok(plan) => plan,
        Err(error) => {
            print_error(&error);
            return ExitCode::from(MISUSE);
        }
    };
    let surface = Surface::of_process();
    let has_screen = surface == Surface::Screen;
    if let Surface::Lines(Some(why)) = surface {
        print_error(&format_args!("plain lines instead of the full screen: {why}"));
    }
    let history = options.history.unwrap_or(if has_screen { command::PAGE } else { 0 });
    let node = plan.address.url().to_owned();
    block_on(async {
        let me = match plan.me {
            Some(me) => me,
            None => match whoami(&plan.address).await {
                Ok(me) => me,
                Err(why) => {
                    let hint = if why == WhoamiError::NoAuthentication { " with --name" } else { "" };
                    print_error(&format_args!("{node}: {why}{hint}"));
                    return ExitCode::FAILURE;
                }
            },
        };
        let mut model = Model::new(me, history);
        model.begin(plan.rooms, plan.to);
        let session = Session::new(model, plan.address);
        #[cfg(feature = "tui")]
        if has_screen {
            return terminal::run(session).await;
        }
        lines::run(session, options.follow, &node).await
    })
}
