//! Every fault in turn, for hours. Owns whose turn it is, the file of results, and the end by a signal; a run and its
//! report are the tool's. Called by the commands.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use crate::fault::Fault;
use crate::run::Plan;
use crate::summary::{Summary, Totals};

pub struct Soak {
    pub lasts: Duration,
    /// The workload, how long each run takes, and the first seed; faults and seeds differ from run to run.
    pub plan: Plan,
    /// Written anew after each run.
    pub results: PathBuf,
}

/// Each fault once, and then, again and again, those that are injected. Not the storm, whose clients are many and publish
/// little.
fn turns() -> impl Iterator<Item = Fault> {
    let all = Fault::value_variants();
    let again = all.iter().filter(|fault| fault.injects() && **fault != Fault::Storm);
    all.iter().chain(again.cycle()).copied()
}

impl Soak {
    /// True if nothing was found, and each run came to its end. A signal ends it as the time does, without the run that
    /// is under way.
    pub async fn run(self, small: bool) -> std::io::Result<bool> {
        let (start, mut summary, mut failed) = (Instant::now(), Summary::default(), Vec::new());
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut seed = self.plan.seed;
        for fault in turns() {
            if start.elapsed() >= self.lasts {
                break;
            }
            let Plan { lasts, sizes, binary, .. } = self.plan.clone();
            let plan = Plan::new(fault, lasts, seed, sizes, binary);
            let run = tokio::select! {
                run = crate::one(&plan, small) => run,
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            };
            let (sum, why) = match run {
                Ok(report) if report.good() => (Totals::of(&report), None),
                Ok(report) => (Totals::of(&report), Some(report.why())),
                Err(why) => (Totals::failed(), Some(why.to_string())),
            };
            failed.extend(why.map(|why| format!("- {}: {why}", plan.again(small))));
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
        println!("{summary}\n{}\nin {}", failed.join("\n"), self.results.display());
        Ok(failed.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soak_runs_each_injected_fault_once_per_round() {
        let all = Fault::value_variants();
        let turns: Vec<Fault> = turns().take(4 * all.len()).collect();
        assert_eq!(&turns[..all.len()], all);
        assert!(turns[all.len()..].iter().all(|fault| fault.injects() && *fault != Fault::Storm));
        for fault in all.iter().filter(|fault| fault.injects() && **fault != Fault::Storm) {
            assert!(turns.iter().filter(|turn| *turn == fault).count() >= 4, "{fault:?}");
        }
    }
}
