//! Which logs have changes of messages. Owns a bounded memory of them, so that a page of such a log is one call and not two; a log
//! that is not in it costs one more call. Used by the broker.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::protocol::Topic;

/// The most logs that are remembered. Above it, all are forgotten.
const MAX_TOPICS: usize = 10_000;

/// The logs that are known to have changes.
#[derive(Default)]
pub(super) struct ChangedTopics(Mutex<HashSet<Topic>>);

impl ChangedTopics {
    /// Whether this log is known to have changes.
    pub(super) fn has(&self, topic: &Topic) -> bool {
        self.lock().contains(topic)
    }

    /// Remembers a log.
    pub(super) fn insert(&self, topic: &Topic) {
        let mut topics = self.lock();
        if topics.len() >= MAX_TOPICS {
            topics.clear();
        }
        topics.insert(topic.clone());
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Topic>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
