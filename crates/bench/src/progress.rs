//! The progress line on standard error. Owns when it is shown, which is only in a terminal, and how it is cleared; counts
//! nothing. Called while a scenario waits.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::figures::thousands;
use crate::tally::Counts;

/// How often it changes.
const EVERY: Duration = Duration::from_millis(250);

/// The line.
pub(crate) struct Progress {
    is_on: bool,
    shown: Option<(Instant, Counts)>,
}

impl Progress {
    /// Shown if standard error is a terminal, and nobody wants it quiet.
    pub(crate) fn new(is_quiet: bool) -> Self {
        Self { is_on: !is_quiet && io::stderr().is_terminal(), shown: None }
    }

    /// Shows what is done, if it was not shown just now.
    pub(crate) fn show(&mut self, stage: &str, counts: &Counts) {
        if !self.is_on || self.shown.is_some_and(|(at, _)| at.elapsed() < EVERY) {
            return;
        }
        let rate = match self.shown {
            Some((at, before)) => counts.since(&before).deliveries as f64 / at.elapsed().as_secs_f64(),
            None => 0.0,
        };
        let mut line = format!(
            "{stage}: {} connections, {} messages, {} deliveries, {} deliveries/s",
            thousands(counts.joined as f64),
            thousands(counts.acked as f64),
            thousands(counts.deliveries as f64),
            thousands(rate),
        );
        for (count, what) in
            [(counts.failed, "failed"), (counts.closed, "closed"), (counts.repeated, "repeated")]
        {
            if count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        }
        self.shown = Some((Instant::now(), *counts));
        // A terminal that is gone is no reason to stop.
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
        let _ = io::stderr().flush();
    }

    /// Removes the line.
    pub(crate) fn clear(&mut self) {
        if self.is_on && self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
