//! Logs and channels in Redis. Owns what `publish.lua` and `history.lua` are called with, and the choice of a connection for each
//! topic; the scripts do the atomic work. Called by `chat` through [`Broker`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, Value, from_redis_value};

use super::clock::LastTime;
use super::codec;
use super::command_connection::{CommandConnection, shard};
use super::error::ConnectionRole;
use super::format_level::FormatLevel;
use super::keys::Keys;
use super::pool::Pool;
use super::probe;
use super::publish_queue::{PublishItem, PublishQueue, PublishTerms, dedupe_hash};
use super::script::HISTORY;
use super::subscriber::Subscriber;
use crate::backend::{BackendError, Broker, Entry, Notice, Page, PageLimit, Publish, Range, Stored};
use crate::config::History;
use crate::protocol::{ConnectionId, Epoch, Position, Topic};

/// Number of logs whose tops are read in one round trip.
const TOPS_PER_TRIP: usize = 100;

/// Below this remaining time to live, reading a log's top also extends it. So an unused log is extended once a day.
const META_TTL_FLOOR_MS: i64 = 30 * 86_400_000;

/// How long a room that never had a message keeps its epoch after its last member left, at least: as in the embedded store.
const EMPTY_ROOM_TTL: Duration = Duration::from_secs(600);

/// Broker, as one node uses it.
pub(super) struct RedisBroker {
    pub(super) keys: Keys,
    pub(super) retention: History,
    pub(super) commands: Arc<[CommandConnection]>,
    /// One for each of `commands`.
    pub(super) publishes: Vec<PublishQueue>,
    pub(super) subscribers: Arc<[Subscriber]>,
    pub(super) pool: Pool,
    /// When Redis last accepted a write.
    pub(super) written: Arc<LastTime>,
    /// Whether nodes of an earlier version run.
    pub(super) format: Arc<FormatLevel>,
    /// How often the node looks at a topic without new messages.
    pub(super) idle_check: Duration,
}

impl RedisBroker {
    fn max_age_ms(&self) -> u64 {
        self.retention.max_age.as_millis() as u64
    }

    /// Time to live of a room that never had a message. A node with members looks at it every `idle_check`, and extends it
    /// when half is left.
    fn empty_room_ttl_ms(&self) -> u64 {
        EMPTY_ROOM_TTL.max(4 * self.idle_check).as_millis() as u64
    }

    /// Below this remaining time to live, reading the top of a log also extends it.
    fn ttl_floor_ms(&self, topic: &Topic, seq: u64) -> i64 {
        match (topic, seq) {
            (Topic::Room(_), 0) => self.empty_room_ttl_ms() as i64 / 2,
            _ => META_TTL_FLOOR_MS,
        }
    }

    async fn page(
        &self,
        topic: &Topic,
        direction: &str,
        seq: u64,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        let epoch = Epoch::generate().to_string();
        let keys = self.keys.log(topic).meta_and_stream();
        let empty_ttl = match topic {
            Topic::Room(_) => self.empty_room_ttl_ms().to_string(),
            Topic::User(_) => String::new(),
        };
        let fill = |cmd: &mut Cmd| {
            cmd.arg(&keys).arg(&epoch).arg(self.retention.max_messages).arg(self.max_age_ms());
            cmd.arg(direction).arg(seq).arg(limit.messages).arg(limit.bytes).arg(&empty_ttl);
        };
        // A long page would delay what is published on the same connection.
        let reply: (String, u64, String, bool, Vec<Value>) = if limit.messages <= 1 {
            shard(&self.commands, topic).script(&HISTORY, keys.len(), fill).await?
        } else {
            self.pool.script(&HISTORY, keys.len(), fill).await?
        };
        let (epoch, seq, message_id, more, entries) = reply;
        let top = codec::position(&epoch, seq, &message_id)
            .ok_or_else(|| ConnectionRole::Pool.malformed_reply())?;
        let entries: Option<Vec<Entry>> = entries.into_iter().map(codec::parse_entry).collect();
        let entries = entries.ok_or_else(|| ConnectionRole::Pool.malformed_reply())?;
        Ok(Page { top, entries, more })
    }

    async fn top(&self, topic: &Topic) -> Result<Position, BackendError> {
        let none = PageLimit { messages: 0, bytes: 0 };
        Ok(self.page(topic, "top", 0, none).await?.top)
    }
}

/// Parses the reply of `publish.lua` for one item: `<epoch> <seq> <message id> <sent_at> <duplicate> <begun>`.
fn stored(reply: &Value) -> Option<Stored> {
    let Value::BulkString(text) = reply else { return None };
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let position = codec::position(words.next()?, words.next()?.parse().ok()?, words.next()?)?;
    let sent_at = words.next()?.parse().ok()?;
    let duplicate = words.next()? == "1";
    Some(Stored { position, sent_at, duplicate, logs_begun: words.next()?.parse().ok()? })
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
        let publishes = shard(&self.publishes, last);
        let mut keys = Vec::with_capacity(4 * topics.len());
        for log in topics.iter().map(|topic| self.keys.log(topic)) {
            keys.extend(log.meta_and_stream());
            if publish.dedupe_key.is_some() {
                keys.extend(log.dedupe());
            }
        }
        let log = |topic: &Topic| (self.keys.channel_on_server(topic), Epoch::generate().to_string());
        let terms = match publish.owner {
            _ if publish.is_repeat_only => PublishTerms::OnlyRepeat,
            Some(_) => PublishTerms::Charged,
            None => PublishTerms::Free,
        };
        let item = PublishItem {
            keys,
            dedupe: publish.dedupe_key.map(|key| (dedupe_hash(&key), key)),
            message_id: publish.message_id.to_string(),
            sent_at: publish.sent_at,
            terms,
            body: publish.body,
            logs: topics.iter().map(log).collect(),
        };
        let reply = publishes.publish(item).await?;
        stored(&reply).ok_or_else(|| ConnectionRole::Command.malformed_reply())
    }

    async fn announce(
        &self,
        topic: &Topic,
        origin: Option<ConnectionId>,
        body: Bytes,
    ) -> Result<(), BackendError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.keys.channel_on_server(topic)).arg(codec::event(origin, &body));
        shard(&self.commands, topic).command::<()>(&publish).await
    }

    async fn notify(&self, notice: Notice) -> Result<(), BackendError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.keys.notices_on_server()).arg(codec::notice(&notice));
        self.commands[0].command::<()>(&publish).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<(), BackendError> {
        shard(&self.subscribers, topic).subscribe(self.keys.channel(topic), topic).await
    }

    fn unsubscribe(&self, topic: &Topic) {
        shard(&self.subscribers, topic).unsubscribe(&self.keys.channel(topic));
    }

    async fn history(&self, topic: &Topic, range: Range, limit: PageLimit) -> Result<Page, BackendError> {
        // The script returns at least one entry if it may return any.
        let limit = PageLimit { messages: limit.messages.max(1), ..limit };
        match range {
            // No entry has a seq below 1, and XREVRANGE rejects an exclusive end of 0-0.
            Range::Top | Range::Before(0) => self.page(topic, "top", 0, limit).await,
            Range::After(seq) => self.page(topic, "after", seq, limit).await,
            Range::Newest => Ok(reversed(self.page(topic, "newest", 0, limit).await?)),
            Range::Before(seq) => Ok(reversed(self.page(topic, "before", seq, limit).await?)),
        }
    }

    async fn tops(&self, topics: &[Topic]) -> Result<Vec<Position>, BackendError> {
        type Meta = (Option<String>, Option<u64>, Option<String>, Option<u64>);
        let mut tops = Vec::with_capacity(topics.len());
        for topics in topics.chunks(TOPS_PER_TRIP) {
            // Plain reads: nodes read the tops of quiet topics every few seconds, which must not write to Redis.
            let mut pipeline = redis::Pipeline::with_capacity(2 * topics.len());
            for topic in topics {
                let meta = self.keys.log(topic).meta();
                pipeline.cmd("HMGET").arg(&meta).arg(&["e", "s", "i", "n"]);
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
                    (Some(epoch), Some(seq), Some(id), None) if ttl >= self.ttl_floor_ms(topic, seq) => {
                        codec::position(&epoch, seq, &id)
                            .ok_or_else(|| ConnectionRole::Pool.malformed_reply())?
                    }
                    // There is no log yet, its user has not read it yet, or its expiry must be extended.
                    _ => self.top(topic).await?,
                };
                tops.push(top);
            }
        }
        Ok(tops)
    }

    fn ready(&self) -> bool {
        self.format.is_known() && probe::ready(&self.commands, &self.subscribers, &self.written)
    }
}

/// Puts the entries of a page that was read newest first into ascending order.
fn reversed(mut page: Page) -> Page {
    page.entries.reverse();
    page
}
