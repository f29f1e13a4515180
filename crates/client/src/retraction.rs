//! How a message was taken back. Owns who did it and why, and the text of that for people. Part of a message, and of an event.

use std::fmt;

use chatnode_protocol::UserName;

use crate::text::harmless;

/// How a message was taken back. Its text is one line in plain English, safe for a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Retraction {
    /// Why, exactly as it was sent: it can be hostile. A page of history does not say it.
    pub reason: Option<String>,
    /// An administrator did it, not the author.
    pub is_moderated: bool,
    /// The name that the administrator gave.
    pub moderator: Option<UserName>,
}

impl fmt::Display for Retraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deleted")?;
        if self.is_moderated {
            f.write_str(" by an administrator")?;
        }
        if let Some(moderator) = &self.moderator {
            write!(f, ", {}", harmless(moderator.as_str()))?;
        }
        match self.reason.as_deref().map(harmless).filter(|reason| !reason.trim().is_empty()) {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retraction_is_told_on_one_line() {
        let mut retraction = Retraction::default();
        assert_eq!(retraction.to_string(), "deleted");
        retraction.reason = Some("\u{202e}\u{1b}[2J".into());
        assert_eq!(retraction.to_string(), "deleted", "nothing to see");
        retraction.reason = Some("a\nb".into());
        retraction.is_moderated = true;
        assert_eq!(retraction.to_string(), "deleted by an administrator: a ⏎ b");
        retraction.moderator = UserName::parse("eve").ok();
        assert_eq!(retraction.to_string(), "deleted by an administrator, eve: a ⏎ b");
    }
}
