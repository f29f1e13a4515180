//! Nodes that are known to be wrong. Owns, for each flaw that a node can be built with, the fault that brings it out
//! and the checks that must name it; a checker that can't fail proves nothing. Called by the commands.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;

use crate::checks::Check;
use crate::fault::Fault;
use crate::report::Report;
use crate::run::{self, Plan};
use crate::stage::Sizes;

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
            Self::IgnorePrev => (Fault::StaleReplica, 5, &[Check::FalseRecoveryOrGap, Check::Inconsistent]),
            Self::NoCatchUp => (Fault::KillPubsub, 5, &[Check::LostAtMember]),
            Self::NoLease => (Fault::KillNode, 38, &[Check::StalePresence]),
            Self::TrustName => (Fault::None, 4, &[Check::Impersonation]),
            Self::LocalRevoke => (Fault::None, 12, &[Check::Revocation]),
        }
    }
}

/// Whether the flaw is found by the check that is there for it.
pub async fn one(flaw: Flaw, binary: &Path, seed: u64) -> std::io::Result<bool> {
    let (fault, seconds, checks) = flaw.shown_by();
    let plan = Plan {
        fault,
        lasts: Duration::from_secs(seconds),
        seed,
        sizes: Sizes {
            churn: Duration::from_secs(8),
            // Who comes with a position is made whole from the log, whatever the node missed.
            forgetful_permille: if flaw == Flaw::ReadFirst { 1_000 } else { Sizes::SMALL.forgetful_permille },
            // Ghosts are of those who don't come back.
            fickle_permille: if flaw == Flaw::NoLease { 500 } else { Sizes::SMALL.fickle_permille },
            revoke_every: Duration::from_millis(if flaw == Flaw::LocalRevoke { 600 } else { 2_500 }),
            ..Sizes::SMALL
        },
        binary: binary.to_owned(),
        planted: Some(flaw.name()),
        calm: Duration::from_secs(if flaw == Flaw::NoLease { seconds } else { 2 }),
    };
    let dir = tempfile::tempdir()?;
    let history = run::run(&plan, dir.path()).await?;
    let report = Report::of(&history);
    let found = checks.iter().any(|check| report.findings.count(*check) > 0);
    let names: Vec<String> = report.findings.names().iter().map(ToString::to_string).collect();
    let verdict = if found { "found" } else { "NOT FOUND" };
    println!("planted {}: {verdict} under {} ({})", flaw.name(), fault.name(), names.join(", "));
    if !found {
        let file = dir.keep().join("history.jsonl");
        history.save(&file)?;
        println!("{report}  its history: {}", file.display());
    }
    Ok(found)
}

/// All of them, two at a time: most of the time they wait.
pub async fn all(binary: &Path, seed: u64) -> std::io::Result<bool> {
    let mut found = true;
    let (mut one_by_one, mut longest) = (Flaw::value_variants().to_vec(), Vec::new());
    one_by_one.retain(|flaw| {
        let long = flaw.shown_by().1 > 30;
        if long {
            longest.push(*flaw);
        }
        !long
    });
    let beside = async {
        let mut found = true;
        for flaw in longest {
            found &= one(flaw, binary, seed).await?;
        }
        std::io::Result::Ok(found)
    };
    let rest = async {
        let mut found = true;
        for flaw in one_by_one {
            found &= one(flaw, binary, seed).await?;
        }
        std::io::Result::Ok(found)
    };
    let (a, b) = tokio::try_join!(beside, rest)?;
    found &= a && b;
    Ok(found)
}
