//! Warnings that are logged once. Owns what was logged already: clients choose these values, so their number is bounded.
//! Used where a refusal points to a setting.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Different values that are logged; a client could invent any number.
const MAX_VALUES: usize = 64;
/// A longer value is not remembered, so that it can't use memory, and not logged.
const MAX_BYTES: usize = 256;

/// The values that were logged.
#[derive(Default)]
pub(super) struct Notices {
    seen: Mutex<HashSet<(&'static str, String)>>,
}

impl Notices {
    /// Whether to log this value: not before, and not one of too many.
    pub(super) fn is_first(&self, kind: &'static str, value: &str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        value.len() <= MAX_BYTES && seen.len() < MAX_VALUES && seen.insert((kind, value.to_owned()))
    }
}
