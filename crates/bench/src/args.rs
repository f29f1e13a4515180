//! The command line. Owns the options of each scenario with their defaults and bounds; carries nothing out. Read by `main`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::expectation::Expectation;
use crate::plan::Shape;
use crate::values::{Count, count, rate, rate_or_none, seconds, seconds_or_none};

/// Loads nodes of chatnode, measures, and checks every delivery meanwhile.
///
/// Exit codes: 0 all is well; 1 a check or an expectation failed, or the run did; 2 the command line is invalid, or the host may
/// not be loaded; 3 this program was the limit, so that the figures say little about the nodes.
#[derive(Debug, Parser)]
#[command(name = "chatnode-bench", version)]
pub(crate) struct Command {
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}

/// The scenarios.
#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Connections at a rate: the time until each has joined
    Connect(Connect),
    /// Connections that do nothing: the memory of each
    Idle(Idle),
    /// Large rooms with one publisher each, the next message when the last one has come back
    Fan(Rooms<10, 100, 1>),
    /// The same with ten publishers in each room, whose messages can go together
    Busy(Rooms<10, 100, 10>),
    /// Pairs that write to each other privately
    Dm(Dm),
    /// Messages at a rate that does not depend on the answers
    Steady(Steady),
    /// Connections that come at the same time
    Storm(Storm),
    /// Connections that come back at the same time and have missed messages
    Resume(Resume),
    /// What a product does: small rooms, private messages, typing, users that come and go
    Mixed(Mixed),
}

/// What all scenarios have.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// A node or balancer; several take turns
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/")]
    pub(crate) url: Vec<String>,
    /// Where the nodes show their metrics; by default, /metrics at each URL
    #[arg(long, value_name = "URL")]
    pub(crate) metrics_url: Vec<String>,
    /// Do not ask the nodes for their CPU time and memory
    #[arg(long, conflicts_with = "metrics_url")]
    pub(crate) no_metrics: bool,
    /// Load a host that is not this machine
    #[arg(long)]
    pub(crate) i_may_load_this_host: bool,
    /// Users with tokens: `user token` on each line
    #[arg(long, value_name = "FILE", conflicts_with_all = ["issue_tokens", "admin_key_file"])]
    pub(crate) token_file: Option<PathBuf>,
    /// Issue tokens with the server API, and the key in CHAT_AUTH__ADMIN_KEY or --admin-key-file
    #[arg(long)]
    pub(crate) issue_tokens: bool,
    /// The key of the server API; implies --issue-tokens
    #[arg(long, value_name = "FILE")]
    pub(crate) admin_key_file: Option<PathBuf>,
    /// Where the server API is; by default, where the metrics of the first node are
    #[arg(long, value_name = "URL")]
    pub(crate) api_url: Option<String>,
    /// An address of this machine to connect from; several take turns, and each has its own ports
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) source: Vec<IpAddr>,
    /// How long to measure, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// How long to send before it is measured, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds_or_none)]
    pub(crate) warmup: Duration,
    /// How long to wait for a connection, an answer, or the last delivery, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// The bytes of each message
    #[arg(long, value_name = "BYTES", default_value = "200", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) size: u32,
    /// How many connections may be in the making at the same time
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) at_once: u32,
    /// Threads that connections are spread over; by default, half as many as there are cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) threads: Option<u8>,
    /// Fail unless a figure is so, such as p99<50ms or lost=0; several must all hold
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) expect: Vec<Expectation>,
    /// Find the highest rate, or number of connections, at which a figure is so
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) search: Option<Expectation>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Options of `connect`.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// Connections a second
    #[arg(long, default_value = "200", value_parser = rate)]
    rate: f64,
    /// How many in all; by default, as many as come in the --duration
    #[arg(long, value_name = "N", value_parser = count)]
    connections: Option<Count>,
    #[command(flatten)]
    common: Common,
}

/// Options of `idle`.
#[derive(Debug, Args)]
pub(crate) struct Idle {
    /// How many
    #[arg(long, value_name = "N", default_value = "1000", value_parser = count)]
    connections: Count,
    /// How many are in the same room
    #[arg(long, value_name = "N", default_value = "10", value_parser = count)]
    members: Count,
    #[command(flatten)]
    common: Common,
}

/// Options of `fan` and `busy`.
#[derive(Debug, Args)]
pub(crate) struct Rooms<const ROOMS: u32, const MEMBERS: u32, const PUBLISHERS: u32> {
    /// How many rooms
    #[arg(long, value_name = "N", default_value_t = ROOMS, value_parser = count)]
    rooms: Count,
    /// The members of each room
    #[arg(long, value_name = "N", default_value_t = MEMBERS, value_parser = count)]
    members: Count,
    /// Of those, how many publish
    #[arg(long, value_name = "N", default_value_t = PUBLISHERS, value_parser = count)]
    publishers: Count,
    /// Messages of each publisher under way
    #[arg(long, value_name = "N", default_value = "1", value_parser = count)]
    in_flight: Count,
    /// Send so many messages a second in all, instead of waiting for each to come back
    #[arg(long, value_parser = rate, conflicts_with = "in_flight")]
    rate: Option<f64>,
    #[command(flatten)]
    common: Common,
}

/// Options of `dm`.
#[derive(Debug, Args)]
pub(crate) struct Dm {
    /// How many pairs
    #[arg(long, value_name = "N", default_value = "100", value_parser = count)]
    pairs: Count,
    /// Messages of each user under way
    #[arg(long, value_name = "N", default_value = "1", value_parser = count)]
    in_flight: Count,
    /// Send so many messages a second in all, instead of waiting for each to come back
    #[arg(long, value_parser = rate, conflicts_with = "in_flight")]
    rate: Option<f64>,
    #[command(flatten)]
    common: Common,
}

/// Options of `steady`.
#[derive(Debug, Args)]
pub(crate) struct Steady {
    /// Messages a second, of all rooms together
    #[arg(long, default_value = "200", value_parser = rate)]
    rate: f64,
    /// How many rooms
    #[arg(long, value_name = "N", default_value = "20", value_parser = count)]
    rooms: Count,
    /// The members of each room
    #[arg(long, value_name = "N", default_value = "10", value_parser = count)]
    members: Count,
    /// Of those, how many publish in turn; by default, all
    #[arg(long, value_name = "N", value_parser = count)]
    publishers: Option<Count>,
    #[command(flatten)]
    common: Common,
}

/// Options of `storm`.
#[derive(Debug, Args)]
pub(crate) struct Storm {
    /// How many
    #[arg(long, value_name = "N", default_value = "3000", value_parser = count)]
    connections: Count,
    /// How many are in the same room
    #[arg(long, value_name = "N", default_value = "10", value_parser = count)]
    members: Count,
    #[command(flatten)]
    common: Common,
}

/// Options of `resume`.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// How many
    #[arg(long, value_name = "N", default_value = "1000", value_parser = count)]
    connections: Count,
    /// How many rooms they are in
    #[arg(long, value_name = "N", default_value = "20", value_parser = count)]
    rooms: Count,
    /// How many messages each has missed; a node replays at most 1000
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    missed: u32,
    #[command(flatten)]
    common: Common,
}

/// Options of `mixed`.
#[derive(Debug, Args)]
pub(crate) struct Mixed {
    /// How many users; each is in up to three rooms of about twelve
    #[arg(long, value_name = "N", default_value = "400", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    users: u32,
    /// Actions a second: of ten, eight are messages to a room, one is a private message, one is typing
    #[arg(long, default_value = "100", value_parser = rate)]
    rate: f64,
    /// Of the fifth of the users that only reads, how many leave each second, and come back a second later
    #[arg(long, default_value = "2", value_parser = rate_or_none)]
    churn: f64,
    #[command(flatten)]
    common: Common,
}

impl Scenario {
    /// The name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Idle(_) => "idle",
            Self::Fan(_) => "fan",
            Self::Busy(_) => "busy",
            Self::Dm(_) => "dm",
            Self::Steady(_) => "steady",
            Self::Storm(_) => "storm",
            Self::Resume(_) => "resume",
            Self::Mixed(_) => "mixed",
        }
    }

    /// The options that all have.
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Connect(Connect { common, .. })
            | Self::Idle(Idle { common, .. })
            | Self::Fan(Rooms { common, .. })
            | Self::Busy(Rooms { common, .. })
            | Self::Dm(Dm { common, .. })
            | Self::Steady(Steady { common, .. })
            | Self::Storm(Storm { common, .. })
            | Self::Resume(Resume { common, .. })
            | Self::Mixed(Mixed { common, .. }) => common,
        }
    }

    /// How many messages a publisher in a closed loop has under way.
    pub(crate) fn in_flight(&self) -> usize {
        match self {
            Self::Fan(Rooms { in_flight, .. })
            | Self::Busy(Rooms { in_flight, .. })
            | Self::Dm(Dm { in_flight, .. }) => *in_flight as usize,
            // The authors of `resume` only write what is missed.
            Self::Resume(_) => 16,
            _ => 1,
        }
    }

    /// The shape of its load.
    ///
    /// # Errors
    /// Two options contradict each other.
    pub(crate) fn shape(&self) -> Result<Shape, String> {
        let rooms_of = |rooms: Count, members: Count, publishers: Count, rate| {
            if publishers > members {
                return Err(format!("--publishers {publishers} is more than --members {members}"));
            }
            let (rooms, members, publishers) = (rooms as usize, members as usize, publishers as usize);
            Ok(Shape::Rooms { rooms, members, publishers, rate })
        };
        Ok(match self {
            Self::Connect(Connect { rate, connections, common }) => {
                let seconds = common.duration.as_secs_f64();
                let connections =
                    connections.map_or_else(|| (rate * seconds).ceil() as usize, |count| count as usize);
                Shape::Connect { rate: *rate, connections: connections.max(1) }
            }
            Self::Idle(Idle { connections, members, .. }) => {
                Shape::Idle { connections: *connections as usize, members: *members as usize }
            }
            Self::Fan(Rooms { rooms, members, publishers, rate, .. }) => {
                rooms_of(*rooms, *members, *publishers, *rate)?
            }
            Self::Busy(Rooms { rooms, members, publishers, rate, .. }) => {
                rooms_of(*rooms, *members, *publishers, *rate)?
            }
            Self::Dm(Dm { pairs, rate, .. }) => Shape::Pairs { pairs: *pairs as usize, rate: *rate },
            Self::Steady(Steady { rate, rooms, members, publishers, .. }) => {
                rooms_of(*rooms, *members, publishers.unwrap_or(*members), Some(*rate))?
            }
            Self::Storm(Storm { connections, members, .. }) => {
                Shape::Storm { connections: *connections as usize, members: *members as usize }
            }
            Self::Resume(Resume { connections, rooms, missed, .. }) => {
                let (connections, rooms) = (*connections as usize, *rooms as usize);
                Shape::Resume { connections, rooms, missed: *missed }
            }
            Self::Mixed(Mixed { users, rate, churn, .. }) => {
                Shape::Mixed { users: *users as usize, rate: *rate, churn: *churn }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(args: &[&str]) -> Result<Command, String> {
        let args = ["chatnode-bench"].iter().chain(args);
        Command::try_parse_from(args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Command::command().debug_assert();
    }

    #[test]
    fn every_scenario_has_a_shape_by_default() {
        for name in ["connect", "idle", "fan", "busy", "dm", "steady", "storm", "resume", "mixed"] {
            let command = parse(&[name]).unwrap();
            assert_eq!(command.scenario.name(), name);
            assert!(command.scenario.shape().unwrap().connections() > 0, "{name}");
        }
    }

    #[test]
    fn bad_values_say_what_is_expected() {
        for (args, says) in [
            (&["fan", "--rooms", "0"][..], "expected a number from 1"),
            (&["steady", "--rate=-5"], "expected a number above 0"),
            (&["steady", "--duration", "0"], "expected seconds, from 0.1"),
            (&["fan", "--missed", "3"], "--missed"),
            (&["fan", "--rate", "9", "--in-flight", "2"], "cannot be used with"),
            (&["fan", "--expect", "p99"], "compares nothing"),
            (&["resume", "--missed", "1001"], "1..=1000"),
            (&["surf"], "unrecognized subcommand"),
        ] {
            let error = parse(args).unwrap_err();
            assert!(error.contains(says), "{args:?}: {error}");
        }
        let fan = parse(&["fan", "--members", "5", "--publishers", "6"]).unwrap();
        assert_eq!(fan.scenario.shape().unwrap_err(), "--publishers 6 is more than --members 5");
    }
}
