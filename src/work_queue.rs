//! A queue of keys to work on, with the contract of Kubernetes' work queue. Owns which keys wait, in which order, and
//! which are in hand; what is done for a key is its user's. A leaf: used by the chat layer for topics and departures,
//! and by the Redis backend for subscriptions.
//!
//! The contract: a key waits at most once, however often it is added. It is in hand from [`WorkQueue::try_next`] until
//! [`WorkQueue::done`], and nobody else gets it meanwhile: to have a key in hand is a lock on what it stands for. A key
//! that is added while it is in hand waits again once it is done, so no change that came during the work is missed.
//! The queue therefore never holds more than there are keys.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Keys that wait and keys in hand.
#[derive(Debug)]
pub(crate) struct WorkQueue<K> {
    keys: Mutex<Keys<K>>,
    added: Notify,
}

#[derive(Debug)]
struct Keys<K> {
    /// By place, the oldest first: a key in the middle can be taken out.
    waiting: BTreeMap<u64, K>,
    places: HashMap<K, u64>,
    /// True where the key was added while it was in hand.
    in_hand: HashMap<K, bool>,
    last_place: u64,
}

impl<K: Clone + Eq + Hash> Keys<K> {
    /// False if the key has to wait until it is done, or waits already.
    fn add(&mut self, key: K) -> bool {
        if let Some(again) = self.in_hand.get_mut(&key) {
            *again = true;
            return false;
        }
        if self.places.contains_key(&key) {
            return false;
        }
        self.last_place += 1;
        self.places.insert(key.clone(), self.last_place);
        self.waiting.insert(self.last_place, key);
        true
    }
}

impl<K> Default for WorkQueue<K> {
    fn default() -> Self {
        let keys =
            Keys { waiting: BTreeMap::new(), places: HashMap::new(), in_hand: HashMap::new(), last_place: 0 };
        Self { keys: Mutex::new(keys), added: Notify::new() }
    }
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    fn keys(&self) -> MutexGuard<'_, Keys<K>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a key at the end, unless it waits already. A key in hand is put there once it is done.
    pub(crate) fn add(&self, key: K) {
        if self.keys().add(key) {
            self.added.notify_one();
        }
    }

    /// Takes the oldest key in hand, if one waits. The caller has to call [`WorkQueue::done`] for it.
    pub(crate) fn try_next(&self) -> Option<K> {
        let mut keys = self.keys();
        let (_, key) = keys.waiting.pop_first()?;
        keys.places.remove(&key);
        keys.in_hand.insert(key.clone(), false);
        Some(key)
    }

    /// Takes the oldest key in hand, and waits for one where none waits. Nothing is lost if the future is dropped.
    async fn next(&self) -> K {
        loop {
            let added = self.added.notified();
            if let Some(key) = self.try_next() {
                return key;
            }
            added.await;
        }
    }

    /// Ends the work on a key; it waits again if it was added meanwhile. No effect on a key that is not in hand.
    pub(crate) fn done<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let mut keys = self.keys();
        let is_ready = match keys.in_hand.remove_entry(key) {
            Some((key, true)) => keys.add(key),
            _ => false,
        };
        drop(keys);
        if is_ready {
            self.added.notify_one();
        }
    }

    /// Takes a key out of the queue, wherever it stands. A key in hand stays there, and does not wait again afterwards.
    pub(crate) fn remove<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let mut keys = self.keys();
        if let Some(place) = keys.places.remove(key) {
            keys.waiting.remove(&place);
        }
        if let Some(again) = keys.in_hand.get_mut(key) {
            *again = false;
        }
    }

    /// Forgets every key, those in hand included.
    pub(crate) fn clear(&self) {
        let mut keys = self.keys();
        keys.waiting.clear();
        keys.places.clear();
        keys.in_hand.clear();
    }

    /// Works on keys as they come, on at most `limit` at a time, until `stop`. Work that is under way then is dropped.
    pub(crate) async fn run<F: Future<Output = ()>>(
        &self,
        limit: usize,
        stop: CancellationToken,
        work: impl Fn(K) -> F,
    ) {
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = under_way.next(), if !under_way.is_empty() => {}
                key = self.next(), if under_way.len() < limit => {
                    let working = work(key.clone());
                    under_way.push(async move {
                        working.await;
                        self.done(&key);
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tokio::sync::Semaphore;

    use super::*;

    fn all(queue: &WorkQueue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.try_next()).collect()
    }

    #[test]
    fn keys_wait_once_in_the_order_of_their_first_add() {
        let queue = WorkQueue::default();
        ["a", "b", "a", "c", "b"].into_iter().for_each(|key| queue.add(key));
        assert_eq!(all(&queue), ["a", "b", "c"]);
    }

    #[test]
    fn a_removed_key_goes_to_the_end_when_it_is_added_again() {
        let queue = WorkQueue::default();
        ["a", "b", "c"].into_iter().for_each(|key| queue.add(key));
        queue.remove(&"b");
        queue.remove(&"unknown");
        queue.add("b");
        assert_eq!(all(&queue), ["a", "c", "b"]);
    }

    #[test]
    fn a_key_added_while_in_hand_waits_again_once_done() {
        let queue = WorkQueue::default();
        queue.add("a");
        assert_eq!(queue.try_next(), Some("a"));
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.try_next(), None);
        queue.done(&"a");
        assert_eq!(all(&queue), ["a"]);
        queue.done(&"a");
        assert_eq!(queue.try_next(), None);
    }

    #[test]
    fn clear_forgets_keys_that_wait_and_keys_in_hand() {
        let queue = WorkQueue::default();
        ["a", "b"].into_iter().for_each(|key| queue.add(key));
        assert_eq!(queue.try_next(), Some("a"));
        queue.add("a");
        queue.clear();
        queue.done(&"a");
        assert_eq!(queue.try_next(), None);
        queue.add("a");
        assert_eq!(queue.try_next(), Some("a"));
    }

    #[tokio::test]
    async fn run_works_on_at_most_limit_keys_at_a_time() {
        let (queue, stop) = (Arc::new(WorkQueue::default()), CancellationToken::new());
        let (started, finish) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        (0..5).for_each(|key| queue.add(key));
        let running = tokio::spawn({
            let (queue, stop) = (queue.clone(), stop.clone());
            let (started, finish) = (started.clone(), finish.clone());
            async move {
                let work = |_| async {
                    started.add_permits(1);
                    finish.acquire().await.unwrap().forget();
                };
                queue.run(2, stop, work).await;
            }
        });
        started.acquire_many(2).await.unwrap().forget();
        tokio::task::yield_now().await;
        assert_eq!(started.available_permits(), 0);
        finish.add_permits(5);
        started.acquire_many(3).await.unwrap().forget();
        // A key that comes later wakes the loop.
        queue.add(9);
        finish.add_permits(1);
        started.acquire().await.unwrap().forget();
        stop.cancel();
        running.await.unwrap();
    }

    #[derive(Debug, Clone, Copy)]
    enum Call {
        Add(u8),
        Next,
        Done(u8),
        Remove(u8),
        Clear,
    }

    fn call() -> impl Strategy<Value = Call> {
        let key = || 0_u8..4;
        prop_oneof![
            6 => key().prop_map(Call::Add),
            5 => Just(Call::Next),
            5 => key().prop_map(Call::Done),
            1 => key().prop_map(Call::Remove),
            1 => Just(Call::Clear),
        ]
    }

    /// The contract in its simplest form.
    #[derive(Default)]
    struct Model {
        waiting: Vec<u8>,
        in_hand: Vec<u8>,
        again: Vec<u8>,
    }

    impl Model {
        fn add(&mut self, key: u8) {
            if self.in_hand.contains(&key) {
                self.again.push(key);
            } else if !self.waiting.contains(&key) {
                self.waiting.push(key);
            }
        }

        fn next(&mut self) -> Option<u8> {
            let key = (!self.waiting.is_empty()).then(|| self.waiting.remove(0))?;
            self.in_hand.push(key);
            Some(key)
        }

        fn done(&mut self, key: u8) {
            self.in_hand.retain(|other| *other != key);
            if self.again.contains(&key) {
                self.again.retain(|other| *other != key);
                self.add(key);
            }
        }

        fn remove(&mut self, key: u8) {
            self.waiting.retain(|other| *other != key);
            self.again.retain(|other| *other != key);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_sequence_of_calls_agrees_with_the_model(calls in prop::collection::vec(call(), 1..200)) {
            let (queue, mut model) = (WorkQueue::default(), Model::default());
            for call in calls {
                match call {
                    Call::Add(key) => { queue.add(key); model.add(key); }
                    Call::Next => prop_assert_eq!(queue.try_next(), model.next()),
                    Call::Done(key) => { queue.done(&key); model.done(key); }
                    Call::Remove(key) => { queue.remove(&key); model.remove(key); }
                    Call::Clear => { queue.clear(); model = Model::default(); }
                }
                let keys = queue.keys();
                prop_assert_eq!(keys.waiting.len(), keys.places.len(), "a key has one place");
            }
            while let Some(key) = model.next() {
                prop_assert_eq!(queue.try_next(), Some(key));
            }
            prop_assert_eq!(queue.try_next(), None);
        }
    }
}
