//! Logs and channels in Redis. Owns the calls of `publish.lua` and `history.lua`, and the choice of a connection for each
//! topic; the scripts do the atomic work. Called by `chat` through [`Broker`].

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, Value, from_redis_value};

use super::clock::LastTime;
use super::codec;
use super::command_connection::CommandConnection;
use super::error::ConnectionRole;
use super::keys::{KEYS_PER_LOG, Keys, LogKeys};
use super::pool::Pool;
use super::probe;
use super::script::{HISTORY, PUBLISH};
use super::subscriber::Subscriber;
use crate::backend::{BackendError, Broker, Entry, Notice, Page, PageLimit, Publish, Range, Stored};
use crate::config::History;
use crate::protocol::{ConnectionId, Epoch, Position, Topic};

/// Number of logs whose tops are read in one round trip.
const TOPS_PER_TRIP: usize = 100;

/// Below this remaining time to live, reading a log's top also extends it. So an unused log is extended once a day.
const META_TTL_FLOOR_MS: i64 = 30 * 86_400_000;

/// Broker, as one node uses it.
pub(super) struct RedisBroker {
    pub(super) keys: Keys,
    pub(super) retention: History,
    pub(super) commands: Arc<[CommandConnection]>,
    pub(super) subscribers: Arc<[Subscriber]>,
    pub(super) pool: Pool,
    /// When Redis last accepted a write.
    pub(super) written: Arc<LastTime>,
}

/// Returns the connection of a topic. It is always the same one, so that the connection keeps the order of the topic.
fn shard<'a, T>(connections: &'a [T], topic: &Topic) -> &'a T {
    let mut hasher = DefaultHasher::new();
    topic.hash(&mut hasher);
    &connections[(hasher.finish() % connections.len() as u64) as usize]
}

impl RedisBroker {
    fn max_age_ms(&self) -> u64 {
        self.retention.max_age.as_millis() as u64
    }

    async fn page(
        &self,
        log: &LogKeys,
        direction: &str,
        seq: u64,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        let epoch = Epoch::generate().to_string();
        let reply: (String, u64, String, bool, Vec<Value>) = self
            .pool
            .script(&HISTORY, KEYS_PER_LOG, |cmd| {
                cmd.arg(&log.all()).arg(&epoch).arg(self.max_age_ms());
                cmd.arg(direction).arg(seq).arg(limit.messages).arg(limit.bytes);
            })
            .await?;
        let (epoch, seq, message_id, more, entries) = reply;
        let top = codec::position(&epoch, seq, &message_id)
            .ok_or_else(|| ConnectionRole::Pool.malformed_reply())?;
        let entries: Option<Vec<Entry>> = entries.into_iter().map(codec::parse_entry).collect();
        let entries = entries.ok_or_else(|| ConnectionRole::Pool.malformed_reply())?;
        Ok(Page { top, entries, more })
    }

    async fn top(&self, topic: &Topic) -> Result<Position, BackendError> {
        let none = PageLimit { messages: 0, bytes: 0 };
        Ok(self.page(&self.keys.log(topic), "top", 0, none).await?.top)
    }
}

fn stored(reply: Value) -> Option<Stored> {
    let (epoch, seq, id, sent_at, duplicate): (String, u64, String, u64, bool) =
        from_redis_value(reply).ok()?;
    Some(Stored { position: codec::position(&epoch, seq, &id)?, sent_at, duplicate })
}

#[async_trait]
impl Broker for RedisBroker {
    async fn publish(&self, publish: Publish) -> Result<Stored, BackendError> {
        let mut topics = publish.topics;
        // A private message to the sender itself goes to one log, once.
        topics.dedup();
        let Some(last) = topics.last() else {
            return Err(BackendError::Refused("a message needs a topic".into()));
        };
        let command_connection = shard(&self.commands, last);
        let message_id = publish.message_id.to_string();
        let epochs: Vec<String> = topics.iter().map(|_| Epoch::generate().to_string()).collect();
        let fill = |cmd: &mut Cmd| {
            for topic in &topics {
                cmd.arg(&self.keys.log(topic).all());
            }
            cmd.arg(&publish.dedupe_key).arg(&message_id).arg(publish.sent_at).arg(&publish.body[..]);
            cmd.arg(self.retention.max_messages).arg(self.max_age_ms()).arg(self.retention.max_bytes);
            cmd.arg(self.retention.dedupe_window.as_millis() as u64);
            for (topic, epoch) in topics.iter().zip(&epochs) {
                cmd.arg(self.keys.channel(topic)).arg(epoch);
            }
        };
        let reply = command_connection.script(&PUBLISH, topics.len() * KEYS_PER_LOG, fill).await?;
        stored(reply).ok_or_else(|| ConnectionRole::Command.malformed_reply())
    }

    async fn announce(
        &self,
        topic: &Topic,
        origin: Option<ConnectionId>,
        body: Bytes,
    ) -> Result<(), BackendError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.keys.channel(topic)).arg(codec::event(origin, &body));
        shard(&self.commands, topic).command(&publish).await.map(drop)
    }

    async fn notify(&self, notice: Notice) -> Result<(), BackendError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.keys.notices()).arg(codec::notice(&notice));
        self.commands[0].command(&publish).await.map(drop)
    }

    async fn subscribe(&self, topic: &Topic) -> Result<(), BackendError> {
        shard(&self.subscribers, topic).subscribe(self.keys.channel(topic), topic).await
    }

    fn unsubscribe(&self, topic: &Topic) {
        shard(&self.subscribers, topic).unsubscribe(&self.keys.channel(topic));
    }

    async fn history(&self, topic: &Topic, range: Range, limit: PageLimit) -> Result<Page, BackendError> {
        let log = self.keys.log(topic);
        // The script returns at least one entry if it may return any.
        let limit = PageLimit { messages: limit.messages.max(1), ..limit };
        match range {
            // No entry has a seq below 1, and XREVRANGE rejects an exclusive end of 0-0.
            Range::Top | Range::Before(0) => self.page(&log, "top", 0, limit).await,
            Range::After(seq) => self.page(&log, "after", seq, limit).await,
            Range::Newest => Ok(reversed(self.page(&log, "newest", 0, limit).await?)),
            Range::Before(seq) => Ok(reversed(self.page(&log, "before", seq, limit).await?)),
        }
    }

    async fn tops(&self, topics: &[Topic]) -> Result<Vec<Position>, BackendError> {
        type Meta = (Option<String>, Option<u64>, Option<String>);
        let mut tops = Vec::with_capacity(topics.len());
        for topics in topics.chunks(TOPS_PER_TRIP) {
            // Plain reads: nodes read the tops of quiet topics every few seconds, which must not write to Redis.
            let mut pipeline = redis::Pipeline::with_capacity(2 * topics.len());
            for topic in topics {
                let meta = self.keys.log(topic).meta();
                pipeline.cmd("HMGET").arg(&meta).arg(&["e", "s", "i"]);
                pipeline.cmd("PTTL").arg(&meta);
            }
            let replies: Vec<Value> = self.pool.pipeline(&pipeline).await?;
            let mut replies = replies.into_iter();
            for topic in topics {
                let (Some(meta), Some(ttl)) = (replies.next(), replies.next()) else {
                    return Err(ConnectionRole::Pool.malformed_reply());
                };
                let meta: Meta =
                    from_redis_value(meta).map_err(|_| ConnectionRole::Pool.malformed_reply())?;
                let ttl: i64 = from_redis_value(ttl).map_err(|_| ConnectionRole::Pool.malformed_reply())?;
                let top = match meta {
                    (Some(epoch), Some(seq), Some(id)) if ttl >= META_TTL_FLOOR_MS => {
                        codec::position(&epoch, seq, &id)
                            .ok_or_else(|| ConnectionRole::Pool.malformed_reply())?
                    }
                    // There is no log yet, or its expiry must be extended.
                    _ => self.top(topic).await?,
                };
                tops.push(top);
            }
        }
        Ok(tops)
    }

    fn ready(&self) -> bool {
        probe::ready(&self.commands, &self.subscribers, &self.written)
    }
}

/// Puts the entries of a page that was read newest first into ascending order.
fn reversed(mut page: Page) -> Page {
    page.entries.reverse();
    page
}
