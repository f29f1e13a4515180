//! The problems of the settings that were found so far. Owns the list; the rules are in `validate` and `redis_rules`, which fill
//! it.

/// The problems found so far, each with the key of the setting to change.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<(&'static str, String)>);

impl Findings {
    /// Adds what is required of the setting with this key, unless it holds.
    pub(super) fn require(&mut self, key: &'static str, holds: bool, what: impl Into<String>) {
        if !holds {
            self.0.push((key, what.into()));
        }
    }
}
