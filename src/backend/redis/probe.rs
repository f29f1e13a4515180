//! The proof that subscriptions work. Owns the round trip through command connection, Redis and every subscription
//! connection; replaces a connection that looks alive and delivers nothing. Started by `connect`; readiness is what it
//! has seen.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;

use super::command_connection::CommandConnection;
use super::subscriber::Subscriber;
use crate::metrics::PUBSUB_SILENCE;

/// How often.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often until every connection has shown itself: at the start the first probe is mostly too early.
const FIRST_INTERVAL: Duration = Duration::from_millis(50);

/// A connection that a published probe has not come through for this long is replaced. With the interval and the
/// reconnection well below the 10 s within which a lost message must be noticed.
const PATIENCE: Duration = Duration::from_secs(4);

/// A node whose probe has not come back for this long is not ready.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// The connections of one node.
pub(super) struct Probe {
    pub(super) channel: String,
    pub(super) commands: Arc<[CommandConnection]>,
    pub(super) subscribers: Arc<[Subscriber]>,
}

impl Probe {
    /// Probes for ever.
    pub(super) async fn run(self) {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&self.channel).arg("");
        loop {
            // A failure is counted by the command connection, and says nothing of the subscriptions.
            if self.commands[0].command(&publish).await.is_ok() {
                self.subscribers.iter().for_each(Subscriber::probed);
            }
            for subscriber in self.subscribers.iter().filter(|s| s.overdue() >= PATIENCE) {
                subscriber.replace();
            }
            let silence = self.subscribers.iter().filter_map(Subscriber::silence).max();
            gauge!(PUBSUB_SILENCE).set(silence.unwrap_or_default().as_secs_f64());
            let all_seen = self.subscribers.iter().all(|s| s.silence().is_some());
            tokio::time::sleep(if all_seen { INTERVAL } else { FIRST_INTERVAL }).await;
        }
    }
}

/// Whether every connection has lately proved itself.
pub(super) fn ready(commands: &[CommandConnection], subscribers: &[Subscriber]) -> bool {
    let lately = |silence: Option<Duration>| silence.is_some_and(|silence| silence < READY_WITHIN);
    commands.iter().all(|command_connection| lately(command_connection.silence()))
        && subscribers.iter().all(|s| lately(s.silence()))
}
