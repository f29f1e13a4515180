//! Logs and channels in Redis. Owns what `publish.lua` and `history.lua` are called with, and the choice of a connection for each
//! topic; the scripts do the atomic work. Called by `chat` through [`Broker`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, FromRedisValue, Pipeline, Value, from_redis_value};

use super::codec;
use super::error::ConnectionRole;
use super::format_level::FormatLevel;
use super::keys::{Keys, Layout};
use super::known_topics::KnownTopics;
use super::probe::Readiness;
use super::publish_item::PublishTerms;
use super::router::Router;
use super::script::{HISTORY, Script, UNREAD};
use super::server::Lane;
use super::subscribers::Subscribers;
use crate::backend::{
    BackendError, Broker, Entry, Fold, MessagePage, NewEntry, Notice, Page, PageLimit, Publish, Range,
    RoomClaim, RoomUsers, Stored, Unread, UserRights,
};
use crate::config::History;
use crate::protocol::{ConnectionId, Epoch, Position, RoomName, Topic, UserName};

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
    pub(super) router: Router,
    pub(super) subscribers: Subscribers,
    pub(super) readiness: Readiness,
    /// Logs whose pages need the hash of changes.
    pub(super) changed: KnownTopics,
    /// Rooms with rights, and users who block others.
    pub(super) with_rights: KnownTopics,
    /// The command that publishes to the channels of topics.
    pub(super) publish_command: &'static str,
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

    /// Calls a script that reads a log, and names the hash of changes only if the log is known to have one: most have none. If the
    /// script needs it, it is called once more. Returns also whether the log has one, because a message was changed once.
    async fn read_log<T: FromRedisValue>(
        &self,
        topic: &Topic,
        (lane, script): (Lane, &Script),
        fill: impl Fn(&mut Cmd) + Send + Sync,
        needs_changes: impl Fn(&T) -> bool,
    ) -> Result<(T, bool), BackendError> {
        let log = self.keys.log(topic);
        let mut keys = log.meta_and_stream().to_vec();
        if self.changed.has(topic) {
            keys.push(log.changes());
        }
        loop {
            let call = |cmd: &mut Cmd| {
                cmd.arg(&keys);
                fill(cmd);
            };
            let reply = self.router.script((lane, &keys[0]), script, keys.len(), call).await?;
            if keys.len() > 2 || !needs_changes(&reply) {
                return Ok((reply, keys.len() > 2));
            }
            self.changed.insert(topic);
            keys.push(log.changes());
        }
    }

    /// Reads a page by `history.lua`. With `reader`, only messages, with their changes: then the folds are not empty, and the lowest
    /// and the highest `seq` that were looked at come too.
    async fn read(
        &self,
        topic: &Topic,
        (direction, seq): (&str, u64),
        limit: PageLimit,
        reader: Option<&str>,
    ) -> Result<(Page, (u64, u64), Vec<Fold>), BackendError> {
        let epoch = Epoch::generate().to_string();
        let empty_ttl = match topic {
            Topic::Room(_) => self.empty_room_ttl_ms().to_string(),
            Topic::User(_) => String::new(),
        };
        // A long page would delay what is published on the same connection.
        let lane = if limit.messages <= 1 { Lane::Short } else { Lane::Long };
        let fill = |cmd: &mut Cmd| {
            cmd.arg(&epoch).arg(self.retention.max_messages).arg(self.max_age_ms());
            cmd.arg(direction).arg(seq).arg(limit.messages).arg(limit.bytes).arg(&empty_ttl);
            cmd.arg(u8::from(reader.is_some())).arg(reader.unwrap_or_default());
        };
        type Reply = (String, u64, String, bool, Vec<Value>, u64, u64, Vec<Value>, bool);
        let needs_changes = |reply: &Reply| reply.0.is_empty();
        let (reply, has_changes) = self.read_log(topic, (lane, &HISTORY), fill, needs_changes).await?;
        let (epoch, seq, message_id, more, entries, lowest, highest, folds, has_rights) = reply;
        let top = codec::position(&epoch, seq, &message_id)
            .ok_or_else(|| ConnectionRole::Pool.malformed_reply())?;
        let entries: Option<Vec<Entry>> = entries.into_iter().map(codec::parse_entry).collect();
        let folds: Option<Vec<Fold>> = folds.into_iter().map(codec::parse_fold).collect();
        let (Some(entries), Some(folds)) = (entries, folds) else {
            return Err(ConnectionRole::Pool.malformed_reply());
        };
        Ok((Page { top, entries, more, has_changes, has_rights }, (lowest, highest), folds))
    }

    /// Reads a page with the script.
    pub(super) async fn page(
        &self,
        topic: &Topic,
        direction: &str,
        seq: u64,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        Ok(self.read(topic, (direction, seq), limit, None).await?.0)
    }

    /// The top of a log from the replies to `HMGET` and `PTTL`. `None` if there is no log yet, its user has not read it yet, or its
    /// expiry must be extended.
    fn known_top(&self, topic: &Topic, replies: Vec<Value>) -> Result<Option<Position>, BackendError> {
        let malformed = || ConnectionRole::Pool.malformed_reply();
        type Replies = ((Option<String>, Option<String>, Option<String>, Option<u64>), i64);
        let (meta, ttl): Replies = from_redis_value(Value::Array(replies)).map_err(|_| malformed())?;
        let (Some(epoch), Some(seq), Some(id), None) = meta else { return Ok(None) };
        // That of a room with rights begins with a letter, and never expires.
        let has_rights = seq.starts_with('R');
        let seq = seq.trim_start_matches('R').parse().map_err(|_| malformed())?;
        if !has_rights && ttl < self.ttl_floor_ms(topic, seq) {
            return Ok(None);
        }
        codec::position(&epoch, seq, &id).map(Some).ok_or_else(malformed)
    }

    async fn top(&self, topic: &Topic) -> Result<Position, BackendError> {
        let none = PageLimit { messages: 0, bytes: 0 };
        Ok(self.page(topic, "top", 0, none).await?.top)
    }
}

#[async_trait]
impl Broker for RedisBroker {
    async fn publish(&self, mut publish: Publish) -> Result<Stored, BackendError> {
        // A private message to the sender itself goes to one log, once.
        publish.topics.dedup();
        let is_known = match publish.entry {
            NewEntry::Message(_) => true,
            NewEntry::Change(_) => self.format.has_changes(),
            NewEntry::Rights(_) | NewEntry::Note => self.format.has_rights(),
        };
        if !is_known {
            return Err(BackendError::OlderNodes);
        }
        let terms = match publish.owner {
            _ if publish.is_repeat_only => PublishTerms::OnlyRepeat,
            Some(_) => PublishTerms::Charged,
            None => PublishTerms::Free,
        };
        match publish.topics.len() {
            0 => Err(BackendError::Refused("a message needs a topic".into())),
            2.. if self.keys.layout() == Layout::Cluster => self.publish_twice(publish, terms).await,
            _ => self.publish_once(&publish, terms).await,
        }
    }

    async fn announce(
        &self,
        topic: &Topic,
        origin: Option<ConnectionId>,
        body: Bytes,
    ) -> Result<(), BackendError> {
        let channel = self.keys.channel_on_server(topic);
        let mut publish = redis::cmd(self.publish_command);
        publish.arg(&channel).arg(codec::event(origin, &body));
        self.router.command((Lane::Short, &channel), &publish).await
    }

    async fn notify(&self, notice: Notice) -> Result<(), BackendError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.keys.notices_on_server()).arg(codec::notice(&notice));
        self.router.anywhere(Lane::Short, &publish).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<(), BackendError> {
        self.subscribers.subscribe(self.keys.channel(topic), topic).await
    }

    fn unsubscribe(&self, topic: &Topic) {
        self.subscribers.unsubscribe(&self.keys.channel(topic));
    }

    async fn history(&self, topic: &Topic, range: Range, limit: PageLimit) -> Result<Page, BackendError> {
        // The script returns at least one entry if it may return any.
        let limit = PageLimit { messages: limit.messages.max(1), ..limit };
        let (direction, seq) = direction(range);
        let mut page = self.page(topic, direction, seq, limit).await?;
        if !matches!(range, Range::After(_)) {
            page.entries.reverse();
        }
        Ok(page)
    }

    async fn messages(
        &self,
        topic: &Topic,
        range: Range,
        limit: PageLimit,
        reader: Option<&UserName>,
    ) -> Result<MessagePage, BackendError> {
        let limit = PageLimit { messages: limit.messages.max(1), ..limit };
        let reader = reader.map_or("", UserName::as_str);
        let (mut page, looked_at, folds) = self.read(topic, direction(range), limit, Some(reader)).await?;
        if folds.len() != page.entries.len() {
            return Err(ConnectionRole::Pool.malformed_reply());
        }
        let mut messages: Vec<(Entry, Fold)> =
            std::mem::take(&mut page.entries).into_iter().zip(folds).collect();
        if !matches!(range, Range::After(_)) {
            messages.reverse();
        }
        let Page { top, more, has_rights, .. } = page;
        Ok(MessagePage { top, messages, looked_at, more, has_rights })
    }

    async fn unread(
        &self,
        topic: &Topic,
        marker: Option<(Epoch, u64)>,
        user: &UserName,
    ) -> Result<Option<Unread>, BackendError> {
        let (epoch, seq) = marker.map(|(epoch, seq)| (epoch.to_string(), seq)).unwrap_or_default();
        let fill = |cmd: &mut Cmd| {
            cmd.arg(self.retention.max_messages).arg(self.max_age_ms());
            cmd.arg(&epoch).arg(seq).arg(user.as_str());
        };
        type Reply = Option<(String, u64, String, u64, u64, bool)>;
        let needs_changes = |reply: &Reply| reply.as_ref().is_some_and(|(epoch, ..)| epoch.is_empty());
        let (reply, _) = self.read_log(topic, (Lane::Short, &UNREAD), fill, needs_changes).await?;
        let Some((epoch, seq, message_id, messages, mentions, has_rights)) = reply else { return Ok(None) };
        let top = codec::position(&epoch, seq, &message_id)
            .ok_or_else(|| ConnectionRole::Pool.malformed_reply())?;
        Ok(Some(Unread { top, messages, mentions, has_rights }))
    }

    async fn rights(&self, room: &RoomName, user: &UserName) -> Result<Option<UserRights>, BackendError> {
        self.rights_of(room, user).await
    }

    async fn claim_room(
        &self,
        user: &UserName,
        room: &RoomName,
        most: usize,
    ) -> Result<RoomClaim, BackendError> {
        self.claim(user, room, most).await
    }

    async fn release_room(&self, user: &UserName, room: &RoomName) -> Result<(), BackendError> {
        self.claim(user, room, 0).await.map(|_| ())
    }

    async fn users(&self, log: &Topic) -> Result<Option<RoomUsers>, BackendError> {
        self.users_of(log).await
    }

    async fn tops(&self, topics: &[Topic]) -> Result<Vec<Option<Position>>, BackendError> {
        let (mut tops, mut failed) = (Vec::with_capacity(topics.len()), None);
        for topics in topics.chunks(TOPS_PER_TRIP) {
            let keys: Vec<String> = topics.iter().map(|topic| self.keys.log(topic).meta()).collect();
            // Plain reads: nodes read the tops of quiet topics every few seconds, which must not write to Redis.
            let add = |pipeline: &mut Pipeline, meta: &str| {
                pipeline.cmd("HMGET").arg(meta).arg(&["e", "s", "i", "n"]);
                pipeline.cmd("PTTL").arg(meta);
            };
            let replies = self.router.for_each_key(Lane::Long, &keys, 2, add).await;
            for (topic, reply) in topics.iter().zip(replies) {
                let top = match reply.and_then(|reply| self.known_top(topic, reply)) {
                    Ok(Some(top)) => Ok(top),
                    Ok(None) => self.top(topic).await,
                    Err(error) => Err(error),
                };
                tops.push(top.map_err(|error| failed = Some(error)).ok());
            }
        }
        match failed {
            Some(error) if tops.iter().all(Option::is_none) => Err(error),
            _ => Ok(tops),
        }
    }

    fn ready(&self) -> bool {
        self.format.is_known() && self.readiness.is_ready()
    }
}

/// What `history.lua` calls a range. It reads the newest entry first, except in the direction `after`.
fn direction(range: Range) -> (&'static str, u64) {
    match range {
        // No entry has a seq below 1, and XREVRANGE rejects an exclusive end of 0-0.
        Range::Top | Range::Before(0) => ("top", 0),
        Range::After(seq) => ("after", seq),
        Range::Newest => ("newest", 0),
        Range::Before(seq) => ("before", seq),
    }
}
