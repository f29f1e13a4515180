//! Demotion of the server. Owns the signal between all connections that one of them has found a server that is no master;
//! closes nothing. Raised by whatever gets such a reply, heeded by the tasks that keep connections.
//!
//! After a failover an address may lead to another server, while the connections to the old one stay open. Only the
//! connection that writes is told, so it tells the others.

use tokio::sync::watch;

/// The signal, shared by all connections of a node.
#[derive(Clone)]
pub(super) struct DemotionSignal(watch::Sender<u64>);

/// What one task has seen of the signal.
pub(super) struct DemotionWatch(watch::Receiver<u64>);

impl DemotionSignal {
    /// No server has been demoted.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Asks every other task to check its connections.
    pub(super) fn raise(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// Watches from now on: a connection that is made afterwards is checked while it is made.
    pub(super) fn watch(&self) -> DemotionWatch {
        DemotionWatch(self.0.subscribe())
    }
}

impl DemotionWatch {
    /// Resolves once the signal was raised since the last time. Cancel-safe.
    pub(super) async fn raised(&mut self) {
        if self.0.changed().await.is_err() {
            // The backend has ended.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn watch_sees_what_is_raised_after_its_start_once() {
        let signal = DemotionSignal::new();
        signal.raise();
        let mut watch = signal.watch();
        assert!(watch.raised().now_or_never().is_none());
        signal.clone().raise();
        signal.raise();
        assert!(watch.raised().now_or_never().is_some());
        assert!(watch.raised().now_or_never().is_none());
    }
}
