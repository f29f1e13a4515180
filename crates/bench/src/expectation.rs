//! What `--expect` and `--search` demand of a figure: `p99<50ms`. Owns the syntax, its errors, and the comparison; the figures
//! are those of the report. Read from the command line.

use std::fmt;
use std::str::FromStr;

use crate::figures::{Figures, Unit};

/// How a figure is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
}

/// In the order in which they are looked for: the longer first.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("==", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
];

/// The units, with what one of them is in that of the figures.
const UNITS: [(&str, Unit, f64); 11] = [
    ("ns", Unit::Nanos, 1.0),
    ("us", Unit::Nanos, 1e3),
    ("µs", Unit::Nanos, 1e3),
    ("ms", Unit::Nanos, 1e6),
    ("s", Unit::Nanos, 1e9),
    ("KiB", Unit::Bytes, 1024.0),
    ("MiB", Unit::Bytes, 1_048_576.0),
    ("B", Unit::Bytes, 1.0),
    ("/s", Unit::PerSecond, 1.0),
    ("%", Unit::Share, 0.01),
    ("", Unit::Count, 1.0),
];

/// A demand.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expectation {
    text: String,
    figure: String,
    comparison: Comparison,
    value: f64,
    unit: Unit,
}

/// What is wrong with a demand.
#[derive(Debug, Clone, thiserror::Error, PartialEq)]
pub(crate) enum ExpectationError {
    /// There is none of the signs.
    #[error(
        "{0:?} compares nothing: expected a figure, one of < <= > >= =, and a value, such as p99<50ms or lost=0"
    )]
    NoComparison(String),
    /// There is no figure before the sign.
    #[error("{0:?} names no figure before the sign, such as p99 or lost")]
    NoFigure(String),
    /// What stands behind the sign.
    #[error(
        "{value:?} in {text:?} is no value: expected a number and a unit: ns, us, ms, s, B, KiB, MiB, /s, %, or none for a count"
    )]
    Value { text: String, value: String },
    /// No report has it.
    #[error("there is no figure {name:?} here; there are: {known}")]
    Unknown { name: String, known: String },
    /// Times can't be compared with bytes.
    #[error("{figure} is {is}, and {text:?} compares it with {with}")]
    Unit { figure: String, is: &'static str, with: &'static str, text: String },
}

impl FromStr for Expectation {
    type Err = ExpectationError;

    fn from_str(text: &str) -> Result<Self, ExpectationError> {
        let sign = text.find(['<', '>', '=']).ok_or_else(|| ExpectationError::NoComparison(text.into()))?;
        let (figure, rest) = text.split_at(sign);
        let figure = figure.trim();
        if figure.is_empty() {
            return Err(ExpectationError::NoFigure(text.into()));
        }
        let found =
            COMPARISONS.iter().find_map(|(sign, comparison)| Some((rest.strip_prefix(sign)?, *comparison)));
        let (value, comparison) = found.ok_or_else(|| ExpectationError::NoComparison(text.into()))?;
        let value = value.trim();
        let bad = || ExpectationError::Value { text: text.into(), value: value.into() };
        let end = value.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(value.len());
        let number: f64 = value[..end].replace('_', "").parse().map_err(|_| bad())?;
        let unit = value[end..].trim();
        let (_, unit, factor) = UNITS.iter().find(|(name, _, _)| *name == unit).ok_or_else(bad)?;
        Ok(Self {
            text: text.trim().into(),
            figure: figure.into(),
            comparison,
            value: number * factor,
            unit: *unit,
        })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Expectation {
    /// Checks the name of the figure before a run.
    ///
    /// # Errors
    /// No report has such a figure.
    pub(crate) fn check_name(&self, names: &[String]) -> Result<(), ExpectationError> {
        match names.contains(&self.figure) {
            true => Ok(()),
            false => Err(ExpectationError::Unknown { name: self.figure.clone(), known: names.join(" ") }),
        }
    }

    /// Whether the figures meet it, and what the figure is.
    ///
    /// # Errors
    /// There is no such figure, or it has another unit.
    pub(crate) fn is_met(&self, figures: &Figures) -> Result<(bool, String), ExpectationError> {
        let figure = figures.get(&self.figure).ok_or_else(|| ExpectationError::Unknown {
            name: self.figure.clone(),
            known: figures.names().collect::<Vec<_>>().join(" "),
        })?;
        // A bare number is in the unit that needs none, or is zero.
        let is_same = figure.unit == self.unit
            || (self.unit == Unit::Count
                && (figure.unit != Unit::Nanos && figure.unit != Unit::Bytes || self.value == 0.0));
        if !is_same {
            return Err(ExpectationError::Unit {
                figure: self.figure.clone(),
                is: figure.unit.noun(),
                with: self.unit.noun(),
                text: self.text.clone(),
            });
        }
        let (is, wanted) = (figure.value, self.value);
        let is_met = match self.comparison {
            Comparison::Less => is < wanted,
            Comparison::LessOrEqual => is <= wanted,
            Comparison::Greater => is > wanted,
            Comparison::GreaterOrEqual => is >= wanted,
            Comparison::Equal => (is - wanted).abs() < 1e-9,
        };
        Ok((is_met, figure.text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let mut figures = Figures::default();
        figures.put("p99", 20e6, Unit::Nanos);
        figures.put("lost", 0.0, Unit::Count);
        figures.put("memory", 8_192.0, Unit::Bytes);
        figures.put("rate", 120.5, Unit::PerSecond);
        figures.put("busy", 0.25, Unit::Share);
        figures
    }

    #[test]
    fn demands_are_compared_in_their_units() {
        for (text, is_met) in [
            ("p99<50ms", true),
            ("p99 <= 20 ms", true),
            ("p99<20ms", false),
            ("p99>19_999us", true),
            ("p99<0.02s", false),
            ("lost=0", true),
            ("lost==0", true),
            ("lost>0", false),
            ("memory<=8KiB", true),
            ("rate>=120", true),
            ("rate>=121/s", false),
            ("busy<30%", true),
            ("busy<0.2", false),
        ] {
            let expectation: Expectation = text.parse().unwrap();
            assert_eq!(expectation.is_met(&figures()).unwrap().0, is_met, "{text}");
            assert_eq!(expectation.to_string(), text);
        }
    }

    #[test]
    fn invalid_demands_are_explained() {
        for (text, says) in [
            ("p99", "compares nothing"),
            ("", "compares nothing"),
            ("<50ms", "names no figure"),
            ("p99<fast", "\"fast\" in \"p99<fast\" is no value"),
            ("p99<50 minutes", "is no value"),
            ("p99<>5ms", "is no value"),
            ("p99<1.2.3ms", "is no value"),
            ("p99<", "is no value"),
        ] {
            let error = text.parse::<Expectation>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let judge =
            |text: &str| text.parse::<Expectation>().unwrap().is_met(&figures()).unwrap_err().to_string();
        assert!(judge("p98<5ms").contains("there are: p99 lost memory rate busy"), "{}", judge("p98<5ms"));
        assert!(judge("p99<50").contains("p99 is a time, and \"p99<50\" compares it with a number"));
        assert!(judge("lost<5ms").contains("lost is a number"));
    }
}
