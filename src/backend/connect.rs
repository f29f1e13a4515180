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
    if config.is_clustered() {
        redis::connect(config, deliver, tracker, stop).await
    } else {
        Ok((memory::connect(config, deliver), Vec::new()))
    }
}
