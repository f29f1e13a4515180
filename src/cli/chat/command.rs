//! What a person types. Owns the commands and their help; a line that begins with no slash is something said. Called by the
//! terminal, and by the line mode where a person types into it.

use std::time::Instant;

use crate::protocol::{RoomName, UserName};
use chatnode_client::model::Line;
use chatnode_client::model::Model;
use chatnode_client::model::Target;

/// How many old messages are asked for at a time.
pub(super) const PAGE: u32 = 50;

const HELP: [&str; 9] = [
    "/join ROOM          enter a room, or go back to it",
    "/leave              leave the room on show, or close the person",
    "/msg USER [TEXT]    write to a person",
    "/members            who is in the room",
    "/history            older messages (or Page Up at the top)",
    "/quit               end (or Ctrl-C)",
    "//TEXT              say something that begins with a slash",
    "Tab, Shift-Tab or Alt with an arrow: next and previous conversation",
    "Times are those of the zone that TZ names, or else this machine's; UTC where that is unknown.",
];

/// Carries out a line. True if it was `/quit`.
pub(super) fn obey(chat: &mut Model, line: &str, now: Instant) -> bool {
    let Some(command) = line.strip_prefix('/').filter(|rest| !rest.starts_with('/')) else {
        let text = line.strip_prefix('/').unwrap_or(line);
        if !text.trim().is_empty() && !chat.say(text.to_owned(), now) {
            note(chat, "no room is open: /join one");
        }
        return false;
    };
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim();
    match word {
        "join" => match RoomName::parse(rest.strip_prefix('#').unwrap_or(rest)) {
            Ok(room) => chat.open(Target::Room(room), now),
            Err(why) => note(chat, &format!("/join ROOM: a room's name {why}")),
        },
        "leave" => chat.leave(),
        "msg" => {
            let (user, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            match UserName::parse(user.strip_prefix('@').unwrap_or(user)) {
                Ok(user) => {
                    chat.open(Target::User(user), now);
                    if !text.trim().is_empty() {
                        chat.say(text.trim().to_owned(), now);
                    }
                }
                Err(why) => note(chat, &format!("/msg USER [TEXT]: a user's name {why}")),
            }
        }
        "members" => chat.ask_members(),
        "history" => chat.ask_history(PAGE),
        "help" => HELP.iter().for_each(|line| note(chat, line)),
        "quit" => return true,
        _ => note(chat, "no such command; /help lists them"),
    }
    false
}

fn note(chat: &mut Model, text: &str) {
    chat.show(None, Line::Note(text.to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_or_said() {
        let (mut chat, now) = (Model::new(UserName::parse("ann").unwrap(), 0), Instant::now());
        assert!(!obey(&mut chat, "to nobody", now));
        assert_eq!(chat.unsent(), 0);
        obey(&mut chat, "/join #ops", now);
        obey(&mut chat, "hello", now);
        obey(&mut chat, "//etc", now);
        assert_eq!(chat.unsent(), 2);
        obey(&mut chat, "/msg bob  psst you", now);
        assert_eq!(chat.current().unwrap().target.to_string(), "@bob");
        assert_eq!(chat.unsent(), 3);
        obey(&mut chat, "/leave", now);
        assert_eq!((chat.unsent(), chat.failed()), (2, 1), "what was not sent is told");
        obey(&mut chat, "/nonsense", now);
        assert!(
            matches!(chat.current().unwrap().lines.back(), Some(Line::Note(text)) if text.contains("/help"))
        );
        assert!(obey(&mut chat, "/quit", now));
    }
}
