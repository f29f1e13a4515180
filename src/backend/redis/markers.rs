//! Cursors and read markers in Redis. Owns their text form and their expiry; `mark.lua` makes sure that they only move
//! forward. Called by `chat` through [`Markers`].

use async_trait::async_trait;
use redis::{Cmd, Value, from_redis_value};
use std::collections::HashMap;

use super::codec;
use super::error::ConnectionRole;
use super::keys::Keys;
use super::router::Router;
use super::script::MARK;
use super::server::Lane;
use crate::backend::{BackendError, MAX_READ_MARKERS, Markers, Move};
use crate::protocol::{MessageId, Position, RoomMarker, RoomName, UserName};

/// Time until markers expire, from their last use: 30 days, as for logs.
const TTL_MS: u64 = 30 * 86_400_000;

/// Name of the only field in the hash of a cursor.
const CURSOR: &str = "at";

/// Markers of the cluster.
pub(super) struct RedisMarkers {
    pub(super) router: Router,
    pub(super) keys: Keys,
}

impl RedisMarkers {
    /// Reads a field of the first key, and extends the expiry of all keys.
    async fn read(&self, keys: &[String], field: &str) -> Result<Option<String>, BackendError> {
        let mut read = redis::pipe();
        read.cmd("HGET").arg(&keys[0]).arg(field);
        for key in keys {
            read.cmd("PEXPIRE").arg(key).arg(TTL_MS);
        }
        let mut replies: Vec<Value> = self.router.pipeline((Lane::Short, &keys[0]), &read).await?;
        from_redis_value(replies.swap_remove(0)).map_err(|_| ConnectionRole::Command.malformed_reply())
    }

    async fn mark(&self, keys: [&str; 2], field: &str, value: &str, to: Move) -> Result<bool, BackendError> {
        let fill = |cmd: &mut Cmd| {
            cmd.arg(&keys).arg(field).arg(value).arg(TTL_MS).arg(MAX_READ_MARKERS);
            cmd.arg(u8::from(to == Move::Anywhere));
        };
        self.router.script((Lane::Short, keys[0]), &MARK, 2, fill).await
    }
}

fn position(text: &str) -> Option<Position> {
    let mut words = text.split(' ');
    codec::position(words.next()?, words.next()?.parse().ok()?, words.next()?)
}

fn room_marker(text: &str) -> Option<RoomMarker> {
    let (epoch, seq) = text.split_once(' ')?;
    Some(RoomMarker { epoch: epoch.parse().ok()?, seq: seq.parse().ok()? })
}

fn parsed<T>(text: Option<String>, parse: fn(&str) -> Option<T>) -> Result<Option<T>, BackendError> {
    text.map(|text| parse(&text).ok_or_else(|| ConnectionRole::Command.malformed_reply())).transpose()
}

#[async_trait]
impl Markers for RedisMarkers {
    async fn cursor(&self, user: &UserName) -> Result<Option<Position>, BackendError> {
        parsed(self.read(&[self.keys.cursor(user)], CURSOR).await?, position)
    }

    async fn advance_cursor(&self, user: &UserName, position: Position) -> Result<(), BackendError> {
        let Position { epoch, seq, message_id } = position;
        let key = self.keys.cursor(user);
        let value = format!("{epoch} {seq} {message_id}");
        self.mark([&key, &key], CURSOR, &value, Move::Forward).await.map(drop)
    }

    async fn room_marker(
        &self,
        user: &UserName,
        room: &RoomName,
    ) -> Result<Option<RoomMarker>, BackendError> {
        parsed(self.read(&self.keys.room_markers(user), room.as_str()).await?, room_marker)
    }

    async fn mark_room(
        &self,
        user: &UserName,
        room: &RoomName,
        marker: RoomMarker,
        to: Move,
    ) -> Result<bool, BackendError> {
        let [markers, moved] = &self.keys.room_markers(user);
        let value = format!("{} {}", marker.epoch, marker.seq);
        self.mark([markers, moved], room.as_str(), &value, to).await
    }

    async fn private_markers(&self, user: &UserName) -> Result<Vec<(UserName, MessageId)>, BackendError> {
        let [markers, moved] = self.keys.private_markers(user);
        let mut read = redis::pipe();
        read.cmd("HGETALL").arg(&markers);
        read.cmd("ZREVRANGE").arg(&moved).arg(0).arg(-1);
        for key in [&markers, &moved] {
            read.cmd("PEXPIRE").arg(key).arg(TTL_MS);
        }
        type Replies = (HashMap<String, String>, Vec<String>, Value, Value);
        let (mut all, newest_first, ..): Replies =
            self.router.pipeline((Lane::Long, &markers), &read).await?;
        let ordered: Vec<(String, String)> =
            newest_first.into_iter().filter_map(|peer| all.remove_entry(&peer)).collect();
        let parse = |(peer, id): (String, String)| Some((UserName::parse(&peer).ok()?, id.parse().ok()?));
        // A move that came between the two reads is in one of them alone.
        ordered
            .into_iter()
            .chain(all)
            .map(|pair| parse(pair).ok_or_else(|| ConnectionRole::Pool.malformed_reply()))
            .collect()
    }

    async fn mark_private(
        &self,
        user: &UserName,
        peer: &UserName,
        id: MessageId,
        to: Move,
    ) -> Result<bool, BackendError> {
        let [markers, moved] = &self.keys.private_markers(user);
        self.mark([markers, moved], peer.as_str(), &id.to_string(), to).await
    }
}
