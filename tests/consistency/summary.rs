//! The summary of many runs, one row per fault. Owns the totals and their printing, in the form of `docs/reliability.md`;
//! judges nothing. Filled by the commands, printed after each run and at the end.

use std::collections::BTreeMap;
use std::fmt;

use crate::checks::Check;
use crate::history::{Micros, SECOND};
use crate::report::Report;

/// The totals over the runs of one fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub runs: u64,
    pub injected: u64,
    /// All acknowledged publishes, including those that were recognised as repeats.
    pub publishes: u64,
    pub received: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub gaps: u64,
    /// All other findings, thresholds that were not reached, and runs that failed.
    pub other: u64,
    pub recover: Micros,
}

impl Totals {
    pub fn of(report: &Report) -> Self {
        let count =
            |checks: &[Check]| checks.iter().map(|check| report.findings.count(*check) as u64).sum::<u64>();
        let lost = count(&[Check::LostAcknowledged, Check::LostAtMember]);
        let (duplicated, reordered) = (count(&[Check::Duplicate]), count(&[Check::Reorder]));
        let gaps = count(&[Check::Inconsistent, Check::FalseRecoveryOrGap]);
        Self {
            runs: 1,
            injected: report.injected,
            publishes: report.acknowledged + report.duplicates,
            received: report.received,
            lost,
            duplicated,
            reordered,
            gaps,
            other: report.findings.found.len() as u64 + report.unmet.len() as u64
                - lost
                - duplicated
                - reordered
                - gaps,
            recover: report.to_recover.max(),
        }
    }

    /// A run that failed before it could be judged.
    pub fn failed() -> Self {
        Self { runs: 1, other: 1, ..Self::default() }
    }

    fn add(&mut self, more: &Self) {
        self.runs += more.runs;
        self.injected += more.injected;
        self.publishes += more.publishes;
        self.received += more.received;
        self.lost += more.lost;
        self.duplicated += more.duplicated;
        self.reordered += more.reordered;
        self.gaps += more.gaps;
        self.other += more.other;
        self.recover = self.recover.max(more.recover);
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [self.runs, self.injected, self.publishes, self.received, self.lost, self.duplicated];
        for count in counts.into_iter().chain([self.reordered, self.gaps, self.other]) {
            write!(f, "{} | ", grouped(count))?;
        }
        write!(f, "{:.1} |", self.recover as f64 / SECOND as f64)
    }
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[derive(Debug, Default)]
pub struct Summary {
    rows: BTreeMap<String, Totals>,
}

impl Summary {
    pub fn add(&mut self, fault: String, sum: &Totals) {
        self.rows.entry(fault).or_default().add(sum);
    }

    pub fn total(&self) -> Totals {
        let mut total = Totals::default();
        self.rows.values().for_each(|sum| total.add(sum));
        total
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| fault | runs | injected | publishes | received | lost | duplicated | reordered | silent or false gaps | other | to recover, max s |"
        )?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
        for (fault, sum) in &self.rows {
            writeln!(f, "| {fault} | {sum}")?;
        }
        writeln!(f, "| **all** | {}", self.total())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_has_one_row_per_fault_and_a_total() {
        let mut summary = Summary::default();
        let run =
            Totals { runs: 1, injected: 5, publishes: 1_234_567, recover: 2 * SECOND, ..Totals::default() };
        summary.add("kill-node".into(), &run);
        summary.add("kill-node".into(), &Totals { gaps: 1, recover: SECOND, ..run });
        summary.add("none".into(), &Totals::failed());
        let text = summary.to_string();
        assert!(
            text.contains("| kill-node | 2 | 10 | 2,469,134 | 0 | 0 | 0 | 0 | 1 | 0 | 2.0 |\n"),
            "{text}"
        );
        assert!(text.ends_with("| **all** | 3 | 10 | 2,469,134 | 0 | 0 | 0 | 0 | 1 | 1 | 2.0 |\n"), "{text}");
    }
}
