//! Nodes with a deliberate flaw. Owns, for each flaw, the fault that makes it visible and the checks that must
//! find it; also runs the same plan without the flaw, where they must find nothing. This proves that the checker can fail
//! and can pass. Called by the commands.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::path::Path;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use chatnode::failpoints::Failpoint;
use clap::ValueEnum;

use crate::checks::Check;
use crate::fault::Fault;
use crate::history::{Micros, SECOND};
use crate::report::Report;
use crate::run::{self, Outcome, Plan};
use crate::run_context::Sizes;
use crate::{COMMAND, keep};

/// What is wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// In the program, which has to be built with failpoints.
    Failpoint(Failpoint),
    /// In the settings: a lease that is longer than the run, so the members of a dead node are not removed.
    NoLease,
}

impl Flaw {
    fn all() -> impl Iterator<Item = Self> {
        let failpoints = Failpoint::value_variants().iter().copied().map(Self::Failpoint);
        failpoints.chain([Self::NoLease])
    }

    fn name(self) -> String {
        match self {
            Self::Failpoint(failpoint) => failpoint.name(),
            Self::NoLease => "no_lease".to_owned(),
        }
    }

    /// The variable that gives a node the flaw.
    fn environment(self) -> (String, String) {
        match self {
            Self::Failpoint(failpoint) => ("CHATNODE_FAILPOINT".to_owned(), failpoint.name()),
            Self::NoLease => ("CHAT_NODE__LEASE".to_owned(), "10m".to_owned()),
        }
    }

    /// The fault that makes it visible, the length of the run in seconds, and the checks that must all find it.
    fn shown_by(self) -> (Fault, u64, &'static [Check]) {
        let failpoint = match self {
            Self::Failpoint(failpoint) => failpoint,
            Self::NoLease => return (Fault::KillNode, 38, &[Check::StalePresence]),
        };
        match failpoint {
            Failpoint::DropLive => (Fault::None, 4, &[Check::LostAtMember]),
            Failpoint::AckFirst => (Fault::RedisCut, 4, &[Check::LostAcknowledged]),
            Failpoint::ReadFirst => (Fault::KillNode, 12, &[Check::LostAtMember]),
            Failpoint::NoDedupe => (Fault::None, 4, &[Check::Duplicate]),
            Failpoint::IgnoreEpoch => (Fault::FlushAll, 5, &[Check::FalseRecoveryOrGap]),
            Failpoint::IgnorePrev => (Fault::StaleReplica, 5, &[Check::FalseRecoveryOrGap]),
            Failpoint::NoCatchUp => (Fault::KillPubsub, 5, &[Check::LostAtMember]),
            Failpoint::TrustName => (Fault::None, 4, &[Check::Impersonation]),
            Failpoint::TrustStall => (Fault::PauseMaster, 20, &[Check::LostAcknowledged]),
            Failpoint::RotateLate => (Fault::ShardStuck, 38, &[Check::Duplicate]),
            Failpoint::LocalRevoke => (Fault::None, 9, &[Check::Revocation]),
            Failpoint::IgnoreRights | Failpoint::KeepMembers => (Fault::None, 4, &[Check::Rights]),
            Failpoint::StalePage => (Fault::None, 4, &[Check::Changes, Check::ErasedText]),
        }
    }
}

impl FromStr for Flaw {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::all().map(Self::name).collect::<Vec<_>>().join(", ");
        Self::all().find(|flaw| flaw.name() == name).ok_or_else(|| format!("expected one of {}", names()))
    }
}

/// The longest time from the start of the run until a flaw is found.
const FOUND: Micros = 60 * SECOND;

/// One run of a node that was built with failpoints: with a flaw, which must be found, or without, in which case nothing may
/// be found.
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
                // A client with a position gets everything from the log, whatever the node missed.
                forgetful_permille: if flaw == Flaw::Failpoint(Failpoint::ReadFirst) {
                    1_000
                } else {
                    Sizes::SMALL.forgetful_permille
                },
                // Only clients that don't return leave ghosts.
                stay_away_permille: if flaw == Flaw::NoLease { 500 } else { Sizes::SMALL.stay_away_permille },
                revoke_every: Duration::from_millis(if flaw == Flaw::Failpoint(Failpoint::LocalRevoke) {
                    600
                } else {
                    2_500
                }),
                ..Sizes::SMALL
            },
            binary: binary.to_owned(),
            flaw: (!self.healthy).then(|| flaw.environment()),
            calm: Duration::from_secs(if flaw == Flaw::NoLease { seconds } else { 2 }),
            calm_at_end: Duration::ZERO,
        }
    }

    /// Runs it, and returns whether the result is as expected.
    pub async fn run(self, binary: &Path, seed: u64) -> std::io::Result<bool> {
        let (fault, _, checks) = self.flaw.shown_by();
        let (name, healthy) = (self.flaw.name(), if self.healthy { " --healthy" } else { "" });
        let again = format!("{COMMAND} failpoints --failpoint {name} --seed {seed}{healthy}");
        let dir = tempfile::Builder::new().prefix("consistency-").tempdir()?;
        let Outcome { history, failed } = run::run(&self.plan(binary, seed), dir.path()).await;
        if let Some(why) = failed {
            println!("failpoint {name}: the run failed: {why}");
            keep(dir, &history, &again)?;
            return Ok(false);
        }
        let report = Report::of(&history);
        let found_by = |check: &Check| {
            let found = report.findings.found.iter().filter(|finding| finding.check == *check);
            found.map(|finding| finding.at).min()
        };
        // None unless each of them found it.
        let first =
            checks.iter().map(found_by).collect::<Option<Vec<_>>>().and_then(|at| at.into_iter().max());
        let names: Vec<String> = report.findings.names().iter().map(ToString::to_string).collect();
        let (good, verdict) = match (self.healthy, first) {
            (true, _) if names.is_empty() => (true, "switched off, no findings".to_owned()),
            (true, _) => (false, "SWITCHED OFF, BUT THERE ARE FINDINGS".to_owned()),
            (false, None) => (false, "NOT FOUND".to_owned()),
            (false, Some(at)) if at > FOUND => (false, format!("FOUND TOO LATE, after {} s", at / SECOND)),
            (false, Some(at)) => (true, format!("found after {} s", at / SECOND)),
        };
        println!("failpoint {name}: {verdict}; fault {} ({})", fault.name(), names.join(", "));
        if !good {
            println!("{report}");
            keep(dir, &history, &again)?;
        }
        Ok(good)
    }
}

/// Each flaw, and each plan once without a flaw, the longest first.
fn trials() -> Vec<Trial> {
    let (mut trials, mut plans) = (Vec::new(), HashSet::new());
    for flaw in Flaw::all() {
        trials.push(Trial { flaw, healthy: false });
        let control = Trial { flaw, healthy: true };
        if plans.insert(format!("{:?}", control.plan(Path::new(""), 0))) {
            trials.push(control);
        }
    }
    trials.sort_by_key(|trial| Reverse(trial.flaw.shown_by().1));
    trials
}

/// Runs all of them, two at a time, because each spends most of its time waiting. `is_short`: without those that need Sentinels or a
/// Redis Cluster, which take a minute each.
pub async fn all(binary: &Path, seed: u64, is_short: bool) -> std::io::Result<bool> {
    let is_long = |fault: Fault| fault.is_of_sentinels() || fault.is_of_shards();
    let is_run = |trial: &Trial| !is_short || !is_long(trial.flaw.shown_by().0);
    let waiting = Mutex::new(trials().into_iter().filter(is_run));
    let next = || waiting.lock().expect("no task panics while it holds the lock").next();
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
        for flaw in Flaw::all() {
            let trial = Trial { flaw, healthy: false };
            assert!(trials.contains(&trial), "{flaw:?}");
            assert_eq!(controls.iter().filter(|control| **control == plan(&trial)).count(), 1, "{flaw:?}");
        }
    }
}
