//! Traces by OpenTelemetry. Owns the spans of a node, which of them are recorded, and their way to the receiver; each layer says where
//! its spans begin and end. Without the feature `otel`, everything here is empty and costs nothing. Started by the command.
//!
//! Nothing travels with a message except its id: [`MessageId::traced`] marks that of a message that is traced. Every node derives the
//! trace and the first span from the id, so that the store, the other nodes and their versions need to know nothing of traces.
//!
//! [`MessageId::traced`]: crate::protocol::MessageId::traced

#[cfg(not(feature = "otel"))]
mod disabled;
#[cfg(feature = "otel")]
mod exporter;
#[cfg(feature = "otel")]
mod http;
#[cfg(feature = "otel")]
mod message;
#[cfg(feature = "otel")]
mod process;
#[cfg(feature = "otel")]
mod recorder;
#[cfg(feature = "otel")]
mod sampler;
#[cfg(feature = "otel")]
mod settings;
#[cfg(feature = "otel")]
mod spans;
#[cfg(feature = "otel")]
mod variables;

#[cfg(not(feature = "otel"))]
pub use self::disabled::{
    Arrived, ConnectionTrace, DeliverSpan, PublishSpan, RequestSpan, Settings, start, stop,
};
#[cfg(feature = "otel")]
pub use self::{
    process::{start, stop},
    settings::Settings,
    spans::{Arrived, ConnectionTrace, DeliverSpan, PublishSpan, RequestSpan},
};

/// How a request ended, for its span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With an `Ack`, or as a request without an id that was carried out.
    Done,
    /// With this `Error`: its code, and for a publish whether it may have been stored.
    Failed(crate::protocol::ErrorCode, Option<crate::protocol::Outcome>),
}
