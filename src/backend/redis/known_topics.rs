//! Logs that are known to have more keys than others. Owns a bounded memory of them, so that what is done with such a log is one call and
//! not two; a log that is not in it costs one more call. Used by the broker.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::protocol::Topic;

/// The most logs that are remembered. Above it, all are forgotten.
const MAX_TOPICS: usize = 10_000;

/// The logs that are known to have them.
#[derive(Default)]
pub(super) struct KnownTopics(Mutex<HashSet<Topic>>);

impl KnownTopics {
    /// Whether this log is known to have them.
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
