//! Nodes that are known to be wrong. Owns, for each flaw that a node can be built with, the fault that brings it out
//! and the checks that must name it, and runs the same without the flaw, where they must find nothing; a checker that
//! can't fail proves nothing, and one that always does neither. Called by the commands.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use clap::ValueEnum;

use crate::checks::Check;
use crate::fault::Fault;
use crate::history::{Micros, SECOND};
use crate::report::Report;
use crate::run::{self, Outcome, Plan};
use crate::run_context::Sizes;
use crate::{COMMAND, keep};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Flaw {
    /// One of a thousand live messages is not pushed to a member.
    DropLive,
    /// A publish is acknowledged before Redis has it.
    AckFirst,
    /// A topic is read before it is subscribed to.
    ReadFirst,
    /// A repeat is stored again.
    NoDedupe,
    /// A position of another epoch counts.
    IgnoreEpoch,
    /// The message before does not count.
    IgnorePrev,
    /// Nothing is read back after the subscriptions were lost.
    NoCatchUp,
    /// A dead node's members are not removed.
    NoLease,
    /// The name in the request counts, not the connection's.
    TrustName,
    /// A revocation is for the node that was told.
    LocalRevoke,
}

impl Flaw {
    fn name(self) -> String {
        self.to_possible_value().expect("no flaw is hidden").get_name().to_owned()
    }

    /// What brings it out, for how long, and the checks of which one at least must find it.
    fn shown_by(self) -> (Fault, u64, &'static [Check]) {
        match self {
            Self::DropLive => (Fault::None, 4, &[Check::LostAtMember]),
            Self::AckFirst => (Fault::RedisCut, 4, &[Check::LostAcknowledged]),
            Self::ReadFirst => (Fault::KillNode, 12, &[Check::LostAtMember]),
            Self::NoDedupe => (Fault::None, 4, &[Check::Duplicate]),
            Self::IgnoreEpoch => (Fault::FlushAll, 5, &[Check::FalseRecoveryOrGap]),
            Self::IgnorePrev => (Fault::StaleReplica, 5, &[Check::FalseRecoveryOrGap]),
            Self::NoCatchUp => (Fault::KillPubsub, 5, &[Check::LostAtMember]),
            Self::NoLease => (Fault::KillNode, 38, &[Check::StalePresence]),
            Self::TrustName => (Fault::None, 4, &[Check::Impersonation]),
            Self::LocalRevoke => (Fault::None, 12, &[Check::Revocation]),
        }
    }
}

/// By when a flaw is found, from the run's beginning.
const FOUND: Micros = 60 * SECOND;

/// One run of a node that was built to be wrong: with its flaw, which must be found, or without, and then nothing may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    pub flaw: Flaw,
    pub healthy: bool,
}

impl Trial {
    fn plan(self, binary: &Path, seed: u64) -> Plan {
        let flaw = self.flaw;
        let (fault, seconds, _) = flaw.shown_by();
        Plan {
            fault,
            lasts: Duration::from_secs(seconds),
            seed,
            sizes: Sizes {
                churn: Duration::from_secs(8),
                // Who comes with a position is made whole from the log, whatever the node missed.
                forgetful_permille: if flaw == Flaw::ReadFirst {
                    1_000
                } else {
                    Sizes::SMALL.forgetful_permille
                },
                // Ghosts are of those who don't come back.
                fickle_permille: if flaw == Flaw::NoLease { 500 } else { Sizes::SMALL.fickle_permille },
                revoke_every: Duration::from_millis(if flaw == Flaw::LocalRevoke { 600 } else { 2_500 }),
                ..Sizes::SMALL
            },
            binary: binary.to_owned(),
            planted: (!self.healthy).then(|| flaw.name()),
            calm: Duration::from_secs(if flaw == Flaw::NoLease { seconds } else { 2 }),
            calm_at_end: Duration::ZERO,
        }
    }

    /// Whether it came out as it must.
    pub async fn run(self, binary: &Path, seed: u64) -> std::io::Result<bool> {
        let (fault, _, checks) = self.flaw.shown_by();
        let (name, healthy) = (self.flaw.name(), if self.healthy { " --healthy" } else { "" });
        let again = format!("{COMMAND} planted --flaw {name} --seed {seed}{healthy}");
        let dir = tempfile::Builder::new().prefix("consistency-").tempdir()?;
        let Outcome { history, failed } = run::run(&self.plan(binary, seed), dir.path()).await;
        if let Some(why) = failed {
            println!("planted {name}: the run failed: {why}");
            keep(dir, &history, &again)?;
            return Ok(false);
        }
        let report = Report::of(&history);
        let named = report.findings.found.iter().filter(|finding| checks.contains(&finding.check));
        let first = named.map(|finding| finding.at).min();
        let names: Vec<String> = report.findings.names().iter().map(ToString::to_string).collect();
        let (good, verdict) = match (self.healthy, first) {
            (true, _) if names.is_empty() => (true, "without it nothing".to_owned()),
            (true, _) => (false, "WITHOUT IT SOMETHING".to_owned()),
            (false, None) => (false, "NOT FOUND".to_owned()),
            (false, Some(at)) if at > FOUND => (false, format!("FOUND TOO LATE, after {} s", at / SECOND)),
            (false, Some(at)) => (true, format!("found after {} s", at / SECOND)),
        };
        println!("planted {name}: {verdict} under {} ({})", fault.name(), names.join(", "));
        if !good {
            println!("{report}");
            keep(dir, &history, &again)?;
        }
        Ok(good)
    }
}

/// Each flaw, and each plan once on a node that has none, the longest first.
fn trials() -> Vec<Trial> {
    let (mut trials, mut plans) = (Vec::new(), HashSet::new());
    for flaw in Flaw::value_variants() {
        trials.push(Trial { flaw: *flaw, healthy: false });
        let control = Trial { flaw: *flaw, healthy: true };
        if plans.insert(format!("{:?}", control.plan(Path::new(""), 0))) {
            trials.push(control);
        }
    }
    trials.sort_by_key(|trial| Reverse(trial.flaw.shown_by().1));
    trials
}

/// All of them, two at a time: most of the time they wait.
pub async fn all(binary: &Path, seed: u64) -> std::io::Result<bool> {
    let waiting = Mutex::new(trials().into_iter());
    let next = || waiting.lock().expect("no one panics with the trials").next();
    let work = || async {
        let mut good = true;
        while let Some(trial) = next() {
            good &= trial.run(binary, seed).await?;
        }
        std::io::Result::Ok(good)
    };
    let (one, other) = tokio::try_join!(work(), work())?;
    Ok(one && other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_also_runs_without_its_fault() {
        let plan = |trial: &Trial| format!("{:?}", Trial { healthy: true, ..*trial }.plan(Path::new(""), 0));
        let trials = trials();
        let controls: Vec<String> = trials.iter().filter(|trial| trial.healthy).map(plan).collect();
        for flaw in Flaw::value_variants() {
            let trial = Trial { flaw: *flaw, healthy: false };
            assert!(trials.contains(&trial), "{flaw:?}");
            assert_eq!(controls.iter().filter(|control| **control == plan(&trial)).count(), 1, "{flaw:?}");
        }
    }
}
