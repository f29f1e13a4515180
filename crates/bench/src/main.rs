//! `chatnode-bench`: the load generator of chatnode. Owns the way from the command line to the exit code; the modules say what
//! they own. It is a client like any other, and uses nothing of a node but the protocol.

mod args;
mod connection;
mod dial;
mod expectation;
mod figures;
mod fleet;
mod frame;
mod http;
mod link;
mod log;
mod machine;
mod node;
mod output;
mod pacer;
mod plan;
mod progress;
mod reception;
mod report;
mod run;
mod scan;
mod scenario;
mod search;
mod secret;
mod session;
mod setup;
mod shard;
mod stamp;
mod state;
mod tally;
mod target;
mod tokens;
mod values;
mod verdict;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Command, Common, Scenario};
use crate::expectation::Expectation;
use crate::output::Checked;
use crate::plan::Shape;
use crate::report::Report;
use crate::scenario::ScenarioError;
use crate::search::Search;
use crate::setup::Setup;

/// It ran, and something is wrong; or it could not run.
const FAILED: u8 = 1;
/// The command line is invalid, or the host may not be loaded.
const INVALID: u8 = 2;
/// The figures are those of this program.
const LIMITED: u8 = 3;

/// A message for people, and the exit code.
struct Failure(u8, String);

impl Failure {
    fn failed(error: impl ToString) -> Self {
        Self(FAILED, error.to_string())
    }

    fn invalid(error: impl ToString) -> Self {
        Self(INVALID, error.to_string())
    }
}

fn main() -> ExitCode {
    let command = Command::parse();
    match carry_out(&command.scenario) {
        Ok(code) => ExitCode::from(code),
        Err(Failure(code, message)) => {
            // Nobody reads it, if it can't be written.
            let _ = writeln!(io::stderr(), "chatnode-bench: {message}");
            ExitCode::from(code)
        }
    }
}

fn carry_out(scenario: &Scenario) -> Result<u8, Failure> {
    let common = scenario.common();
    let names = output::names();
    for expectation in common.expect.iter().chain(&common.search) {
        expectation.check_name(&names).map_err(Failure::invalid)?;
    }
    let shape = scenario.shape().map_err(Failure::invalid)?;
    let mut setup = Setup::new(common, scenario.in_flight())
        .map_err(|error| Failure(if error.is_invalid() { INVALID } else { FAILED }, error.to_string()))?;
    match &common.search {
        None => once(scenario.name(), shape, common, &mut setup),
        Some(demand) => search(scenario.name(), shape, demand, common, &mut setup),
    }
}

/// Runs the scenario once, and prints the report.
fn once(name: &str, shape: Shape, common: &Common, setup: &mut Setup) -> Result<u8, Failure> {
    let report = Report::new(&setup.execute(shape).map_err(Failure::failed)?);
    let checked = check(&common.expect, &report)?;
    match common.json {
        true => print(&format!("{:#}\n", output::json(name, &report, &checked)))?,
        false => print(&output::table(name, &report, &checked))?,
    }
    Ok(code(&report, &checked))
}

fn code(report: &Report, checked: &[Checked]) -> u8 {
    match (report.is_right() && checked.iter().all(|checked| checked.is_met), report.is_limited) {
        (false, _) => FAILED,
        (true, true) => LIMITED,
        (true, false) => 0,
    }
}

/// Whether the figures are as expected.
fn check(expectations: &[Expectation], report: &Report) -> Result<Vec<Checked>, Failure> {
    let check = |expectation: &Expectation| {
        let (is_met, figure) = expectation.is_met(&report.figures).map_err(Failure::failed)?;
        Ok(Checked { expression: expectation.to_string(), figure, is_met })
    };
    expectations.iter().map(check).collect()
}

/// Where a search begins that has no rate yet.
const FIRST_RATE: f64 = 100.0;

/// Runs the scenario with more and less load, and prints each step and the last report that held.
fn search(
    name: &str,
    shape: Shape,
    demand: &Expectation,
    common: &Common,
    setup: &mut Setup,
) -> Result<u8, Failure> {
    let (what, start) = shape.load();
    let is_of_connections = what == "connections";
    let fits = setup.limits.connections(setup.targets.len(), setup.sources.len()) as f64;
    let most =
        if is_of_connections { fits - shape.connections() as f64 + start.unwrap_or(0.0) } else { 10e6 };
    let mut search = Search::new(start.unwrap_or(FIRST_RATE), most);
    let (mut best, mut steps, mut is_limited) = (None, Vec::new(), false);
    while let Some(load) = search.next() {
        let measured = setup.execute(shape.with_load(load, common.duration.as_secs_f64()));
        let report = match measured {
            Ok(measured) => Report::new(&measured),
            // More connections than there is room for.
            Err(error @ (ScenarioError::Seats { .. } | ScenarioError::Limit(_))) if best.is_some() => {
                say(common, &format!("{load:>10.0} {what}: {error}\n"))?;
                search.note(false);
                continue;
            }
            Err(error) => return Err(Failure::failed(error)),
        };
        let mut checked = check(std::slice::from_ref(demand), &report)?.remove(0);
        // What was not sent or not connected has no time that could be too long.
        let is_carried = report.figures.value("skipped") + report.figures.value("failed") == 0.0;
        checked.is_met &= report.is_right() && is_carried;
        say(common, &format!("{}\n", output::step(load, what, &checked, &report)))?;
        is_limited = report.is_limited && !checked.is_met || is_limited;
        search.note(checked.is_met);
        steps.push(serde_json::json!({"load": load, "holds": checked.is_met, "report": output::json(name, &report, &[])}));
        if checked.is_met {
            best = Some(report);
        }
    }
    let found = search.found();
    if common.json {
        let result = serde_json::json!({
            "scenario": name, "search": demand.to_string(), "load": what, "found": found,
            "generator_is_the_limit": is_limited, "steps": steps,
        });
        print(&format!("{result:#}\n"))?;
    } else {
        let result = match found {
            Some(load) => format!("{demand} holds up to {} {what}\n", figures::thousands(load)),
            None => format!("{demand} does not hold at any number of {what}\n"),
        };
        print(&format!("\n{result}"))?;
        if is_limited {
            print(
                "The generator was the limit at a higher load: the nodes may carry more. See --threads, or use several machines.\n",
            )?;
        }
    }
    let Some(best) = best else { return Ok(FAILED) };
    let checked = check(&common.expect, &best)?;
    if !common.json {
        print(&format!("\n{}", output::table(name, &best, &checked)))?;
    }
    let code = code(&best, &checked);
    Ok(if code == 0 && is_limited { LIMITED } else { code })
}

/// Prints a line about a step: where the result is JSON, on standard error.
fn say(common: &Common, text: &str) -> Result<(), Failure> {
    if !common.json {
        return print(text);
    }
    if !common.quiet {
        // Only the result has to arrive.
        let _ = io::stderr().write_all(text.as_bytes());
    }
    Ok(())
}

/// Prints a result. A reader that has gone is no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("can't write the result: {error}")))
        }
        _ => Ok(()),
    }
}
