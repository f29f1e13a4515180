//! What is printed: a table for people, JSON for programs. Owns the layout; judges nothing. Called by `main`.

use serde_json::{Map, Value, json};

use crate::figures::{Figures, QUANTILES, Unit};
use crate::report::Report;

/// What was demanded of a figure, the figure, and whether the demand is met.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) expression: String,
    pub(crate) figure: String,
    pub(crate) is_met: bool,
}

/// The report for people.
pub(crate) fn table(name: &str, report: &Report, checked: &[Checked]) -> String {
    let mut text = format!("{name}: {}\n\n", report.shape.text());
    let figures = &report.figures;
    let shown: Vec<&str> = ["p50", "p90", "p99", "p99.9", "max"].to_vec();
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for (kind, label) in
        [("delivery", "delivery"), ("ack", "ack"), ("join", "join"), ("lag", "generator late")]
    {
        if figures.get(&format!("{kind}.p50")).is_some() {
            let cell = |quantile: &&str| {
                figures.get(&format!("{kind}.{quantile}")).map_or_else(String::new, |f| f.text())
            };
            rows.push((label.to_owned(), shown.iter().map(cell).collect()));
        }
    }
    if !rows.is_empty() {
        text.push_str(&format!("{:<16}", ""));
        shown.iter().for_each(|quantile| text.push_str(&format!("{quantile:>11}")));
        text.push('\n');
        for (label, cells) in rows {
            text.push_str(&format!("{label:<16}"));
            cells.iter().for_each(|cell| text.push_str(&format!("{cell:>11}")));
            text.push('\n');
        }
        text.push('\n');
    }
    let mut line = |label: &str, parts: Vec<String>| {
        if !parts.is_empty() {
            text.push_str(&format!("{label:<16}  {}\n", parts.join(", ")));
        }
    };
    let of = |name: &str, what: &str| figures.get(name).map(|figure| format!("{}{what}", figure.text()));
    let some = |parts: Vec<Option<String>>| parts.into_iter().flatten().collect::<Vec<_>>();
    let flow = |name: &str| of(name, "").filter(|_| figures.value(name) > 0.0);
    let nonzero = |names: &[&str]| {
        let counted = names.iter().filter(|name| figures.value(name) > 0.0);
        counted.filter_map(|name| of(name, &format!(" {}", name.replace('_', " ")))).collect::<Vec<_>>()
    };
    line(
        "connections",
        [
            some(vec![of("connections", ""), of("connections_per_s", "")]),
            nonzero(&["returned", "failed", "closed"]),
        ]
        .concat(),
    );
    if figures.value("messages") > 0.0 {
        line(
            "messages",
            [
                some(vec![of("messages", ""), flow("messages_per_s")]),
                nonzero(&["refused", "unknown", "skipped"]),
            ]
            .concat(),
        );
        line("deliveries", some(vec![of("deliveries", ""), flow("deliveries_per_s")]));
    }
    line(
        "nodes",
        some(vec![
            of("node_cpu_per_delivery", " of CPU for a delivery"),
            of("node_cpu_per_message", " for a message"),
            of("node_cpu_per_join", " for a join"),
            of("node_cores", " cores busy"),
            of("node_memory_per_connection", " of memory for a connection"),
        ]),
    );
    line(
        "generator",
        some(vec![
            of("bench_cpu_per_delivery", " of CPU for a delivery"),
            of("bench_busy", " of its busiest thread"),
        ]),
    );
    let checks = match report.faults.is_empty() {
        true if figures.value("logs_checked") == 0.0 => vec!["there were no messages to check".to_owned()],
        true => some(vec![of("logs_checked", " logs: nothing lost, repeated or disordered")]),
        false => report.faults.clone(),
    };
    checks
        .into_iter()
        .for_each(|check| line(if report.is_right() { "checks" } else { "CHECK FAILED" }, vec![check]));
    for checked in checked {
        let (label, verdict) = if checked.is_met { ("expected", "met") } else { ("NOT MET", "not met") };
        line(label, vec![format!("{}: {verdict} ({})", checked.expression, checked.figure)]);
    }
    for (reason, count) in &report.reasons {
        line("reason", vec![format!("{count} × {reason}")]);
    }
    for note in &report.notes {
        line("note", vec![note.clone()]);
    }
    text
}

/// The report for programs.
pub(crate) fn json(name: &str, report: &Report, checked: &[Checked]) -> Value {
    let reasons: Map<String, Value> =
        report.reasons.iter().map(|(reason, count)| (reason.clone(), (*count).into())).collect();
    let expected: Vec<Value> = checked
        .iter()
        .map(|checked| json!({"expression": checked.expression, "figure": checked.figure, "met": checked.is_met}))
        .collect();
    json!({
        "scenario": name,
        "shape": report.shape.text(),
        "figures": figures(&report.figures),
        "faults": report.faults,
        "generator_is_the_limit": report.is_limited,
        "expectations": expected,
        "reasons": reasons,
        "notes": report.notes,
    })
}

/// Times are in milliseconds, and memory in bytes; the units stand beside the values.
fn figures(figures: &Figures) -> Value {
    let figure = |figure: &crate::figures::Figure| {
        let (value, unit) = match figure.unit {
            Unit::Nanos => (figure.value / 1e6, "ms"),
            Unit::Bytes => (figure.value, "bytes"),
            Unit::PerSecond => (figure.value, "1/s"),
            Unit::Count => (figure.value, "1"),
            Unit::Share => (figure.value, "share"),
        };
        (figure.name.clone(), json!({"value": value, "unit": unit}))
    };
    Value::Object(figures.iter().map(figure).collect())
}

/// One line for a step of a search.
pub(crate) fn step(load: f64, what: &str, checked: &Checked, report: &Report) -> String {
    let mut line = format!(
        "{:>10} {what}: {} {} ({})",
        crate::figures::thousands(load),
        checked.expression,
        if checked.is_met { "holds" } else { "fails" },
        checked.figure,
    );
    for fault in &report.faults {
        line.push_str(&format!("; {fault}"));
    }
    if report.is_limited {
        line.push_str("; the generator is the limit");
    }
    line
}

/// All names that a figure can have, for errors before a run.
pub(crate) fn names() -> Vec<String> {
    let times = ["", "delivery.", "ack.", "join.", "lag."].into_iter();
    let quantiles = QUANTILES.iter().map(|(name, _)| *name).chain(["mean", "count"]);
    let times = times.flat_map(|kind| quantiles.clone().map(move |quantile| format!("{kind}{quantile}")));
    times.chain(crate::report::NAMES.iter().map(|name| (*name).to_owned())).collect()
}
