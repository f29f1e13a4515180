//! Traces in a build without the feature `otel`: the same names, with nothing behind them. Owns one line of the log, for settings that
//! this build can't follow. Called like the real ones.

use std::ffi::OsString;

use super::Ending;
use crate::protocol::{ConnectionId, MessageId, TraceParent};

/// The variables that ask for traces.
const ASKING: [&str; 3] =
    ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER"];

/// What the variables of OpenTelemetry ask for.
#[derive(Debug)]
pub struct Settings {
    asked_by: &'static str,
}

impl Settings {
    /// Reads the variables. `None` if they ask for nothing.
    ///
    /// # Errors
    /// Never: this build follows none of them.
    pub fn read(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Self>, Vec<String>> {
        let value = |name| variable(name).filter(|value| !value.is_empty());
        let is_off = value("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || value("OTEL_TRACES_EXPORTER").is_some_and(|value| value.eq_ignore_ascii_case("none"));
        let asked_by = ASKING.into_iter().find(|name| !is_off && value(name).is_some());
        Ok(asked_by.map(|asked_by| Self { asked_by }))
    }
}

/// Logs that there are no traces.
///
/// # Errors
/// Never.
pub fn start(settings: &Settings, _node: Option<&str>) -> Result<(), String> {
    let variable = settings.asked_by;
    tracing::warn!("{variable} is set, but this build has no traces: use one with the feature `otel`");
    Ok(())
}

/// Ends nothing.
pub async fn stop() {}

/// When a request arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrived;

impl Arrived {
    /// Now.
    pub fn now() -> Self {
        Self
    }
}

/// The trace that a connection belongs to.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConnectionTrace(());

impl ConnectionTrace {
    /// Of the text in the header of the upgrade.
    pub fn of(_header: Option<&str>) -> Self {
        Self(())
    }
}

/// The span of a request.
#[derive(Debug, Default)]
pub struct RequestSpan(());

impl RequestSpan {
    /// Of a request that is carried out from now on.
    pub fn begin(
        _arrival: Arrived,
        _kind: &'static str,
        _from: (Option<ConnectionId>, &ConnectionTrace),
        _parent: Option<TraceParent>,
    ) -> Self {
        Self(())
    }

    /// The id of the message that the request publishes.
    pub fn message_id(&mut self) -> MessageId {
        MessageId::generate()
    }

    /// The message is stored, under this id.
    pub fn stored(&mut self, _message_id: MessageId, _is_duplicate: bool) {}

    /// The request has its answer.
    pub fn end(self, _ending: Ending) {}
}

/// The span of a call that publishes.
#[derive(Debug)]
pub struct PublishSpan;

impl PublishSpan {
    /// Of a call with the messages of these ids.
    #[must_use]
    pub fn begin<'a>(_message_ids: impl Iterator<Item = &'a str>) -> Self {
        Self
    }

    /// The call has its reply; `error` is the kind of a failure.
    pub fn end(self, _error: Option<&'static str>) {}
}

/// The span of a fan-out.
#[derive(Debug)]
pub struct DeliverSpan;

impl DeliverSpan {
    /// Of messages with these ids.
    #[must_use]
    pub fn begin(_message_ids: impl Iterator<Item = MessageId>) -> Self {
        Self
    }

    /// So many connections have got the messages.
    pub fn end(self, _topic: &'static str, _connections: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_ask_for_traces_are_noticed() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        for (variables, asked_by) in [
            (&[][..], None),
            (&[endpoint], Some(endpoint.0)),
            (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "x")], Some("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")),
            (&[("OTEL_TRACES_EXPORTER", "otlp")], Some("OTEL_TRACES_EXPORTER")),
            (&[(endpoint.0, "")], None),
            (&[endpoint, ("OTEL_TRACES_EXPORTER", "none")], None),
            (&[endpoint, ("OTEL_SDK_DISABLED", "true")], None),
            (&[("OTEL_SERVICE_NAME", "other")], None),
        ] {
            let read =
                |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| value.into());
            let settings = Settings::read(&read).unwrap();
            assert_eq!(settings.map(|settings| settings.asked_by), asked_by, "{variables:?}");
        }
    }
}
