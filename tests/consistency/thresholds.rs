//! What a run must come to beside nothing found: a check that looked at nothing proves nothing, a fault that was not
//! injected neither, and some promises are numbers. Owns these floors, by fault; counts nothing itself. Asked by the report.

use crate::checks::Check;
use crate::fault::Fault;
use crate::history::SECOND;
use crate::report::Report;

/// What has something to look at in every run, whatever its fault.
const ALWAYS: [Check; 10] = [
    Check::LostAcknowledged,
    Check::LostAtMember,
    Check::Duplicate,
    Check::Reorder,
    Check::Inconsistent,
    Check::PhantomOrLeak,
    Check::Liveness,
    Check::StalePresence,
    Check::Impersonation,
    Check::Resources,
];

/// The most that a node may ever have held beside clients that read nothing.
const PEAK_KIB: u64 = 64 << 10;
/// By when 99 of 100 are back in a storm.
const RETURN: u64 = 5 * SECOND;
/// How many times slower others may become beside clients that read nothing, at the 99th percentile.
const SLOWER: u64 = 2;
/// On a machine that is slower than this without them, nothing can be said about that.
const BUSY: u64 = SECOND / 20;

/// The thresholds that a run did not reach. Without its fault, only what is asked of every run is.
pub fn unmet(report: &Report, fault: Option<Fault>) -> Vec<String> {
    let mut unmet = Vec::new();
    let mut want = |good: bool, why: String| {
        if !good {
            unmet.push(why);
        }
    };
    for check in ALWAYS {
        let looked = report.findings.looked.get(&check).copied().unwrap_or(0);
        want(looked > 0, format!("{check} had nothing to look at"));
    }
    let Some(fault) = fault else { return unmet };
    if fault.injects() {
        want(report.injected > 0, format!("{} was not injected", fault.name()));
    }
    if !fault.calm_at_end().is_zero() {
        let ghosts = report.findings.ghosts;
        want(ghosts > 0, "nobody was asked after whose bound for ghosts had run out".into());
    }
    let gaps = report.not_recovered + report.gaps;
    match fault {
        Fault::EmptyRedis | Fault::FlushAll | Fault::StaleReplica | Fault::Forged | Fault::Trimmed => {
            want(gaps > 0, "nobody was told of a gap".into());
        }
        Fault::Storm => {
            want(report.private_reads > Some(0), "no read of a private log was counted".into());
            want(report.to_return.len() > 0, "nobody came back".into());
            let took = report.to_return.at(990);
            want(took <= RETURN, format!("99 % were back after {} ms only", took / 1_000));
        }
        Fault::NeverReader => {
            want(report.peak_kib <= PEAK_KIB, format!("a node held {} KiB", report.peak_kib));
            let others = report.to_others.as_ref().map(|(before, after)| (before.at(990), after.at(990)));
            want(others.is_some_and(|(_, after)| after > 0), "nobody read beside those who did not".into());
            let slow = others.filter(|(before, after)| *before <= BUSY && *after > SLOWER * before);
            want(slow.is_none(), format!("p99 of the others, before and after, in µs: {slow:?}"));
        }
        _ => {}
    }
    unmet
}
