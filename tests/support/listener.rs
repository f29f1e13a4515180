//! A [`Deliver`] that writes down what it is told, and lets tests wait for it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use chatnode::backend::{Deliver, Entry, Interruption, Notice, Publication};
use chatnode::protocol::Topic;
use tokio::sync::Notify;

/// How long anything may take in a test before it counts as not happening.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// One thing that a backend told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Published(Topic, Publication),
    Interrupted(Topic),
    Restored(Topic),
    Notice(Notice),
}

/// Everything told so far, in order.
#[derive(Default)]
pub struct Listener {
    told: Mutex<Vec<Told>>,
    more: Notify,
    /// Deliveries wait: a consumer that has stopped.
    is_stopped: Mutex<bool>,
    goes_on: Condvar,
}

impl Listener {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// The messages that came on a topic, in order.
    pub fn entries(&self, topic: &Topic) -> Vec<Entry> {
        let of_topic = |told| match told {
            Told::Published(on, Publication::Message { entry, .. }) if on == *topic => Some(entry),
            _ => None,
        };
        self.told().into_iter().filter_map(of_topic).collect()
    }

    /// The bodies of events that came on a topic, in order.
    pub fn events(&self, topic: &Topic) -> Vec<String> {
        let of_topic = |told| match told {
            Told::Published(on, Publication::Event { body, .. }) if on == *topic => {
                Some(String::from_utf8(body.to_vec()).unwrap())
            }
            _ => None,
        };
        self.told().into_iter().filter_map(of_topic).collect()
    }

    /// Waits until something holds for all that was told.
    pub async fn until(&self, what: &str, holds: impl Fn(&[Told]) -> bool) {
        let wait = async {
            loop {
                let more = self.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                if holds(&self.told.lock().unwrap()) {
                    return;
                }
                more.await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let told = self.told();
            let last = &told[told.len().saturating_sub(20)..];
            panic!("it never came to this: {what}; told {} things, the last: {last:#?}", told.len());
        }
    }

    /// Waits for so many messages on a topic, and returns them.
    pub async fn messages(&self, topic: &Topic, count: usize) -> Vec<Entry> {
        let is_one =
            |told: &&Told| matches!(told, Told::Published(on, Publication::Message { .. }) if on == topic);
        self.until(&format!("{count} messages"), |told| told.iter().filter(is_one).count() >= count).await;
        self.entries(topic)
    }

    /// Takes nothing until [`Listener::go_on`].
    pub fn stop(&self) {
        *self.is_stopped.lock().unwrap() = true;
    }

    pub fn go_on(&self) {
        *self.is_stopped.lock().unwrap() = false;
        self.goes_on.notify_all();
    }

    fn tell(&self, told: impl IntoIterator<Item = Told>) {
        self.told.lock().unwrap().extend(told);
        self.more.notify_waiters();
    }
}

impl Deliver for Listener {
    fn deliver(&self, topic: &Topic, publications: &mut Vec<Publication>) {
        if *self.is_stopped.lock().unwrap() {
            // Not with a task in this worker's hands that the node needs to go on meanwhile; and not for ever, where the
            // test has failed.
            tokio::task::block_in_place(|| {
                let stopped = self.is_stopped.lock().unwrap();
                drop(self.goes_on.wait_timeout_while(stopped, PATIENCE, |is_stopped| *is_stopped).unwrap());
            });
        }
        assert!(!publications.is_empty() && publications.len() <= 64);
        self.tell(publications.drain(..).map(|publication| Told::Published(topic.clone(), publication)));
    }

    fn interrupted(&self, topics: &[Topic], _how: Interruption) {
        self.tell(topics.iter().cloned().map(Told::Interrupted));
    }

    fn restored(&self, topics: &[Topic]) {
        self.tell(topics.iter().cloned().map(Told::Restored));
    }

    fn notice(&self, notice: Notice) {
        self.tell([Told::Notice(notice)]);
    }
}

/// Polls until it is true.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is_true: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_true().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
