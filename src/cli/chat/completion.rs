//! What Tab completes: commands and names. Owns what fits before the cursor, and the choice while the user goes on pressing Tab; does not
//! know what a command means. Held by the view.

use chatnode_client::model::Model;
use chatnode_client::{Topic, UserName};

use super::command::WORDS;
use super::moderation_command::{ABOUT_USERS, KINDS, ROLES};
use super::names;
use super::prompt::Prompt;

/// A choice that the user goes through.
#[derive(Debug)]
pub(super) struct Completion {
    /// What was typed begins here, in bytes.
    start: usize,
    /// What fits, and at the end what was typed.
    choices: Vec<String>,
    at: usize,
    /// The text and the cursor since the last step: anything else that happens to the prompt ends the choice.
    left: (String, usize),
}

impl Completion {
    /// Begins a choice with what stands before the cursor. `None` if nothing can be completed there.
    pub(super) fn begin(model: &Model, prompt: &Prompt) -> Option<Self> {
        let before = &prompt.text()[..prompt.cursor()];
        let (start, mut choices) = fitting(model, before)?;
        choices.push(before[start..].to_owned());
        let at = choices.len() - 1;
        Some(Self { start, choices, at, left: (prompt.text().to_owned(), prompt.cursor()) })
    }

    /// Whether the prompt is as the last step left it.
    pub(super) fn goes_on(&self, prompt: &Prompt) -> bool {
        self.left.0 == prompt.text() && self.left.1 == prompt.cursor()
    }

    /// Puts the next choice into the prompt, or the one before.
    pub(super) fn step(&mut self, prompt: &mut Prompt, forwards: bool) {
        let count = self.choices.len();
        // Only one fits: there is no way on.
        if count == 2 && self.at == 0 {
            return;
        }
        self.at = (self.at + if forwards { 1 } else { count - 1 }) % count;
        prompt.replace(self.start, &self.choices[self.at]);
        self.left = (prompt.text().to_owned(), prompt.cursor());
    }
}

/// Where the part begins that can be completed, and what it may become, each with a space after it.
fn fitting(model: &Model, before: &str) -> Option<(usize, Vec<String>)> {
    if before.starts_with('/') && !before.contains(char::is_whitespace) {
        let words = WORDS.iter().filter(|word| word.starts_with(before));
        return (!before.starts_with("//")).then(|| (0, words.map(|word| format!("{word} ")).collect()));
    }
    let argument = |command: &str, sign: char| {
        let rest = before.strip_prefix(command)?.trim_start();
        let typed = rest.strip_prefix(sign).unwrap_or(rest);
        Some((before.len() - typed.len(), typed))
    };
    if let Some((start, typed)) = argument("/join ", '#') {
        let rooms = model.conversations().iter().filter_map(|each| match &each.topic {
            Topic::Room(room) => Some(room.as_str()),
            Topic::User(_) => None,
        });
        return Some((start, names_like(rooms, typed)));
    }
    let users = names::known(model);
    let users = || users.iter().copied().map(UserName::as_str);
    // The first word of `/room` is a kind, and the last one of `/role` a role, after a whole name.
    if let Some((start, typed)) = argument("/room ", ' ')
        && !typed.contains(char::is_whitespace)
    {
        return Some((start, names_like(KINDS.iter().map(|kind| kind.as_str()), typed)));
    }
    if let Some((_, rest)) = argument("/role ", '@')
        && let (name, typed) = names::split(model, rest)
        && let Some(typed) = typed.strip_prefix(char::is_whitespace)
        && !name.is_empty()
    {
        let typed = typed.trim_start();
        return Some((before.len() - typed.len(), names_like(ROLES.iter().map(|role| role.as_str()), typed)));
    }
    let about_a_user = ABOUT_USERS.iter().chain(&["/msg"]);
    let typed = about_a_user.filter_map(|word| argument(&format!("{word} "), '@')).next();
    if let Some((start, typed)) = typed {
        let names = names_like(users(), typed);
        if !names.is_empty() || !typed.contains(char::is_whitespace) {
            return Some((start, names));
        }
    }
    let (head, typed) = before.rsplit_once('@').filter(|(head, _)| !head.ends_with(char::is_alphanumeric))?;
    let names = names_like(users(), typed);
    // After a whole name the text goes on.
    let is_name = !names.is_empty() || !typed.contains(char::is_whitespace);
    is_name.then_some((head.len() + 1, names))
}

/// The names that begin so, whatever the case of their letters.
fn names_like<'a>(names: impl Iterator<Item = &'a str>, typed: &str) -> Vec<String> {
    let typed = typed.to_lowercase();
    names.filter(|name| name.to_lowercase().starts_with(&typed)).map(|name| format!("{name} ")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use chatnode_client::RoomName;

    use super::*;

    fn model(users: &[&str]) -> Model {
        let mut model = Model::new(UserName::parse("ann").unwrap(), 0);
        model.begin(vec![RoomName::parse("ops").unwrap(), RoomName::parse("open").unwrap()], None);
        for user in users {
            model.open(Topic::User(UserName::parse(user).unwrap()), Instant::now());
        }
        model
    }

    /// What the prompt says after each press of Tab. `None` if Tab completes nothing.
    fn pressed(model: &Model, typed: &str, count: usize) -> Option<Vec<String>> {
        let mut prompt = Prompt::new(typed.to_owned());
        let mut completion = Completion::begin(model, &prompt)?;
        let texts = (0..count).map(|_| {
            assert!(completion.goes_on(&prompt));
            completion.step(&mut prompt, true);
            prompt.text().to_owned()
        });
        Some(texts.collect())
    }

    #[test]
    fn commands_and_names_are_completed_in_a_circle() {
        let model = model(&["bob", "Bo Derek", "eve"]);
        for (typed, texts) in [
            ("/re", &["/react ", "/remove ", "/reply ", "/re", "/react "][..]),
            ("/q", &["/quit ", "/quit "]),
            ("/xyz", &["/xyz", "/xyz"]),
            ("/join o", &["/join ops ", "/join open ", "/join o"]),
            ("/join #op", &["/join #ops ", "/join #open ", "/join #op"]),
            ("/msg b", &["/msg Bo Derek ", "/msg bob ", "/msg b"]),
            ("/msg @bo d", &["/msg @Bo Derek "]),
            ("/msg ", &["/msg Bo Derek ", "/msg bob ", "/msg eve ", "/msg "]),
            ("hello (@E", &["hello (@eve "]),
            ("/reply @b", &["/reply @Bo Derek ", "/reply @bob ", "/reply @b"]),
            ("/msg bob hi @e", &["/msg bob hi @eve "]),
            ("/ban b", &["/ban Bo Derek ", "/ban bob ", "/ban b"]),
            ("/unmute @e", &["/unmute @eve "]),
            (
                "/role Bo Derek m",
                &["/role Bo Derek moderator ", "/role Bo Derek member ", "/role Bo Derek m"],
            ),
            ("/role @bob o", &["/role @bob owner "]),
            ("/role eve", &["/role eve "]),
            ("/room p", &["/room private "]),
            ("/room ", &["/room private ", "/room announce ", "/room open ", "/room "]),
            ("/kick bob for @e", &["/kick bob for @eve "]),
        ] {
            assert_eq!(pressed(&model, typed, texts.len()).unwrap(), texts, "{typed}");
        }
        for typed in [
            "",
            "hello",
            "//etc",
            "a@b",
            "@bob hello",
            "/msg bob hello",
            "/reply hello",
            "/ban bob spam",
            "/room open x",
        ] {
            assert_eq!(pressed(&model, typed, 1), None, "{typed}");
        }
    }

    #[test]
    fn a_choice_goes_both_ways_and_ends_with_any_other_key() {
        let model = model(&["bob", "bea"]);
        let mut prompt = Prompt::new("@b, hello".into());
        while prompt.cursor() > 2 {
            prompt.go(super::super::prompt::To::Left);
        }
        let mut completion = Completion::begin(&model, &prompt).unwrap();
        completion.step(&mut prompt, false);
        assert_eq!(prompt.text(), "@bob , hello");
        completion.step(&mut prompt, false);
        assert_eq!(prompt.text(), "@bea , hello");
        assert!(completion.goes_on(&prompt));
        prompt.insert("x");
        assert!(!completion.goes_on(&prompt));
    }

    #[test]
    fn sixty_hostile_names_are_completed_as_they_are() {
        let users: Vec<String> =
            (0..60).map(|number| format!("x{number}{}", "e\u{301}".repeat(20))).collect();
        let model = model(&users.iter().map(String::as_str).collect::<Vec<_>>());
        let texts = pressed(&model, "@x", 61).unwrap();
        assert_eq!(texts.iter().collect::<std::collections::HashSet<_>>().len(), 61);
        assert_eq!(texts.last().map(String::as_str), Some("@x"), "what was typed comes back");
    }
}
