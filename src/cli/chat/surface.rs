//! What the terminal can show. Owns the conditions for the full screen; opens nothing. Called by the subcommand.

use std::io::IsTerminal;

/// Where a chat is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Surface {
    /// The full screen.
    Screen,
    /// Plain lines. If somebody sits at the terminal, this is why they do not get the full screen.
    Lines(Option<&'static str>),
}

impl Surface {
    /// The surface of this process.
    pub(super) fn of_process() -> Self {
        if !cfg!(feature = "tui") || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return Self::Lines(None);
        }
        Self::of_terminal(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// The surface of a terminal with these variables. An empty variable counts as unset, as POSIX says for a locale.
    fn of_terminal(variable: impl Fn(&str) -> Option<String>) -> Self {
        match variable("TERM").as_deref() {
            None => return Self::Lines(Some("TERM is not set")),
            Some("dumb") => return Self::Lines(Some("TERM is dumb")),
            Some(_) => {}
        }
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(&variable);
        // Without a variable, the locale is "C".
        let is_utf8 = locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        if is_utf8 {
            Self::Screen
        } else {
            Self::Lines(Some("the locale is not UTF-8 (set LC_ALL=C.UTF-8 if the terminal can show it)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_screen(variables: &[(&str, &str)]) -> bool {
        let surface = Surface::of_terminal(|wanted| {
            let found = variables.iter().find(|(name, value)| *name == wanted && !value.is_empty());
            found.map(|(_, value)| (*value).to_owned())
        });
        surface == Surface::Screen
    }

    #[test]
    fn the_screen_needs_a_terminal_type_and_utf_8() {
        let (term, utf8) = (("TERM", "xterm"), ("LANG", "en_GB.UTF-8"));
        assert!(has_screen(&[term, utf8]) && has_screen(&[term, ("LC_CTYPE", "C.utf8")]));
        assert!(
            !has_screen(&[utf8])
                && !has_screen(&[("TERM", ""), utf8])
                && !has_screen(&[("TERM", "dumb"), utf8])
        );
        assert!(!has_screen(&[term]) && !has_screen(&[term, ("LANG", "C")]));
        assert!(!has_screen(&[term, utf8, ("LC_CTYPE", "de_DE.ISO-8859-1")]), "it overrides LANG");
        assert!(!has_screen(&[term, utf8, ("LC_ALL", "POSIX"), ("LC_CTYPE", "C.UTF-8")]));
        assert!(has_screen(&[term, utf8, ("LC_ALL", ""), ("LC_CTYPE", "C.UTF-8")]));
    }
}
