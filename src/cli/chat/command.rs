//! The lines that a person types. Owns the commands and their help; a line without a slash is a message. Called by the
//! terminal, and by the line mode if a person types into it.

use std::time::Instant;

use chatnode_client::model::Model;
use chatnode_client::{MessageId, NewMessage, RoomName, Topic, UserName};

use super::message_command;
use super::moderation_command;
use super::names::{self, with_mentions};
use super::outcome::{Outcome, note, refuse};

/// The number of old messages to ask for at a time.
pub(super) const PAGE: u32 = 50;

/// The line of [`HELP`] before which the commands about a message stand, and the line before which those about rooms stand.
const MESSAGE_HELP_AT: usize = 3;
const MODERATION_HELP_AT: usize = 5;

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

/// All commands, as they begin.
#[cfg(feature = "tui")]
pub(super) const WORDS: [&str; 25] = [
    "/ban", "/block", "/delete", "/edit", "/help", "/history", "/invite", "/join", "/kick", "/leave",
    "/members", "/msg", "/mute", "/quit", "/react", "/remove", "/reply", "/role", "/room", "/slow", "/topic",
    "/unban", "/unblock", "/unmute", "/unreact",
];

/// Runs a command, or sends a message. `marked` is the message that the user has marked.
pub(super) fn run_command(model: &mut Model, text: &str, marked: Option<MessageId>, now: Instant) -> Outcome {
    let text = text.trim_end_matches(['\n', '\r']);
    let Some(command) = text.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
        let content = text.strip_prefix('/').unwrap_or(text);
        if content.trim().is_empty() {
            return Outcome::Done;
        }
        let message = with_mentions(model, NewMessage::new(content));
        if model.send(message, now) {
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
            let (user, text) = names::split(model, rest);
            match UserName::parse(user) {
                Ok(user) => {
                    model.open(Topic::User(user), now);
                    if !text.trim().is_empty() {
                        let message = with_mentions(model, NewMessage::new(text.trim()));
                        model.send(message, now);
                    }
                }
                Err(why) => return refuse(model, &format!("/msg USER [TEXT]: the name of a user {why}")),
            }
        }
        "members" => model.ask_members(),
        "history" => model.ask_history(PAGE),
        "help" => {
            let (before, rest) = HELP.split_at(MESSAGE_HELP_AT);
            let (between, after) = rest.split_at(MODERATION_HELP_AT - MESSAGE_HELP_AT);
            let parts = [before, &message_command::HELP, between, &moderation_command::HELP, after];
            parts.concat().iter().for_each(|line| note(model, line));
            return Outcome::Help;
        }
        "quit" => return Outcome::Quit,
        _ => {
            let unknown = "unknown command; /help lists all commands, //TEXT sends a text as it is";
            let outcome = message_command::run(model, word, rest, marked, now)
                .or_else(|| moderation_command::run(model, word, rest));
            return outcome.unwrap_or_else(|| refuse(model, unknown));
        }
    }
    Outcome::Done
}

#[cfg(test)]
mod tests {
    use chatnode_client::model::Line;

    use super::*;

    #[test]
    fn a_line_is_a_command_or_a_message() {
        let (mut model, now) = (Model::new(UserName::parse("ann").unwrap(), 0), Instant::now());
        assert_eq!(run_command(&mut model, "to nobody", None, now), Outcome::Refused);
        assert_eq!(model.unsent(), 0);
        run_command(&mut model, "/join #ops", None, now);
        assert_eq!(run_command(&mut model, "hello\nto all\n", None, now), Outcome::Done);
        run_command(&mut model, "//etc", None, now);
        assert_eq!(model.unsent(), 2);
        run_command(&mut model, "/msg bob  psst you", None, now);
        assert_eq!(model.current().unwrap().topic.to_string(), "@bob");
        assert_eq!(model.unsent(), 3);
        run_command(&mut model, "/leave", None, now);
        assert_eq!((model.unsent(), model.failed()), (2, 1), "the unsent message is reported");
        assert_eq!(run_command(&mut model, "/nonsense", None, now), Outcome::Refused);
        assert!(
            matches!(model.current().unwrap().lines.back(), Some(Line::Note(text)) if text.contains("/help"))
        );
        assert_eq!(run_command(&mut model, "/join a\nb", None, now), Outcome::Refused);
        assert_eq!(run_command(&mut model, "/quit", None, now), Outcome::Quit);
    }

    #[cfg(feature = "tui")]
    #[test]
    fn each_word_that_is_completed_is_a_command() {
        for word in WORDS {
            let mut model = Model::new(UserName::parse("ann").unwrap(), 0);
            run_command(&mut model, "/msg bob", None, Instant::now());
            run_command(&mut model, word, None, Instant::now());
            let lines = model.current().into_iter().flat_map(|current| &current.lines);
            assert!(lines.map(Line::text).all(|line| !line.contains("unknown command")), "{word}");
        }
    }
}
