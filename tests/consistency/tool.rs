//! A history checker in the manner of Jepsen: real nodes, a real Redis, clients that keep their positions, faults from
//! a seed; everything that happens is written down and then held against the guarantees.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod api;
mod checks;
mod client;
mod cluster;
mod fault;
mod history;
mod injector;
mod planted;
mod process;
mod proxy;
mod raw_log;
mod reads;
mod report;
mod revoked_token_probe;
mod role;
mod roles;
mod run;
mod run_context;
mod soak;
mod summary;
mod thresholds;
mod wire;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use fault::Fault;
use history::History;
use planted::Trial;
use report::Report;
use run::{Outcome, Plan};
use run_context::Sizes;
use soak::Soak;
use summary::{Summary, Totals};
use tempfile::TempDir;

/// Real nodes, a real Redis, faults; and a check of all that happened.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: What,
    /// The node to test; without it, one is built.
    #[arg(long, global = true)]
    node: Option<PathBuf>,
    /// The node that was built with the feature `failpoints`; without it, one is built.
    #[arg(long, global = true)]
    flawed_node: Option<PathBuf>,
    /// The smaller workload, which CI runs.
    #[arg(long, global = true)]
    small: bool,
    /// Publishes per second, instead of the workload's own.
    #[arg(long, global = true)]
    rate: Option<f64>,
}

#[derive(Subcommand)]
enum What {
    /// One fault for a given time and seed.
    Run {
        #[arg(long, value_enum, default_value = "none")]
        fault: Fault,
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        #[arg(long)]
        seed: Option<u64>,
    },
    /// The short set: a few minutes, for CI.
    Ci {
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Every fault in turn, with new seeds, for hours; ends as well at a signal.
    Soak {
        #[arg(long, default_value_t = 4.0)]
        hours: f64,
        #[arg(long, default_value_t = 75)]
        seconds: u64,
        #[arg(long)]
        seed: Option<u64>,
        /// Where the table of all runs is written after each.
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/soak.md"))]
        results: PathBuf,
    },
    /// Nodes with a flaw each: every one must be found, by name, and nothing without it.
    Planted {
        /// Only this one.
        #[arg(long, value_enum)]
        flaw: Option<planted::Flaw>,
        /// Its run on a node without it, in which nothing may be found.
        #[arg(long, requires = "flaw")]
        healthy: bool,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Checks a history that was kept.
    Check { file: PathBuf },
}

const COMMAND: &str = "cargo run --profile soak --example consistency --";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.and_then(|runtime| runtime.block_on(perform(&arguments)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn perform(arguments: &Arguments) -> std::io::Result<bool> {
    let mut sizes = if arguments.small { Sizes::SMALL } else { Sizes::FULL };
    sizes.rate = arguments.rate.unwrap_or(sizes.rate);
    let plan = |fault, seconds, seed: Option<u64>| {
        let (lasts, seed) = (Duration::from_secs(seconds), seed.unwrap_or_else(rand::random));
        std::io::Result::Ok(Plan::new(fault, lasts, seed, sizes, node(arguments, false)?))
    };
    match &arguments.command {
        What::Run { fault, seconds, seed } => {
            Ok(one(&plan(*fault, *seconds, *seed)?, arguments.small).await?.good())
        }
        What::Ci { seed } => {
            let (flawed, binary) = (node(arguments, true)?, node(arguments, false)?);
            let start = Instant::now();
            let honest = async {
                let mut good = true;
                for fault in CI {
                    let lasts = Duration::from_secs(8);
                    let plan = Plan::new(fault, lasts, *seed, Sizes::SMALL, binary.clone());
                    good &= one(&plan, true).await?.good();
                }
                std::io::Result::Ok(good)
            };
            // Beside each other: most of the time either waits.
            let (honest, found) = tokio::try_join!(honest, planted::all(&flawed, *seed))?;
            let good = honest && found;
            println!("the short set took {:.0} s", start.elapsed().as_secs_f64());
            Ok(good)
        }
        What::Soak { hours, seconds, seed, results } => {
            let plan = plan(Fault::None, *seconds, *seed)?;
            let lasts = Duration::from_secs_f64(hours * 3_600.0);
            Soak { lasts, plan, results: results.clone() }.run(arguments.small).await
        }
        What::Planted { flaw, healthy, seed } => {
            let binary = node(arguments, true)?;
            match flaw {
                Some(flaw) => Trial { flaw: *flaw, healthy: *healthy }.run(&binary, *seed).await,
                None => planted::all(&binary, *seed).await,
            }
        }
        What::Check { file } => {
            let report = Report::of(&History::load(file)?);
            println!("{report}");
            Ok(report.good())
        }
    }
}

/// What CI runs of the faults: one of each kind.
const CI: [Fault; 5] =
    [Fault::KillNode, Fault::KillRedis, Fault::StaleReplica, Fault::KillPubsub, Fault::RedisStall];

impl Plan {
    /// The command that repeats it.
    fn again(&self, small: bool) -> String {
        let (fault, seconds, seed) = (self.fault.name(), self.lasts.as_secs(), self.seed);
        let size = if small { " --small" } else { "" };
        let usual = if small { Sizes::SMALL.rate } else { Sizes::FULL.rate };
        let rate =
            if self.sizes.rate == usual { String::new() } else { format!(" --rate {}", self.sizes.rate) };
        format!("{COMMAND} run --fault {fault} --seconds {seconds} --seed {seed}{size}{rate}")
    }
}

/// One run with its report; the history of a failed one is kept.
async fn one(plan: &Plan, small: bool) -> std::io::Result<Report> {
    let again = plan.again(small);
    println!("{}: seed {}, {} s", plan.fault.name(), plan.seed, plan.lasts.as_secs());
    let dir = tempfile::Builder::new().prefix("consistency-").tempdir()?;
    let start = Instant::now();
    let Outcome { history, failed } = run::run(plan, dir.path()).await;
    if let Some(why) = failed {
        println!("  the run failed: {why}");
        keep(dir, &history, &again)?;
        return Err(why);
    }
    let ran = start.elapsed();
    let report = Report::of(&history);
    let judged = start.elapsed() - ran;
    println!("  ran {:.1} s, judged in {:.1} s", ran.as_secs_f64(), judged.as_secs_f64());
    let mut summary = Summary::default();
    summary.add(plan.fault.name(), &Totals::of(&report));
    println!("{report}\n{summary}");
    if !report.good() {
        keep(dir, &history, &again)?;
    }
    Ok(report)
}

/// Keeps what a run left, its history with it, and says how to look at it and how to have it again.
fn keep(dir: TempDir, history: &History, again: &str) -> std::io::Result<()> {
    let file = dir.keep().join("history.jsonl");
    history.save(&file)?;
    println!("  its history, beside the logs: {COMMAND} check {}", file.display());
    println!("  repeat it with\n  {again}");
    Ok(())
}

/// The node to test: the one that was named, or one that is built now. One with flaws gets another name at once, so that
/// it can't be mistaken for one without.
fn node(arguments: &Arguments, flawed: bool) -> std::io::Result<PathBuf> {
    if let Some(node) = if flawed { &arguments.flawed_node } else { &arguments.node } {
        return Ok(node.clone());
    }
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/soak/chatnode");
    if flawed {
        build(&["--features", "failpoints"])?;
        let kept = built.with_file_name("chatnode-planted");
        std::fs::copy(&built, &kept)?;
        build(&[])?;
        return Ok(kept);
    }
    build(&[])?;
    Ok(built)
}

fn build(extra: &[&str]) -> std::io::Result<()> {
    let mut build = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build.args(["build", "--locked", "--quiet", "--profile", "soak", "--bin", "chatnode"]).args(extra);
    match build.status()?.success() {
        true => Ok(()),
        false => Err(std::io::Error::other("the node does not build")),
    }
}
