//! A backend with a listener, for tests that use the traits directly. Owns the tasks of the backend. Used in tests of the
//! backends and of recovery.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use chatnode::backend::{
    Asker, Backend, BackendError, Embedded, Entry, Links, NewEntry, Page, PageLimit, Publish, Range, Stored,
};
use chatnode::config::Config;
use chatnode::protocol::{MessageId, RoomName, Topic, UserName};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listener::{Listener, eventually};
use super::redis_server::RedisServer;

/// The backend of one node, and its deliveries.
pub struct Harness {
    pub backend: Backend,
    pub listener: Arc<Listener>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// More than any test stores.
pub const ALL: PageLimit = PageLimit { messages: 10_000, bytes: usize::MAX >> 1 };

impl Harness {
    /// A node on a Redis, once it is ready.
    pub async fn redis(server: &RedisServer, tune: impl FnOnce(&mut Config)) -> Self {
        let harness = Self::redis_unready(&server.url(), tune).await;
        harness.ready().await;
        harness
    }

    /// A node on an embedded store.
    pub fn embedded(store: &OnceLock<Embedded>, tune: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        tune(&mut config);
        let listener = Listener::new();
        let backend = store.get_or_init(|| Embedded::new(&config)).join(&config, listener.clone());
        Self { backend, listener, tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// A node on a Redis that may be unavailable.
    pub async fn redis_unready(url: &str, tune: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.redis.url = Some(url.into());
        tune(&mut config);
        let (listener, tasks, stop) = (Listener::new(), TaskTracker::new(), CancellationToken::new());
        let (backend, _warnings) =
            chatnode::backend::redis::connect(&config, listener.clone(), &tasks, stop.clone()).await.unwrap();
        Self { backend, listener, tasks, stop }
    }

    pub async fn ready(&self) {
        eventually("the backend is ready", || async { self.backend.broker.ready() }).await;
    }

    /// Ends all tasks, and checks that they end.
    pub async fn shut_down(self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(super::listener::PATIENCE, self.tasks.wait()).await.unwrap();
    }

    pub async fn publish(&self, topics: &[&Topic], key: &str, body: &str) -> Result<Stored, BackendError> {
        self.backend.broker.publish(message(topics, key, body)).await
    }

    /// Publishes with a new key.
    pub async fn say(&self, topic: &Topic, body: &str) -> Stored {
        self.publish(&[topic], &MessageId::generate().to_string(), body).await.unwrap()
    }

    pub async fn page(&self, topic: &Topic, range: Range, limit: PageLimit) -> Page {
        self.backend.broker.history(topic, range, limit).await.unwrap()
    }

    /// All that the log holds.
    pub async fn log(&self, topic: &Topic) -> Vec<Entry> {
        self.page(topic, Range::After(0), ALL).await.entries
    }

    pub async fn subscribe(&self, topic: &Topic) {
        self.backend.broker.subscribe(topic).await.unwrap();
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn message(topics: &[&Topic], key: &str, body: &str) -> Publish {
    Publish {
        topics: topics.iter().map(|topic| (*topic).clone()).collect(),
        dedupe_key: Some(key.into()),
        message_id: MessageId::generate(),
        sent_at: 1_700_000_000_123,
        body: Bytes::copy_from_slice(body.as_bytes()),
        owner: None,
        is_repeat_only: false,
        asker: Asker::Server,
        entry: NewEntry::Message(Links::default()),
    }
}

pub fn room_name(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

pub fn user_name(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

pub fn room(name: &str) -> Topic {
    Topic::Room(room_name(name))
}

pub fn user(name: &str) -> Topic {
    Topic::User(user_name(name))
}

pub fn seqs(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq).collect()
}

pub fn bodies(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| std::str::from_utf8(&entry.body).unwrap()).collect()
}
