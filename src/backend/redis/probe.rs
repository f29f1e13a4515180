//! Probe of the server and the subscriptions. Owns the proof that Redis accepts writes, and the round trip through a command
//! connection, Redis and every subscription connection. Replaces a connection that seems alive but delivers nothing. Started
//! by `connect`; the broker asks [`ready`].

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;

use super::clock::LastTime;
use super::command_connection::CommandConnection;
use super::keys::Keys;
use super::memory::MemoryGauge;
use super::rights;
use super::subscriber::Subscriber;
use crate::metrics::PUBSUB_SILENCE;

/// Interval between two probes.
const INTERVAL: Duration = Duration::from_secs(1);

/// Interval until every connection has delivered a probe: the first one often comes before the subscriptions exist.
const FIRST_INTERVAL: Duration = Duration::from_millis(50);

/// A connection is replaced if a published probe has been missing for this long. Together with the interval and the
/// reconnect, this stays well below the 10 s within which a node must notice a lost message.
const REPLACE_AFTER: Duration = Duration::from_secs(4);

/// A node is not ready if a connection has been silent for this long.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// The connections of one node.
pub(super) struct Probe {
    pub(super) keys: Keys,
    /// Id of this node.
    pub(super) node: String,
    pub(super) commands: Arc<[CommandConnection]>,
    pub(super) subscribers: Arc<[Subscriber]>,
    /// When Redis last accepted a write.
    pub(super) written: Arc<LastTime>,
    /// Whether Redis has memory for messages.
    pub(super) memory: Arc<MemoryGauge>,
}

impl Probe {
    /// Sends probes without end.
    pub(super) async fn run(self) {
        // A server that can't save refuses writes and still publishes. This write deletes a key that never exists: it gets
        // every such refusal, but nothing is written to the append-only file, and a server with full memory allows it.
        let mut write = redis::cmd("DEL");
        write.arg(self.keys.probe(&self.node));
        let mut info = redis::cmd("INFO");
        info.arg("memory");
        // Where INFO is forbidden, once is enough: the preflight has said so.
        let mut asks_for_memory = true;
        loop {
            if asks_for_memory {
                match self.commands[0].command::<String>(&info).await {
                    Ok(info) => self.memory.record(&info),
                    Err(error) => asks_for_memory = !rights::denies(&error.to_string()),
                }
            }
            // A failure is counted by the command connection, and says nothing of the subscriptions.
            if self.commands[0].command::<()>(&write).await.is_ok() {
                self.written.record();
            }
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(self.keys.probe_on_server(&self.node)).arg("");
            if self.commands[0].command::<()>(&publish).await.is_ok() {
                self.subscribers.iter().for_each(Subscriber::record_probe);
            }
            for subscriber in self.subscribers.iter().filter(|s| s.overdue() >= REPLACE_AFTER) {
                subscriber.replace();
            }
            let silence = self.subscribers.iter().filter_map(Subscriber::silence).max();
            gauge!(PUBSUB_SILENCE).set(silence.unwrap_or_default().as_secs_f64());
            let all_seen = self.subscribers.iter().all(|s| s.silence().is_some());
            tokio::time::sleep(if all_seen { INTERVAL } else { FIRST_INTERVAL }).await;
        }
    }
}

/// True if Redis has recently accepted a write, and every connection has recently answered or delivered a probe.
pub(super) fn ready(commands: &[CommandConnection], subscribers: &[Subscriber], written: &LastTime) -> bool {
    let is_recent = |silence: Option<Duration>| silence.is_some_and(|silence| silence < READY_WITHIN);
    is_recent(written.age())
        && commands.iter().all(|command_connection| is_recent(command_connection.silence()))
        && subscribers.iter().all(|s| is_recent(s.silence()))
}
