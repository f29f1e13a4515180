//! Nodes with a deliberate error. Owns, for each failpoint of a node, the fault that makes it visible and the checks that must
//! find it; also runs the same plan without the failpoint, where they must find nothing. This proves that the checker can fail
//! and can pass. Called by the commands.

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
pub enum Failpoint {
    /// One of a thousand live messages is not sent to a member.
    DropLive,
    /// A publish is acknowledged before Redis stored it.
    AckFirst,
    /// The log of a topic is read before the topic is subscribed to.
    ReadFirst,
    /// A repeat is stored again.
    NoDedupe,
    /// A position of another epoch is accepted.
    IgnoreEpoch,
    /// The id of the previous message is ignored.
    IgnorePrev,
    /// Nothing is read from the logs after the subscriptions were lost.
    NoCatchUp,
    /// The members of a dead node are not removed.
    NoLease,
    /// The name in the request counts, not the name of the connection.
    TrustName,
    /// A revocation affects only the node that received it.
    LocalRevoke,
}

impl Failpoint {
    fn name(self) -> String {
        self.to_possible_value().expect("every failpoint has a name").get_name().to_owned()
    }

    /// The fault that makes it visible, the length of the run in seconds, and the checks of which at least one must find it.
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

/// The longest time from the start of the run until a failpoint is found.
const FOUND: Micros = 60 * SECOND;

/// One run of a node that was built with failpoints: with one of them active, which must be found, or with none, in which case
/// nothing may be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    pub failpoint: Failpoint,
    pub healthy: bool,
}

impl Trial {
    fn plan(self, binary: &Path, seed: u64) -> Plan {
        let failpoint = self.failpoint;
        let (fault, seconds, _) = failpoint.shown_by();
        Plan {
            fault,
            lasts: Duration::from_secs(seconds),
            seed,
            sizes: Sizes {
                churn: Duration::from_secs(8),
                // A client with a position gets everything from the log, whatever the node missed.
                forgetful_permille: if failpoint == Failpoint::ReadFirst {
                    1_000
                } else {
                    Sizes::SMALL.forgetful_permille
                },
                // Only clients that don't return leave ghosts.
                stay_away_permille: if failpoint == Failpoint::NoLease {
                    500
                } else {
                    Sizes::SMALL.stay_away_permille
                },
                revoke_every: Duration::from_millis(if failpoint == Failpoint::LocalRevoke {
                    600
                } else {
                    2_500
                }),
                ..Sizes::SMALL
            },
            binary: binary.to_owned(),
            failpoint: (!self.healthy).then(|| failpoint.name()),
            calm: Duration::from_secs(if failpoint == Failpoint::NoLease { seconds } else { 2 }),
            calm_at_end: Duration::ZERO,
        }
    }

    /// Runs it, and returns whether the result is as expected.
    pub async fn run(self, binary: &Path, seed: u64) -> std::io::Result<bool> {
        let (fault, _, checks) = self.failpoint.shown_by();
        let (name, healthy) = (self.failpoint.name(), if self.healthy { " --healthy" } else { "" });
        let again = format!("{COMMAND} failpoints --failpoint {name} --seed {seed}{healthy}");
        let dir = tempfile::Builder::new().prefix("consistency-").tempdir()?;
        let Outcome { history, failed } = run::run(&self.plan(binary, seed), dir.path()).await;
        if let Some(why) = failed {
            println!("failpoint {name}: the run failed: {why}");
            keep(dir, &history, &again)?;
            return Ok(false);
        }
        let report = Report::of(&history);
        let named = report.findings.found.iter().filter(|finding| checks.contains(&finding.check));
        let first = named.map(|finding| finding.at).min();
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

/// Each failpoint, and each plan once without an active failpoint, the longest first.
fn trials() -> Vec<Trial> {
    let (mut trials, mut plans) = (Vec::new(), HashSet::new());
    for failpoint in Failpoint::value_variants() {
        trials.push(Trial { failpoint: *failpoint, healthy: false });
        let control = Trial { failpoint: *failpoint, healthy: true };
        if plans.insert(format!("{:?}", control.plan(Path::new(""), 0))) {
            trials.push(control);
        }
    }
    trials.sort_by_key(|trial| Reverse(trial.failpoint.shown_by().1));
    trials
}

/// Runs all of them, two at a time, because each spends most of its time waiting.
pub async fn all(binary: &Path, seed: u64) -> std::io::Result<bool> {
    let waiting = Mutex::new(trials().into_iter());
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
        for failpoint in Failpoint::value_variants() {
            let trial = Trial { failpoint: *failpoint, healthy: false };
            assert!(trials.contains(&trial), "{failpoint:?}");
            assert_eq!(
                controls.iter().filter(|control| **control == plan(&trial)).count(),
                1,
                "{failpoint:?}"
            );
        }
    }
}
