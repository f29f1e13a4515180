//! The thresholds that a run without findings must also reach: a check that examined no case proves nothing, nor does a fault
//! that was not injected; and some guarantees are numbers. Owns the thresholds of each fault; counts nothing. Used by the
//! report.

use crate::checks::Check;
use crate::fault::Fault;
use crate::history::SECOND;
use crate::report::Report;

/// The checks that examine at least one case in every run, whatever its fault.
const ALWAYS: [Check; 13] = [
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
    Check::Changes,
    Check::ErasedText,
    Check::Rights,
];

/// The largest memory of a node with clients that read nothing.
const PEAK_KIB: u64 = 64 << 10;
/// The time in which 99 of 100 clients must return in a storm.
const RETURN: u64 = 5 * SECOND;
/// How many times slower deliveries to other clients may become beside clients that read nothing, at the 99th percentile.
const SLOWER: u64 = 2;
/// If deliveries take longer than this even without such clients, the machine is too busy to judge.
const BUSY: u64 = SECOND / 20;

/// The thresholds that a run did not reach. If the fault is not known, only those of every run are checked.
pub fn unmet(report: &Report, fault: Option<Fault>) -> Vec<String> {
    let mut unmet = Vec::new();
    let mut want = |good: bool, why: String| {
        if !good {
            unmet.push(why);
        }
    };
    for check in ALWAYS {
        let looked = report.findings.looked.get(&check).copied().unwrap_or(0);
        want(looked > 0, format!("{check} examined no case"));
    }
    let Some(fault) = fault else { return unmet };
    if fault.injects() {
        want(report.injected > 0, format!("{} was not injected", fault.name()));
    }
    if !fault.calm_at_end().is_zero() {
        let ghosts = report.findings.ghosts;
        want(ghosts > 0, "no client asked for the members after a bound for ghosts had expired".into());
    }
    let gaps = report.not_recovered + report.gaps;
    match fault {
        Fault::EmptyRedis | Fault::FlushAll | Fault::StaleReplica | Fault::Forged | Fault::Trimmed => {
            want(gaps > 0, "no client got a gap".into());
        }
        Fault::Storm => {
            want(report.private_reads > Some(0), "no read of a private log was counted".into());
            want(report.to_return.len() > 0, "no client returned".into());
            let took = report.to_return.at(990);
            want(took <= RETURN, format!("99 % of the clients returned only after {} ms", took / 1_000));
        }
        Fault::NeverReader => {
            want(report.peak_kib <= PEAK_KIB, format!("a node held {} KiB", report.peak_kib));
            let others = report.to_others.as_ref().map(|(before, after)| (before.at(990), after.at(990)));
            want(
                others.is_some_and(|(_, after)| after > 0),
                "no client read beside those that read nothing".into(),
            );
            let slow = others.filter(|(before, after)| *before <= BUSY && *after > SLOWER * before);
            want(
                slow.is_none(),
                format!("deliveries to other clients became too slow, p99 before and after in µs: {slow:?}"),
            );
        }
        _ => {}
    }
    unmet
}
