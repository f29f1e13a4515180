//! What the variables of OpenTelemetry ask of a node. Owns which variables count and their defaults, those of the specification. The
//! values of headers may be secrets: no error and no log line has them. Read by the command before it starts a node.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use opentelemetry_sdk::trace::Sampler as Root;
use percent_encoding::percent_decode_str;

use super::sampler::Sampler;
use super::variables::Variables;

const SDK_DISABLED: &str = "OTEL_SDK_DISABLED";
const TRACES_EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
const PROPAGATORS: &str = "OTEL_PROPAGATORS";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const QUEUE_SIZE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";
const BATCH_SIZE: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";

/// Where OTLP over HTTP is received on this machine, if only the exporter is named.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318";

/// The times that a variable may ask for, in milliseconds.
const TIMES: std::ops::RangeInclusive<u64> = 1..=600_000;

/// Traces, as the variables ask for them.
#[derive(Debug)]
pub struct Settings {
    pub(super) endpoint: Uri,
    /// The authorities that are trusted, if not those of the machine.
    pub(super) ca_file: Option<PathBuf>,
    /// How long one batch may take, with all tries.
    pub(super) timeout: Duration,
    pub(super) sampler: Sampler,
    pub(super) sampler_name: &'static str,
    /// Whether a `traceparent` counts.
    pub(super) takes_parents: bool,
    pub(super) queue: usize,
    pub(super) batch: usize,
    pub(super) delay: Duration,
    /// The attributes of the resource that the variables set.
    pub(super) resource_keys: Vec<String>,
}

impl Settings {
    /// Reads the variables. `None` if they ask for no traces.
    ///
    /// # Errors
    /// A line for each value that can't be used.
    pub fn read(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Self>, Vec<String>> {
        let mut variables = Variables::new(variable);
        let settings = read(&mut variables);
        if variables.problems.is_empty() { Ok(settings) } else { Err(variables.problems) }
    }
}

fn read(variables: &mut Variables<'_>) -> Option<Settings> {
    if variables.word(SDK_DISABLED, &["true", "false"]) == Some("true") {
        return None;
    }
    let endpoint = variables.of_signal("ENDPOINT");
    match (variables.word(TRACES_EXPORTER, &["otlp", "none"]), &endpoint) {
        (Some("none"), _) | (None, None) => return None,
        _ => {}
    }
    check_transport(variables);
    check_headers(variables);
    let endpoint = endpoint.unwrap_or_else(|| ("the default".into(), DEFAULT_ENDPOINT.into()));
    let endpoint = self::endpoint(variables, &endpoint);
    let ca_file = variables.of_signal("CERTIFICATE").map(|(_, file)| file.into());
    let export = variables.signal_time("TIMEOUT", TIMES, Duration::from_secs(10));
    let timeout = variables.time("OTEL_BSP_EXPORT_TIMEOUT", TIMES, Duration::from_secs(30)).min(export);
    let queue = variables.number(QUEUE_SIZE, 1..=65_536, 2_048);
    let batch = variables.number(BATCH_SIZE, 1..=65_536, queue.min(512));
    if batch > queue {
        let what = format_args!("must be at most {QUEUE_SIZE}, which is {queue}, not {batch}");
        variables.problem(BATCH_SIZE, what);
    }
    // A shorter one would keep a core busy with nothing.
    let delay = variables.time("OTEL_BSP_SCHEDULE_DELAY", 10..=600_000, Duration::from_secs(5));
    let (sampler_name, sampler) = sampler(variables);
    let takes_parents = takes_parents(variables);
    let resource_keys = resource_keys(variables);
    let (queue, batch) = (queue as usize, batch as usize);
    let endpoint = endpoint?;
    Some(Settings {
        endpoint,
        ca_file,
        timeout,
        sampler,
        sampler_name,
        takes_parents,
        queue,
        batch,
        delay,
        resource_keys,
    })
}

/// The way that this program knows: OTLP over HTTP, as protobuf.
fn check_transport(variables: &mut Variables<'_>) {
    if let Some((name, protocol)) = variables.of_signal("PROTOCOL")
        && protocol != "http/protobuf"
    {
        let what =
            "must be http/protobuf, with the port for OTLP over HTTP in the endpoint (most receivers: 4318)";
        variables.problem(&name, format_args!("{what}, not {protocol}"));
    }
    if let Some((name, compression)) = variables.of_signal("COMPRESSION")
        && !compression.eq_ignore_ascii_case("none")
    {
        variables.problem(&name, format_args!("must be none, not {compression}: spans are sent as they are"));
    }
    for suffix in ["CLIENT_CERTIFICATE", "CLIENT_KEY"] {
        if let Some((name, _)) = variables.of_signal(suffix) {
            let what = "must be unset: a node shows no certificate to the receiver; use a header, or a collector on this machine";
            variables.problem(&name, what);
        }
    }
}

/// The exporter leaves out what it can't read: then the receiver would refuse every batch.
fn check_headers(variables: &mut Variables<'_>) {
    let Some((name, headers)) = variables.of_signal("HEADERS") else { return };
    for (index, header) in headers.split_terminator(',').enumerate() {
        let is_valid = header.split_once('=').is_some_and(|(key, value)| {
            let value = percent_decode_str(value.trim()).decode_utf8();
            key.trim().parse::<HeaderName>().is_ok()
                && value.is_ok_and(|value| HeaderValue::from_str(&value).is_ok())
        });
        if !is_valid {
            let what = "must be name=value, with commas between headers and %-encoded values";
            variables.problem(&name, format_args!("header {} {what}", index + 1));
        }
    }
}

fn endpoint(variables: &mut Variables<'_>, (name, url): &(String, String)) -> Option<Uri> {
    let is_for_traces = name.ends_with("TRACES_ENDPOINT");
    let full = if is_for_traces { url.clone() } else { format!("{}/v1/traces", url.trim_end_matches('/')) };
    let uri = full.parse::<Uri>().ok().filter(|uri| {
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let has_host =
            uri.authority().is_some_and(|host| !host.as_str().contains('@') && !host.host().is_empty());
        is_http && has_host && (is_for_traces || uri.query().is_none())
    });
    if uri.is_none() {
        // Not the URL itself: it may contain a password.
        let what = "must be an HTTP URL such as http://localhost:4318, without a user (put keys into OTEL_EXPORTER_OTLP_HEADERS)";
        variables.problem(name, what);
    }
    uri
}

/// The sampler, and its name.
fn sampler(variables: &mut Variables<'_>) -> (&'static str, Sampler) {
    const SAMPLERS: [&str; 6] = [
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
        "always_on",
        "always_off",
        "traceidratio",
    ];
    let name = variables.word(SAMPLER, &SAMPLERS).unwrap_or(SAMPLERS[0]);
    let (is_parent_based, root) = match name.strip_prefix("parentbased_") {
        Some(root) => (true, root),
        None => (false, name),
    };
    let root = match root {
        "always_on" => Root::AlwaysOn,
        "always_off" => Root::AlwaysOff,
        _ => Root::TraceIdRatioBased(ratio(variables)),
    };
    (name, Sampler { root, is_parent_based })
}

fn ratio(variables: &mut Variables<'_>) -> f64 {
    let Some(value) = variables.text(SAMPLER_ARG) else { return 1.0 };
    let ratio = value.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.unwrap_or_else(|| {
        variables
            .problem(SAMPLER_ARG, format_args!("must be a number from 0 to 1, such as 0.01, not {value}"));
        1.0
    })
}

fn takes_parents(variables: &mut Variables<'_>) -> bool {
    let Some(value) = variables.text(PROPAGATORS) else { return true };
    let mut takes = false;
    for name in value.split(',').map(str::trim) {
        match name {
            "tracecontext" => takes = true,
            "baggage" | "none" => {}
            _ => variables.problem(PROPAGATORS, format_args!("must be tracecontext or none, not {name}")),
        }
    }
    takes
}

fn resource_keys(variables: &mut Variables<'_>) -> Vec<String> {
    let mut keys = Vec::new();
    let attributes = variables.text(RESOURCE_ATTRIBUTES).unwrap_or_default();
    for attribute in attributes.split_terminator(',') {
        match attribute.split_once('=').map(|(key, _)| key.trim()).filter(|key| !key.is_empty()) {
            Some(key) => keys.push(key.to_owned()),
            None => {
                let what = "must be key=value, with commas between attributes, not";
                variables.problem(RESOURCE_ATTRIBUTES, format_args!("{what} {attribute}"));
            }
        }
    }
    if variables.text("OTEL_SERVICE_NAME").is_some() {
        keys.push("service.name".into());
    }
    keys
}
