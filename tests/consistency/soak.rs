//! Runs every fault in turn, for hours. Owns the order of the faults, the file of results, and the end by a signal; the tool
//! owns each run and its report. Called by the commands.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use crate::fault::Fault;
use crate::run::Plan;
use crate::summary::{Summary, Totals};

pub struct Soak {
    pub lasts: Duration,
    /// The workload, the length of each run, and the first seed. Each run has another fault and another seed.
    pub plan: Plan,
    /// Only these faults; all if there are none.
    pub faults: Vec<Fault>,
    /// Written again after each run.
    pub results: PathBuf,
}

/// Each of these faults, or each fault, once, and then repeatedly the faults that are injected. The storm is not repeated: it has many clients that
/// publish little.
fn turns(only: &[Fault]) -> impl Iterator<Item = Fault> {
    let all = if only.is_empty() { Fault::value_variants() } else { only };
    let again = all.iter().filter(|fault| fault.injects() && **fault != Fault::Storm);
    all.iter().chain(again.cycle()).copied()
}

impl Soak {
    /// Returns true if each run ended without findings. A signal ends the series like the end of its time, without the
    /// unfinished run.
    pub async fn run(self, small: bool) -> std::io::Result<bool> {
        let (start, mut summary, mut failed) = (Instant::now(), Summary::default(), Vec::new());
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut seed = self.plan.seed;
        for fault in turns(&self.faults) {
            if start.elapsed() >= self.lasts {
                break;
            }
            let Plan { lasts, sizes, binary, .. } = self.plan.clone();
            let plan = Plan::new(fault, lasts, seed, sizes, binary);
            let run = tokio::select! {
                run = crate::run_once(&plan, small) => run,
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            };
            let (sum, why) = match run {
                Ok(report) if report.good() => (Totals::of(&report), None),
                Ok(report) => (Totals::of(&report), Some(report.faults())),
                Err(why) => (Totals::failed(), Some(why.to_string())),
            };
            failed.extend(why.map(|why| format!("- {}: {why}", plan.command(small))));
            summary.add(fault.name(), &sum);
            let minutes = start.elapsed().as_secs() / 60;
            std::fs::write(&self.results, format!("{summary}\n{minutes} minutes\n{}\n", failed.join("\n")))?;
            let total = summary.total();
            println!(
                "  after {minutes} minutes: {} runs, {} injected, {} publishes, {} runs with findings\n",
                total.runs,
                total.injected,
                total.publishes,
                failed.len()
            );
            seed = seed.wrapping_add(1);
        }
        println!("{summary}\n{}\nresults are in {}", failed.join("\n"), self.results.display());
        Ok(failed.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soak_runs_each_injected_fault_once_per_round() {
        let all = Fault::value_variants();
        let turns: Vec<Fault> = turns(&[]).take(4 * all.len()).collect();
        assert_eq!(&turns[..all.len()], all);
        assert!(turns[all.len()..].iter().all(|fault| fault.injects() && *fault != Fault::Storm));
        for fault in all.iter().filter(|fault| fault.injects() && **fault != Fault::Storm) {
            assert!(turns.iter().filter(|turn| *turn == fault).count() >= 4, "{fault:?}");
        }
    }
}
