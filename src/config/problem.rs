//! What is wrong with the settings, as the user reads it. Owns the form of one problem and of all of them together; finds
//! none itself. Made by the readers of settings and by `config::validate`.

use std::fmt;

/// One thing for the user to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting, as the user wrote it, and where.
    pub subject: String,
    /// What is wrong with it.
    pub what: String,
}

impl Problem {
    pub(super) fn new(subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self { subject: subject.into(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.what)
    }
}

/// Why the settings were refused: all that is wrong with them, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub Vec<Problem>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Refused {}
