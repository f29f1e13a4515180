//! A history checker in the style of Jepsen: real nodes, a real Redis, clients that keep their positions, and faults from a
//! seed. It records everything that happens and then compares the record with the guarantees.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod api;
mod checks;
mod client;
mod cluster;
mod entry;
mod failpoints;
mod fault;
mod guarded;
mod guarded_event;
mod guarded_log;
mod history;
mod injector;
mod kind;
mod names;
mod process;
mod proxy;
mod raw_log;
mod reads;
mod redis_shards;
mod report;
mod revoked_token_probe;
mod role;
mod roles;
mod run;
mod run_context;
mod sentinel_faults;
mod sentinel_set;
mod shard_faults;
mod soak;
mod summary;
mod thresholds;
mod wire;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use failpoints::{Flaw, Trial};
use fault::Fault;
use history::History;
use report::Report;
use run::{Outcome, Plan};
use run_context::Sizes;
use soak::Soak;
use summary::{Summary, Totals};
use tempfile::TempDir;

/// Runs real nodes and a real Redis under faults, and checks the recorded history
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
    /// The node program to test; built if missing
    #[arg(long, global = true)]
    node: Option<PathBuf>,
    /// The node program with the feature `failpoints`; built if missing
    #[arg(long, global = true)]
    failpoint_node: Option<PathBuf>,
    /// The profile with which node programs are built
    #[arg(long, global = true, default_value = "soak")]
    profile: String,
    /// Use the smaller workload of CI
    #[arg(long, global = true)]
    small: bool,
    /// Publishes per second, instead of the default of the workload
    #[arg(long, global = true)]
    rate: Option<f64>,
}

#[derive(Subcommand)]
enum Action {
    /// Run one fault for a given time and seed
    Run {
        #[arg(long, value_enum, default_value = "none")]
        fault: Fault,
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Run the short set of CI, which takes a few minutes
    Ci {
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Run every fault in turn, with new seeds, for hours or until a signal
    Soak {
        #[arg(long, default_value_t = 4.0)]
        hours: f64,
        #[arg(long, default_value_t = 75)]
        seconds: u64,
        #[arg(long)]
        seed: Option<u64>,
        /// Only these faults, with commas in between
        #[arg(long, value_enum, value_delimiter = ',')]
        faults: Vec<Fault>,
        /// The file for the table of all runs, written after each run
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/soak.md"))]
        results: PathBuf,
    },
    /// Run nodes with one deliberate error each; the checker must find each one, and nothing without it
    Failpoints {
        /// Run only this one
        #[arg(long = "failpoint", value_name = "NAME")]
        flaw: Option<Flaw>,
        /// Switch it off; then nothing may be found
        #[arg(long, requires = "flaw")]
        healthy: bool,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Check a saved history
    Check {
        /// The history.jsonl of a run
        file: PathBuf,
    },
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
        Action::Run { fault, seconds, seed } => {
            Ok(run_once(&plan(*fault, *seconds, *seed)?, arguments.small).await?.good())
        }
        Action::Ci { seed } => {
            let (with_failpoints, binary) = (node(arguments, true)?, node(arguments, false)?);
            let start = Instant::now();
            let faults = async {
                let mut good = true;
                for fault in CI {
                    let lasts = Duration::from_secs(8);
                    let plan = Plan::new(fault, lasts, *seed, Sizes::SMALL, binary.clone());
                    good &= run_once(&plan, true).await?.good();
                }
                std::io::Result::Ok(good)
            };
            // At the same time, because each spends most of its time waiting.
            let (passed, found) = tokio::try_join!(faults, failpoints::all(&with_failpoints, *seed, true))?;
            let good = passed && found;
            println!("the short set took {:.0} s", start.elapsed().as_secs_f64());
            Ok(good)
        }
        Action::Soak { hours, seconds, seed, faults, results } => {
            let plan = plan(Fault::None, *seconds, *seed)?;
            let lasts = Duration::from_secs_f64(hours * 3_600.0);
            Soak { lasts, plan, faults: faults.clone(), results: results.clone() }.run(arguments.small).await
        }
        Action::Failpoints { flaw, healthy, seed } => {
            let binary = node(arguments, true)?;
            match flaw {
                Some(flaw) => Trial { flaw: *flaw, healthy: *healthy }.run(&binary, *seed).await,
                None => failpoints::all(&binary, *seed, false).await,
            }
        }
        Action::Check { file } => {
            let report = Report::of(&History::load(file)?);
            println!("{report}");
            Ok(report.good())
        }
    }
}

/// The faults that CI runs: one of each kind.
const CI: [Fault; 5] =
    [Fault::KillNode, Fault::KillRedis, Fault::StaleReplica, Fault::KillPubsub, Fault::RedisStall];

impl Plan {
    /// The command that repeats the run.
    fn command(&self, small: bool) -> String {
        let (fault, seconds, seed) = (self.fault.name(), self.lasts.as_secs(), self.seed);
        let size = if small { " --small" } else { "" };
        let usual = if small { Sizes::SMALL.rate } else { Sizes::FULL.rate };
        let rate =
            if self.sizes.rate == usual { String::new() } else { format!(" --rate {}", self.sizes.rate) };
        format!("{COMMAND} run --fault {fault} --seconds {seconds} --seed {seed}{size}{rate}")
    }
}

/// Runs a plan once and prints its report. Keeps the history of a failed run.
async fn run_once(plan: &Plan, small: bool) -> std::io::Result<Report> {
    let command = plan.command(small);
    println!("{}: seed {}, {} s", plan.fault.name(), plan.seed, plan.lasts.as_secs());
    let dir = tempfile::Builder::new().prefix("consistency-").tempdir()?;
    let start = Instant::now();
    let Outcome { history, failed } = run::run(plan, dir.path()).await;
    if let Some(why) = failed {
        println!("  the run failed: {why}");
        keep(dir, &history, &command)?;
        return Err(why);
    }
    let ran = start.elapsed();
    let report = Report::of(&history);
    let judged = start.elapsed() - ran;
    println!("  ran for {:.1} s, checked in {:.1} s", ran.as_secs_f64(), judged.as_secs_f64());
    let mut summary = Summary::default();
    summary.add(plan.fault.name(), &Totals::of(&report));
    println!("{report}\n{summary}");
    if !report.good() {
        keep(dir, &history, &command)?;
    }
    Ok(report)
}

/// Keeps the files and the history of a run, and prints the commands that check and repeat it.
fn keep(dir: TempDir, history: &History, command: &str) -> std::io::Result<()> {
    let file = dir.keep().join("history.jsonl");
    history.save(&file)?;
    println!("  the history is beside the logs; check it again with\n  {COMMAND} check {}", file.display());
    println!("  repeat the run with\n  {command}");
    Ok(())
}

/// The node program to test: the given one, or one that is built now. A program with failpoints gets another name at once, so
/// that it can't be mistaken for a normal one.
fn node(arguments: &Arguments, with_failpoints: bool) -> std::io::Result<PathBuf> {
    if let Some(node) = if with_failpoints { &arguments.failpoint_node } else { &arguments.node } {
        return Ok(node.clone());
    }
    let profile = arguments.profile.as_str();
    // Cargo names this folder otherwise.
    let folder = if profile == "dev" { "debug" } else { profile };
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(folder).join("chatnode");
    if with_failpoints {
        build(profile, &["--features", "failpoints"])?;
        let kept = built.with_file_name("chatnode-failpoints");
        std::fs::copy(&built, &kept)?;
        build(profile, &[])?;
        return Ok(kept);
    }
    build(profile, &[])?;
    Ok(built)
}

fn build(profile: &str, extra: &[&str]) -> std::io::Result<()> {
    let mut build = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    build.args(["build", "--locked", "--quiet", "--profile", profile, "--bin", "chatnode"]).args(extra);
    match build.status()?.success() {
        true => Ok(()),
        false => Err(std::io::Error::other("cargo could not build the node")),
    }
}
