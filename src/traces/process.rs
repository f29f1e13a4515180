//! The traces of this process, from their start to their end. Owns how the parts are put together, and how long the end may take. Called
//! by the command, once each.

use std::sync::Arc;
use std::time::Duration;

use chatnode_client::tls;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter as Otlp, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanExporter, SpanProcessor};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;
use uuid::Uuid;

use super::exporter::Exporter;
use super::http::{Client, LastFailure};
use super::recorder::{self, Recorder, Waiting, recorder};
use super::settings::Settings;

/// How long the end of a node waits for a receiver that takes the last spans slowly, or not at all.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// Records spans from now on, and sends them. `node` is its name, if it has one. The metrics must have their recorder before.
///
/// # Errors
/// The text says which variable to change.
pub fn start(settings: &Settings, node: Option<&str>) -> Result<(), String> {
    let (failure, waiting) = (LastFailure::default(), Waiting::at_most(settings.queue));
    let client = Client {
        runtime: Handle::current(),
        tls: tls(settings)?,
        timeout: settings.timeout,
        failure: failure.clone(),
    };
    // It reads the headers from the environment by itself.
    let mut otlp = Otlp::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(settings.endpoint.to_string())
        .with_timeout(settings.timeout)
        .build()
        .map_err(|error| error.to_string())?;
    otlp.set_resource(&resource(settings, node));
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(settings.queue)
        .with_max_export_batch_size(settings.batch)
        .with_scheduled_delay(settings.delay)
        .build();
    let processor = BatchSpanProcessor::new(Exporter::new(otlp, waiting.clone(), failure), config);
    let (sampler, takes_parents) = (settings.sampler.clone(), settings.takes_parents);
    recorder::install(Recorder::new(processor, waiting, sampler, takes_parents));
    let endpoint = &settings.endpoint;
    let host = endpoint.authority().map(|authority| authority.as_str());
    tracing::info!(receiver = host, path = endpoint.path(), sampler = settings.sampler_name, "traces are on");
    Ok(())
}

/// Sends the spans that wait, as far as the receiver takes them within three seconds. Those of later work are lost.
pub async fn stop() {
    let Some(recorder) = recorder() else { return };
    let flush = tokio::task::spawn_blocking(|| recorder.processor.shutdown_with_timeout(LAST_SPANS));
    // The processor keeps its own deadline; this one is for a thread that the system does not run.
    let flushed = timeout(LAST_SPANS * 2, flush).await;
    let waiting = recorder.waiting.count();
    if !matches!(flushed, Ok(Ok(Ok(())))) || waiting > 0 {
        tracing::warn!(spans = waiting, "the receiver of traces did not take the last spans in time");
    }
}

fn tls(settings: &Settings) -> Result<Option<Arc<ClientConfig>>, String> {
    match (settings.endpoint.scheme_str(), &settings.ca_file) {
        (Some("https"), Some(file)) => tls::config_from_file(file)
            .map(Some)
            .map_err(|error| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {error}")),
        (Some("https"), None) => tls::native_config()
            .map(Some)
            .map_err(|error| format!("{error}, or set OTEL_EXPORTER_OTLP_CERTIFICATE")),
        _ => Ok(None),
    }
}

/// What all spans say of their node. The variables win.
fn resource(settings: &Settings, node: Option<&str>) -> Resource {
    let instance = node.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
    let own = [
        ("service.name", "chatnode".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", instance),
    ];
    let unset = own.into_iter().filter(|(key, _)| !settings.resource_keys.iter().any(|set| set == key));
    Resource::builder().with_attributes(unset.map(|(key, value)| KeyValue::new(key, value))).build()
}
