//! The figures of a run: names, values and units. Owns their order and how they are written for people; does not know where
//! they come from. Filled by the report, compared by expectations.

use hdrhistogram::Histogram;

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Count,
    PerSecond,
    Nanos,
    Bytes,
    /// From 0 to 1, or more.
    Share,
}

impl Unit {
    /// For messages.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Count => "a number",
            Self::PerSecond => "a rate",
            Self::Nanos => "a time",
            Self::Bytes => "a number of bytes",
            Self::Share => "a share",
        }
    }
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: Unit,
}

impl Figure {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let value = self.value;
        match self.unit {
            Unit::Count if value.fract() != 0.0 => format!("{value:.2}"),
            Unit::Count => thousands(value),
            Unit::PerSecond => {
                format!("{} /s", if value < 100.0 { format!("{value:.1}") } else { thousands(value) })
            }
            Unit::Nanos if value < 1e6 => format!("{:.1} µs", value / 1e3),
            Unit::Nanos if value < 1e9 => format!("{:.2} ms", value / 1e6),
            Unit::Nanos => format!("{:.2} s", value / 1e9),
            Unit::Bytes if value.abs() < 1_048_576.0 => format!("{:.1} KiB", value / 1024.0),
            Unit::Bytes => format!("{:.1} MiB", value / 1_048_576.0),
            Unit::Share => format!("{:.0} %", value * 100.0),
        }
    }
}

/// A whole number with its thousands apart.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let mut text = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The figures, in the order in which they are shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures(Vec<Figure>);

/// The quantiles of a time that are figures.
pub(crate) const QUANTILES: [(&str, f64); 7] =
    [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

impl Figures {
    /// Adds a figure.
    pub(crate) fn put(&mut self, name: &str, value: f64, unit: Unit) {
        self.0.push(Figure { name: name.to_owned(), value, unit });
    }

    /// Adds the quantiles of a time, if it was measured: `delivery.p99`, and without a kind `p99`.
    pub(crate) fn put_times(&mut self, kind: &str, times: &Histogram<u64>) {
        if times.is_empty() {
            return;
        }
        let name = |quantile: &str| match kind {
            "" => quantile.to_owned(),
            kind => format!("{kind}.{quantile}"),
        };
        for (quantile, at) in QUANTILES {
            self.put(&name(quantile), times.value_at_quantile(at) as f64, Unit::Nanos);
        }
        self.put(&name("mean"), times.mean(), Unit::Nanos);
        self.put(&name("count"), times.len() as f64, Unit::Count);
    }

    /// The figure with this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Figure> {
        self.0.iter().find(|figure| figure.name == name)
    }

    /// The value of a figure; 0 if there is none.
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.get(name).map_or(0.0, |figure| figure.value)
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|figure| figure.name.as_str())
    }

    /// All figures.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Figure> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_in_fitting_units() {
        let text = |value, unit| Figure { name: String::new(), value, unit }.text();
        assert_eq!(text(1_234_567.0, Unit::Count), "1,234,567");
        assert_eq!(text(999.0, Unit::Count), "999");
        assert_eq!(text(12.34, Unit::PerSecond), "12.3 /s");
        assert_eq!(text(2_500.0, Unit::Nanos), "2.5 µs");
        assert_eq!(text(1_500_000.0, Unit::Nanos), "1.50 ms");
        assert_eq!(text(2e9, Unit::Nanos), "2.00 s");
        assert_eq!(text(8_192.0, Unit::Bytes), "8.0 KiB");
        assert_eq!(text(-2_097_152.0, Unit::Bytes), "-2.0 MiB");
        assert_eq!(text(0.256, Unit::Share), "26 %");
    }

    #[test]
    fn quantiles_have_the_name_of_their_time() {
        let mut times = Histogram::<u64>::new(3).unwrap();
        let mut figures = Figures::default();
        figures.put_times("join", &times);
        assert_eq!(figures.iter().count(), 0);
        (1..=1_000).for_each(|value| times.record(value * 1_000).unwrap());
        figures.put_times("ack", &times);
        figures.put_times("", &times);
        assert!((figures.value("ack.p99") / 990e3 - 1.0).abs() < 0.01);
        assert_eq!(figures.value("ack.p50"), figures.value("p50"));
        assert_eq!(figures.value("ack.count"), 1_000.0);
    }
}
