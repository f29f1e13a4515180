//! A [`Deliver`] that records every delivery, and lets tests wait for deliveries.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use chatnode::backend::{Deliver, Entry, Interruption, Notice, Publication};
use chatnode::protocol::Topic;
use tokio::sync::Notify;

/// Deadline of every wait in a test.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// One call of the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    Published(Topic, Publication),
    Interrupted(Topic),
    Restored(Topic),
    Notice(Notice),
}

/// Records all deliveries, in order.
#[derive(Default)]
pub struct Listener {
    deliveries: Mutex<Vec<Delivery>>,
    more: Notify,
    /// While true, deliveries block: the consumer has stopped.
    is_stopped: Mutex<bool>,
    goes_on: Condvar,
}

impl Listener {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.lock().unwrap().clone()
    }

    /// The number of all deliveries.
    pub fn count(&self) -> usize {
        self.deliveries.lock().unwrap().len()
    }

    /// Returns the messages of a topic, in order.
    pub fn entries(&self, topic: &Topic) -> Vec<Entry> {
        let of_topic = |delivery| match delivery {
            Delivery::Published(on, Publication::Message { entry, .. }) if on == *topic => Some(entry),
            _ => None,
        };
        self.deliveries().into_iter().filter_map(of_topic).collect()
    }

    /// Returns the bodies of the events of a topic, in order.
    pub fn events(&self, topic: &Topic) -> Vec<String> {
        let of_topic = |delivery| match delivery {
            Delivery::Published(on, Publication::Event { body, .. }) if on == *topic => {
                Some(String::from_utf8(body.to_vec()).unwrap())
            }
            _ => None,
        };
        self.deliveries().into_iter().filter_map(of_topic).collect()
    }

    /// Waits until a condition holds for all deliveries.
    pub async fn until(&self, what: &str, holds: impl Fn(&[Delivery]) -> bool) {
        let wait = async {
            loop {
                let more = self.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                if holds(&self.deliveries.lock().unwrap()) {
                    return;
                }
                more.await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let all = self.deliveries();
            let last = &all[all.len().saturating_sub(20)..];
            panic!("timeout while waiting for: {what}; {} deliveries, the last ones: {last:#?}", all.len());
        }
    }

    /// Waits for a number of messages of a topic, and returns all its messages.
    pub async fn messages(&self, topic: &Topic, count: usize) -> Vec<Entry> {
        let is_message = |delivery: &&Delivery| matches!(delivery, Delivery::Published(on, Publication::Message { .. }) if on == topic);
        self.until(&format!("{count} messages"), |all| all.iter().filter(is_message).count() >= count).await;
        self.entries(topic)
    }

    /// Blocks all deliveries until [`Listener::go_on`].
    pub fn stop(&self) {
        *self.is_stopped.lock().unwrap() = true;
    }

    pub fn go_on(&self) {
        *self.is_stopped.lock().unwrap() = false;
        self.goes_on.notify_all();
    }

    fn record(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        self.deliveries.lock().unwrap().extend(deliveries);
        self.more.notify_waiters();
    }
}

impl Deliver for Listener {
    fn deliver(&self, topic: &Topic, publications: &mut dyn Iterator<Item = Publication>) {
        if *self.is_stopped.lock().unwrap() {
            // `block_in_place` moves the other tasks of this worker away, because the node needs them meanwhile. The wait
            // has a limit, so that a failed test ends.
            tokio::task::block_in_place(|| {
                let stopped = self.is_stopped.lock().unwrap();
                drop(self.goes_on.wait_timeout_while(stopped, PATIENCE, |is_stopped| *is_stopped).unwrap());
            });
        }
        let together: Vec<Delivery> =
            publications.map(|publication| Delivery::Published(topic.clone(), publication)).collect();
        assert!(!together.is_empty() && together.len() <= 64);
        self.record(together);
    }

    fn interrupted(&self, topics: &[Topic], _how: Interruption) {
        self.record(topics.iter().cloned().map(Delivery::Interrupted));
    }

    fn restored(&self, topics: &[Topic]) {
        self.record(topics.iter().cloned().map(Delivery::Restored));
    }

    fn notice(&self, notice: Notice) {
        self.record([Delivery::Notice(notice)]);
    }
}

/// Polls until a condition is true.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is_true: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_true().await {
        assert!(tokio::time::Instant::now() < deadline, "timeout while waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
