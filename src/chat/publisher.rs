//! Publishing. Owns how a message becomes a publish: its topics, its dedupe key and its encoded body. The broker stores
//! it. Called by requests and by the server API, once they know that the sender may write there.

use std::sync::Arc;

use tokio::time::Instant;

use super::counters::{PublishCounters, Publishing};
use super::error::RequestError;
use super::storage_rate::StorageRate;
use crate::backend::{BackendError, Broker, Owner, Publish, Stored, unix_ms};
use crate::protocol::encode::{ChatBody, SPARE_BYTES};
use crate::protocol::{MessageId, Outcome, Topic, UserName, encode};

/// Publishes to the broker.
pub(super) struct Publisher {
    broker: Arc<dyn Broker>,
    rate: StorageRate,
    counters: PublishCounters,
    /// The maximum size of a frame's payload.
    max_bytes: usize,
}

impl Publisher {
    pub(super) fn new(broker: Arc<dyn Broker>, rate: StorageRate, max_bytes: usize) -> Self {
        Self { broker, rate, counters: PublishCounters::new(), max_bytes }
    }

    /// From now on, owners may store so many bytes per second and at once.
    pub(super) fn set_storage_rate(&self, per_second: u32, burst: u32) {
        self.rate.set(per_second, burst);
    }

    /// Stores and publishes a message. This is the only place in the cluster where its body is encoded. One round trip.
    ///
    /// # Errors
    /// Besides those of the broker: the owner, if there is one, has stored too much lately; or the frame of the message would
    /// be too large. If it is stored already, it is acknowledged, and completed, whatever its size.
    pub(super) async fn publish(
        &self,
        sender: &UserName,
        to: &Topic,
        content: &str,
        client_id: Option<&str>,
        owner: Option<Owner>,
        message_id: MessageId,
    ) -> Result<Stored, RequestError> {
        let sent_at = unix_ms();
        let (room, target) = match to {
            Topic::Room(room) => (Some(room), None),
            Topic::User(target) => (None, Some(target)),
        };
        let body = ChatBody {
            sender_username: sender,
            target_username: target,
            content,
            room,
            message_id,
            client_id,
            sent_at,
        };
        let topics = match to {
            Topic::Room(room) => vec![Topic::Room(room.clone())],
            Topic::User(target) if target == sender => vec![Topic::User(sender.clone())],
            Topic::User(target) => vec![Topic::User(target.clone()), Topic::User(sender.clone())],
        };
        // No name holds a control character, so the parts can't run into each other; the client's own id comes last.
        // Without an id, nobody can repeat the publish: the node itself sends a message to the store only once.
        let dedupe_key =
            client_id.map(|id| format!("{sender}\u{1f}{}\u{1f}{id}", target.map_or("", UserName::as_str)));
        let body = body.encode();
        let publishing = Publishing::begin(&self.counters);
        let bytes = encode::chat_bytes(to, &body) + SPARE_BYTES;
        let is_repeat_only = bytes > self.max_bytes;
        // Without an id it repeats nothing: the store has nothing to say, reachable or not.
        if is_repeat_only && dedupe_key.is_none() {
            publishing.end(Err(&BackendError::NotARepeat));
            return Err(RequestError::frame_too_large(bytes, self.max_bytes));
        }
        let cost = StorageRate::cost(body.len(), topics.len());
        if let Some(owner) = owner
            && let Err(error) = self.rate.take(owner, cost, Instant::now())
        {
            publishing.end(Err(&error));
            return Err(error.into());
        }
        let publish = Publish { topics, dedupe_key, message_id, sent_at, body, owner, is_repeat_only };
        let result = self.broker.publish(publish).await;
        publishing.end(result.as_ref());
        let is_stored = match &result {
            Ok(stored) => !stored.duplicate,
            Err(error) => error.outcome() == Outcome::Unknown,
        };
        match (owner, &result) {
            (Some(owner), _) if !is_stored => self.rate.give_back(owner, cost, Instant::now()),
            (Some(owner), Ok(stored)) => self.rate.charge_for_logs(owner, stored.logs_begun, Instant::now()),
            _ => {}
        }
        result.map_err(|error| match error {
            BackendError::NotARepeat => RequestError::frame_too_large(bytes, self.max_bytes),
            error => error.into(),
        })
    }
}
