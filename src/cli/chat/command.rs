//! The lines that a person types. Owns the commands and their help; a line without a slash is a message. Called by the
//! terminal, and by the line mode if a person types into it.

use std::time::Instant;

use chatnode_client::model::{Line, Model};
use chatnode_client::{RoomName, Topic, UserName};

/// The number of old messages to ask for at a time.
pub(super) const PAGE: u32 = 50;

const HELP: [&str; 9] = [
    "/join ROOM          enter a room, or show it again",
    "/leave              leave this room, or close this conversation",
    "/msg USER [TEXT]    send a private message",
    "/members            list the users in this room",
    "/history            load older messages (or press Page Up at the top)",
    "/quit               quit (or press Ctrl-C)",
    "//TEXT              send a message that begins with a slash",
    "Tab, Shift-Tab, or Alt with an arrow key: next or previous conversation",
    "Times are in the time zone of TZ, or else of this machine. If neither is known, they are in UTC.",
];

/// Runs a command, or sends a message. True for `/quit`.
pub(super) fn run_command(model: &mut Model, line: &str, now: Instant) -> bool {
    let Some(command) = line.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
        let text = line.strip_prefix('/').unwrap_or(line);
        if !text.trim().is_empty() && !model.send(text.to_owned(), now) {
            note(model, "no room is open: use /join ROOM");
        }
        return false;
    };
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    match word {
        "join" => match RoomName::parse(rest.strip_prefix('#').unwrap_or(rest)) {
            Ok(room) => model.open(Topic::Room(room), now),
            Err(why) => note(model, &format!("/join ROOM: the name of a room {why}")),
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
                Err(why) => note(model, &format!("/msg USER [TEXT]: the name of a user {why}")),
            }
        }
        "members" => model.ask_members(),
        "history" => model.ask_history(PAGE),
        "help" => HELP.iter().for_each(|line| note(model, line)),
        "quit" => return true,
        _ => note(model, "unknown command; /help lists all commands"),
    }
    false
}

fn note(model: &mut Model, text: &str) {
    model.show(None, Line::Note(text.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command_or_a_message() {
        let (mut model, now) = (Model::new(UserName::parse("ann").unwrap(), 0), Instant::now());
        assert!(!run_command(&mut model, "to nobody", now));
        assert_eq!(model.unsent(), 0);
        run_command(&mut model, "/join #ops", now);
        run_command(&mut model, "hello", now);
        run_command(&mut model, "//etc", now);
        assert_eq!(model.unsent(), 2);
        run_command(&mut model, "/msg bob  psst you", now);
        assert_eq!(model.current().unwrap().topic.to_string(), "@bob");
        assert_eq!(model.unsent(), 3);
        run_command(&mut model, "/leave", now);
        assert_eq!((model.unsent(), model.failed()), (2, 1), "the unsent message is reported");
        run_command(&mut model, "/nonsense", now);
        assert!(
            matches!(model.current().unwrap().lines.back(), Some(Line::Note(text)) if text.contains("/help"))
        );
        assert!(run_command(&mut model, "/quit", now));
    }
}
