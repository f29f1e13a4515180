//! The variables of OpenTelemetry as texts, numbers and times. Owns the words of the error for a value that does not fit; an empty
//! variable counts as unset, as OpenTelemetry asks. What the variables mean is the matter of `settings`, which calls this.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Reads variables, and collects what is wrong with them.
pub(super) struct Variables<'a> {
    read: &'a dyn Fn(&str) -> Option<OsString>,
    pub(super) problems: Vec<String>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(read: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { read, problems: Vec::new() }
    }

    /// Something is wrong with this variable. The text must not contain a secret.
    pub(super) fn problem(&mut self, name: &str, what: impl std::fmt::Display) {
        self.problems.push(format!("{name} in the environment: {what}"));
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match (self.read)(name)?.into_string() {
            Ok(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Err(_) => {
                self.problem(name, "must be UTF-8");
                None
            }
        }
    }

    /// The variable for traces, or else that for all signals: the name that is set, and its value.
    pub(super) fn of_signal(&mut self, suffix: &str) -> Option<(String, String)> {
        ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"].into_iter().find_map(|prefix| {
            let name = format!("{prefix}{suffix}");
            let value = self.text(&name)?;
            Some((name, value))
        })
    }

    /// One of these words, in any case.
    pub(super) fn word(&mut self, name: &str, words: &[&'static str]) -> Option<&'static str> {
        let value = self.text(name)?;
        let word = words.iter().copied().find(|word| value.eq_ignore_ascii_case(word));
        if word.is_none() {
            self.problem(name, format_args!("must be {}, not {value}", words.join(" or ")));
        }
        word
    }

    pub(super) fn number(&mut self, name: &str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(value) = self.text(name) else { return default };
        self.checked(name, &value, range).unwrap_or(default)
    }

    fn checked(&mut self, name: &str, value: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let number = value.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            self.problem(name, format_args!("must be a whole number from {least} to {most}, not {value}"));
        }
        number
    }

    /// A time in milliseconds.
    pub(super) fn time(&mut self, name: &str, range: RangeInclusive<u64>, default: Duration) -> Duration {
        let Some(value) = self.text(name) else { return default };
        self.checked(name, &value, range).map_or(default, Duration::from_millis)
    }

    /// A time in milliseconds, of the variable for traces or that for all signals.
    pub(super) fn signal_time(
        &mut self,
        suffix: &str,
        range: RangeInclusive<u64>,
        default: Duration,
    ) -> Duration {
        let Some((name, value)) = self.of_signal(suffix) else { return default };
        self.checked(&name, &value, range).map_or(default, Duration::from_millis)
    }
}
