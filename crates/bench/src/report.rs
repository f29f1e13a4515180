//! What a run means: its figures, the faults that its checks found, and what limited it. Owns the names of the figures and the
//! advice; prints nothing. Made from what a scenario measured.

use crate::figures::{Figures, Unit};
use crate::node::{Metrics, cores, sum};
use crate::plan::Shape;
use crate::scenario::Measured;

/// A thread that works more than this share of the time is late for what it measures.
const BUSY: f64 = 0.9;

/// So late is a schedule that this program does not keep, in nanoseconds.
const LATE_NANOS: f64 = 10e6;

/// From so many seconds of CPU time on, whole seconds are exact enough.
const EXACT_CPU_SECONDS: f64 = 10.0;

/// With fewer, whole seconds say nothing.
const LEAST_CPU_SECONDS: f64 = 2.0;

/// A result.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) shape: Shape,
    pub(crate) figures: Figures,
    /// What the checks found.
    pub(crate) faults: Vec<String>,
    /// What to know about the figures.
    pub(crate) notes: Vec<String>,
    /// The figures are those of this program rather than those of the nodes.
    pub(crate) is_limited: bool,
    /// Why requests and connections failed, and how often.
    pub(crate) reasons: Vec<(String, u64)>,
}

impl Report {
    /// Judges a run.
    pub(crate) fn new(measured: &Measured) -> Self {
        let mut report = Self {
            shape: measured.shape,
            figures: Figures::default(),
            faults: Vec::new(),
            notes: Vec::new(),
            is_limited: false,
            reasons: measured.outcome.tally.reasons.clone().into_iter().collect(),
        };
        report.put_times(measured);
        report.put_counts(measured);
        report.put_nodes(measured);
        report.judge_self(measured);
        report.find_faults();
        report.give_advice(measured);
        report
    }

    fn put_times(&mut self, measured: &Measured) {
        let tally = &measured.outcome.tally;
        let main = match measured.shape {
            Shape::Rooms { .. } | Shape::Pairs { .. } | Shape::Mixed { .. } => &tally.delivery,
            Shape::Connect { .. } | Shape::Idle { .. } | Shape::Storm { .. } | Shape::Resume { .. } => {
                &tally.join
            }
        };
        self.figures.put_times("", main);
        for (kind, times) in
            [("delivery", &tally.delivery), ("ack", &tally.ack), ("join", &tally.join), ("lag", &tally.lag)]
        {
            self.figures.put_times(kind, times);
        }
    }

    fn put_counts(&mut self, measured: &Measured) {
        let (counts, verdict) = (&measured.outcome.tally.counts, &measured.outcome.verdict);
        let span = measured.to.at.duration_since(measured.from.at).as_secs_f64().max(1e-9);
        let during = measured.to.counts.since(&measured.from.counts);
        for (name, count) in [
            ("connections", during.joined),
            ("messages", during.acked),
            ("deliveries", during.deliveries),
            ("events", during.events),
        ] {
            if name != "connections" || during.joined > 0 {
                self.figures.put(&format!("{name}_per_s"), count as f64 / span, Unit::PerSecond);
            }
        }
        self.figures.put("seconds", span, Unit::Count);
        let errors = counts.failed
            + counts.closed
            + counts.refused
            + counts.unknown
            + counts.unanswered()
            + counts.skipped;
        for (name, count) in [
            ("connections", counts.joined),
            ("returned", counts.returned),
            ("messages", counts.acked),
            ("deliveries", counts.deliveries),
            ("lost", verdict.lost),
            ("repeated", counts.repeated),
            ("disordered", counts.disordered),
            ("altered", verdict.altered),
            ("misrouted", counts.misrouted),
            ("gaps", counts.gaps),
            ("other_epochs", counts.other_epochs),
            ("repeated_acks", counts.repeated_acks),
            ("unanswered", counts.unanswered()),
            ("errors", errors),
            ("failed", counts.failed),
            ("closed", counts.closed),
            ("refused", counts.refused),
            ("unknown", counts.unknown),
            ("skipped", counts.skipped),
            ("slowed", counts.slowed),
            ("strays", counts.strays),
            ("logs_checked", verdict.logs),
        ] {
            self.figures.put(name, count as f64, Unit::Count);
        }
    }

    fn put_nodes(&mut self, measured: &Measured) {
        let during = measured.to.counts.since(&measured.from.counts);
        let span = measured.to.at.duration_since(measured.from.at).as_secs_f64().max(1e-9);
        if let Some((cores, is_exact)) = cores(&measured.samples) {
            let seconds = cores * span;
            if !is_exact && seconds < EXACT_CPU_SECONDS {
                self.notes.push(
                    "the nodes tell their CPU time in whole seconds: measure longer, or with more load, for exact figures of it"
                        .to_owned(),
                );
            }
            // One second can be a hundredth of a second that was just over.
            if is_exact || seconds >= LEAST_CPU_SECONDS {
                self.figures.put("node_cores", cores, Unit::Count);
                for (name, count) in [
                    ("node_cpu_per_delivery", during.deliveries),
                    ("node_cpu_per_message", during.acked),
                    // Where messages flow, most of the time is theirs.
                    ("node_cpu_per_join", if during.acked == 0 { during.joined } else { 0 }),
                ] {
                    if count > 0 {
                        self.figures.put(name, seconds * 1e9 / count as f64, Unit::Nanos);
                    }
                }
            }
        }
        let memory = |metrics: &[Metrics]| sum(metrics, |metrics| metrics.resident_bytes);
        let joined = measured.outcome.tally.counts.joined;
        if !measured.before.is_empty() && !measured.joined.is_empty() && joined > 0 {
            let grown = memory(&measured.joined) - memory(&measured.before);
            self.figures.put("node_memory_per_connection", grown / joined as f64, Unit::Bytes);
            self.figures.put("node_memory", memory(&measured.joined), Unit::Bytes);
        }
    }

    /// What this program itself needed.
    fn judge_self(&mut self, measured: &Measured) {
        let during = measured.to.counts.since(&measured.from.counts);
        let spent = measured.to.cpu_nanos.saturating_sub(measured.from.cpu_nanos) as f64;
        if during.deliveries > 0 {
            self.figures.put("bench_cpu_per_delivery", spent / during.deliveries as f64, Unit::Nanos);
        }
        let busy = measured.to.busiest(&measured.from, measured.threads);
        self.figures.put("bench_busy", busy, Unit::Share);
        let late = self.figures.value("lag.p99");
        if busy > BUSY {
            self.is_limited = true;
            self.notes.push(format!(
                "the generator is the limit: a thread of it was busy {:.0} % of the time. It has {} on {} cores: give it more with --threads, on another machine than the nodes, or use several machines",
                busy * 100.0,
                if measured.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", measured.threads) },
                crate::machine::cores(),
            ));
        }
        if late > LATE_NANOS {
            self.is_limited = true;
            self.notes.push(format!(
                "the generator is the limit: 1 % of its messages were late by {:.1} ms or more. The delays count as latency; lower the rate, or see --threads",
                late / 1e6
            ));
        }
    }

    fn find_faults(&mut self) {
        for (figure, what) in [
            ("lost", "acknowledged messages did not reach a member"),
            ("repeated", "deliveries came before"),
            ("disordered", "deliveries came after a later one"),
            ("altered", "logs of a member have other messages than were acknowledged"),
            ("misrouted", "frames belong to no room of the connection, or to no protocol"),
            ("gaps", "gaps were signalled by the nodes: the logs no longer had what a member needed"),
            ("other_epochs", "logs started again without a signal"),
            ("repeated_acks", "answers came twice, or for nothing"),
            ("unanswered", "messages got no answer"),
        ] {
            let count = self.figures.value(figure);
            if count > 0.0 {
                self.faults.push(format!("{count:.0} {what} ({figure})"));
            }
        }
    }

    fn give_advice(&mut self, measured: &Measured) {
        let counts = &measured.outcome.tally.counts;
        let was = |reason: &str| self.reasons.iter().any(|(text, _)| text.starts_with(reason));
        let mut notes = Vec::new();
        if counts.slowed > 0 {
            notes.push(format!(
                "the nodes slowed connections down {} times (limits.messages_per_second, 50 by default): the figures show this limit. Set CHAT_LIMITS__MESSAGES_PER_SECOND=0 on nodes under test, or let more members publish",
                counts.slowed
            ));
        }
        if was("rate_limited") {
            notes.push(
                "the nodes refused messages of a user or address that sends or stores too much: set CHAT_LIMITS__USER_MESSAGES_PER_SECOND=0 and CHAT_LIMITS__STORED_BYTES_PER_SECOND=0 on nodes under test".to_owned(),
            );
        }
        if was("unauthorized") || was("closed by the server with 1008") {
            notes.push("the nodes want tokens: see --token-file and --admin-key-file".to_owned());
        }
        if counts.skipped > 0 {
            notes.push(format!(
                "{} scheduled messages were not sent, because too many of their connection had no answer: the rate is above what can be carried, and the times are too good",
                counts.skipped
            ));
        }
        if let Some(why) = &measured.no_metrics {
            notes.push(format!(
                "no CPU and memory of the nodes ({why}). If their metrics are on another port (internal.port), name it with --metrics-url"
            ));
        } else if !measured.before.is_empty() {
            notes.push("the CPU time of the nodes is without that of Redis".to_owned());
        }
        self.notes.extend(notes);
    }

    /// Whether the checks found nothing.
    pub(crate) fn is_right(&self) -> bool {
        self.faults.is_empty()
    }
}

/// The names of all figures that are no times of messages.
pub(crate) const NAMES: [&str; 35] = [
    "seconds",
    "connections",
    "connections_per_s",
    "returned",
    "messages",
    "messages_per_s",
    "deliveries",
    "deliveries_per_s",
    "events_per_s",
    "lost",
    "repeated",
    "disordered",
    "altered",
    "misrouted",
    "gaps",
    "other_epochs",
    "repeated_acks",
    "unanswered",
    "errors",
    "failed",
    "closed",
    "refused",
    "unknown",
    "skipped",
    "slowed",
    "strays",
    "logs_checked",
    "node_cores",
    "node_cpu_per_delivery",
    "node_cpu_per_message",
    "node_cpu_per_join",
    "node_memory_per_connection",
    "node_memory",
    "bench_cpu_per_delivery",
    "bench_busy",
];
