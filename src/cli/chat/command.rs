//! The lines that a person types. Owns the commands and their help; a line without a slash is a message. Called by the
//! terminal, and by the line mode if a person types into it.

use std::time::Instant;

use chatnode_client::model::{Line, Model};
use chatnode_client::{RoomName, Topic, UserName};

/// The number of old messages to ask for at a time.
pub(super) const PAGE: u32 = 50;

const HELP: [&str; 8] = [
    "/join ROOM          enter a room, or show it again",
    "/leave              leave this room, or close this conversation",
    "/msg USER [TEXT]    send a private message",
    "/members            list the users in this room",
    "/history            load older messages",
    "/quit               quit",
    "//TEXT              send a message that begins with a slash",
    "Times are in the time zone of TZ, or else of this machine. If neither is known, they are in UTC.",
];

/// What became of a text that was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was carried out, or it is on its way.
    Done,
    /// It means nothing here. A note says why.
    Refused,
    /// The commands are listed.
    Help,
    /// The user quits.
    Quit,
}

/// Runs a command, or sends a message.
pub(super) fn run_command(model: &mut Model, text: &str, now: Instant) -> Outcome {
    let text = text.trim_end_matches(['\n', '\r']);
    let Some(command) = text.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
        let content = text.strip_prefix('/').unwrap_or(text);
        if content.trim().is_empty() || model.send(content.to_owned(), now) {
            return Outcome::Done;
        }
        return refuse(model, "no room is open: use /join ROOM");
    };
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    match word {
        "join" => match RoomName::parse(rest.strip_prefix('#').unwrap_or(rest)) {
            Ok(room) => model.open(Topic::Room(room), now),
            Err(why) => return refuse(model, &format!("/join ROOM: the name of a room {why}")),
        },
        "leave" => model.leave(),
        "msg" => {
            let (user, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            match UserName::parse(user.strip_prefix('@').unwrap_or(user)) {
                Ok(user) => {
                    model.open(Topic::User(user), now);
                    if !text.trim().is_empty() {
                        model.send(text.trim().to_owned(), now);
                    }
                }
                Err(why) => return refuse(model, &format!("/msg USER [TEXT]: the name of a user {why}")),
            }
        }
        "members" => model.ask_members(),
        "history" => model.ask_history(PAGE),
        "help" => {
            HELP.iter().for_each(|line| note(model, line));
            return Outcome::Help;
        }
        "quit" => return Outcome::Quit,
        _ => return refuse(model, "unknown command; /help lists all commands, //TEXT sends a text as it is"),
    }
    Outcome::Done
}

fn refuse(model: &mut Model, why: &str) -> Outcome {
    note(model, why);
    Outcome::Refused
}

/// Shows a text of this program in the conversation on show.
pub(super) fn note(model: &mut Model, text: &str) {
    model.show(None, Line::Note(text.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command_or_a_message() {
        let (mut model, now) = (Model::new(UserName::parse("ann").unwrap(), 0), Instant::now());
        assert_eq!(run_command(&mut model, "to nobody", now), Outcome::Refused);
        assert_eq!(model.unsent(), 0);
        run_command(&mut model, "/join #ops", now);
        assert_eq!(run_command(&mut model, "hello\nto all\n", now), Outcome::Done);
        run_command(&mut model, "//etc", now);
        assert_eq!(model.unsent(), 2);
        run_command(&mut model, "/msg bob  psst you", now);
        assert_eq!(model.current().unwrap().topic.to_string(), "@bob");
        assert_eq!(model.unsent(), 3);
        run_command(&mut model, "/leave", now);
        assert_eq!((model.unsent(), model.failed()), (2, 1), "the unsent message is reported");
        assert_eq!(run_command(&mut model, "/nonsense", now), Outcome::Refused);
        assert!(
            matches!(model.current().unwrap().lines.back(), Some(Line::Note(text)) if text.contains("/help"))
        );
        assert_eq!(run_command(&mut model, "/join a\nb", now), Outcome::Refused);
        assert_eq!(run_command(&mut model, "/quit", now), Outcome::Quit);
    }
}
