//! Choice of the backend. Owns the decision between the embedded backend and Redis, by the settings; knows neither from
//! inside. Called by `server`.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Backend, ConnectError, Deliver, memory, redis};
use crate::config::Config;

/// Starts the backend that the settings name. Returns it with warnings for the operator, one line each.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    config: &Config,
    deliver: Arc<dyn Deliver>,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> Result<(Backend, Vec<String>), ConnectError> {
    let (backend, warnings) = if config.is_clustered() {
        redis::connect(config, deliver.clone(), tracker, stop).await?
    } else {
        (memory::connect(config, deliver.clone()), Vec::new())
    };
    #[cfg(feature = "failpoints")]
    let backend = {
        let broker = super::flawed_broker::FlawedBroker::new(backend.broker, deliver);
        Backend { broker: Arc::new(broker), ..backend }
    };
    Ok((backend, warnings))
}
