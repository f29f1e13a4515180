//! The sixteen checks, each a pure function over a history. Owns their names, their common types and their order; runs no
//! program. Called at the end of a run, by `check FILE` on a saved history, and by the tests of each check.

mod answers;
mod changes;
mod identity;
mod index;
mod liveness;
mod log;
mod order;
mod presence;
mod resources;
mod rights;
#[cfg(test)]
mod sample;
mod session;

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{History, Micros};
pub use index::Index;
pub use liveness::times_to_recover;

/// A guarantee that a run can violate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    LostAcknowledged,
    LostAtMember,
    Duplicate,
    Reorder,
    Inconsistent,
    PhantomOrLeak,
    AbortedRead,
    FalseRecoveryOrGap,
    Liveness,
    StalePresence,
    Impersonation,
    Revocation,
    Resources,
    Changes,
    ErasedText,
    Rights,
}

impl Check {
    pub const ALL: [Self; 16] = [
        Self::LostAcknowledged,
        Self::LostAtMember,
        Self::Duplicate,
        Self::Reorder,
        Self::Inconsistent,
        Self::PhantomOrLeak,
        Self::AbortedRead,
        Self::FalseRecoveryOrGap,
        Self::Liveness,
        Self::StalePresence,
        Self::Impersonation,
        Self::Revocation,
        Self::Resources,
        Self::Changes,
        Self::ErasedText,
        Self::Rights,
    ];
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::LostAcknowledged => "C1 lost acknowledged",
            Self::LostAtMember => "C2 lost at a member",
            Self::Duplicate => "C3 duplicate",
            Self::Reorder => "C4 reorder",
            Self::Inconsistent => "C5 inconsistent",
            Self::PhantomOrLeak => "C6 phantom or leak",
            Self::AbortedRead => "C7 aborted read",
            Self::FalseRecoveryOrGap => "C8 false recovery or gap",
            Self::Liveness => "C9 liveness",
            Self::StalePresence => "C10 stale presence",
            Self::Impersonation => "C11 impersonation",
            Self::Revocation => "C12 revocation",
            Self::Resources => "C13 resources",
            Self::Changes => "C14 changes",
            Self::ErasedText => "C15 erased text",
            Self::Rights => "C16 rights",
        })
    }
}

/// One violation of a guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub check: Check,
    pub at: Micros,
    pub text: String,
}

/// What all checks found, and how many cases each examined: a check that examined no case proves nothing.
#[derive(Debug, Default)]
pub struct Findings {
    pub looked: BTreeMap<Check, u64>,
    /// How many users with a lost connection had an expired ghost bound when a client asked for the members.
    pub ghosts: u64,
    pub found: Vec<Finding>,
}

impl Findings {
    fn look(&mut self, check: Check) {
        *self.looked.entry(check).or_default() += 1;
    }

    fn find(&mut self, check: Check, at: Micros, text: impl Into<String>) {
        self.found.push(Finding { check, at, text: text.into() });
    }

    pub fn count(&self, check: Check) -> usize {
        self.found.iter().filter(|finding| finding.check == check).count()
    }

    /// The checks that found something.
    pub fn names(&self) -> Vec<Check> {
        Check::ALL.into_iter().filter(|check| self.count(*check) > 0).collect()
    }
}

/// Runs every check.
pub fn all(history: &History) -> Findings {
    let index = Index::new(history);
    let mut findings = Findings::default();
    log::check(&index, &mut findings);
    order::check(&index, &mut findings);
    session::check(&index, &mut findings);
    liveness::check(&index, &mut findings);
    answers::check(&index, &mut findings);
    presence::check(&index, &mut findings);
    identity::check(&index, &mut findings);
    resources::check(&index, &mut findings);
    changes::check(&index, &mut findings);
    rights::check(&index, &mut findings);
    findings.found.sort_by_key(|finding| finding.at);
    findings
}
