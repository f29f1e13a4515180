//! Delivery of incoming messages. Owns the bounded queue between a subscription connection and [`Deliver`], and groups a
//! burst of messages by topic; does not connect. The reader of redis-rs fills the queue, the subscriber's task empties
//! it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redis::aio::SendError;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::codec;
use super::slot_reader::RefreshSignal;
use super::subscription_state::{SubscriptionState, SystemChannels};
use super::subscriptions::Confirmation;
use crate::backend::{Deliver, Interruption, Publication};
use crate::protocol::Topic;

/// Maximum of push messages in the queue.
const QUEUE: usize = 16_384;

/// Maximum of payload bytes in the queue.
const QUEUE_BYTES: usize = 32 << 20;

/// Maximum of push messages per burst, as [`Deliver::deliver`] promises.
pub(super) const BURST: usize = 64;

/// A push message of the server.
pub(super) enum PushMessage {
    Message { channel: String, payload: Vec<u8> },
    Subscribed(String),
    Unsubscribed(String),
}

/// Input of the queue. It never waits and never drops a message silently: a message that does not fit ends the
/// connection, and later messages are rejected. So the queue holds all messages up to some moment, without a gap. Nodes
/// read the later ones from the logs.
pub(super) struct InboundQueue {
    queue: mpsc::Sender<PushMessage>,
    waiting: AtomicUsize,
    overflowed: AtomicBool,
    /// What comes before the names of channels on this connection.
    pub(super) prefix: String,
    /// Cancelled when the connection is no longer usable.
    pub(super) ended: CancellationToken,
}

impl InboundQueue {
    pub(super) fn new(prefix: String) -> (Arc<Self>, mpsc::Receiver<PushMessage>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let inbound = Self {
            queue,
            waiting: AtomicUsize::new(0),
            overflowed: AtomicBool::new(false),
            prefix,
            ended: CancellationToken::new(),
        };
        (Arc::new(inbound), receiver)
    }

    /// Adds a push message. Called by the reader of redis-rs.
    pub(super) fn push(&self, push: PushInfo) -> Result<(), SendError> {
        if self.ended.is_cancelled() {
            return Err(SendError);
        }
        let mut data = push.data.into_iter();
        let channel =
            text(data.next()).and_then(|channel| Some(channel.strip_prefix(&self.prefix)?.to_owned()));
        let message = match (push.kind, channel) {
            (PushKind::Disconnection, _) => {
                self.ended.cancel();
                return Ok(());
            }
            (PushKind::Message | PushKind::SMessage, Some(channel)) => {
                let Some(Value::BulkString(payload)) = data.next() else { return Ok(()) };
                PushMessage::Message { channel, payload }
            }
            (PushKind::Subscribe | PushKind::SSubscribe, Some(channel)) => PushMessage::Subscribed(channel),
            (PushKind::Unsubscribe | PushKind::SUnsubscribe, Some(channel)) => {
                PushMessage::Unsubscribed(channel)
            }
            _ => return Ok(()),
        };
        let bytes = message.bytes();
        let full = self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_BYTES;
        if full || self.queue.try_send(message).is_err() {
            self.overflowed.store(true, Ordering::Relaxed);
            self.ended.cancel();
            return Err(SendError);
        }
        Ok(())
    }

    /// Frees the bytes of messages that were taken from the queue.
    pub(super) fn release(&self, burst: &[PushMessage]) {
        let bytes = burst.iter().map(PushMessage::bytes).sum();
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Reason for the end of the connection.
    pub(super) fn reason(&self) -> &'static str {
        if self.overflowed.load(Ordering::Relaxed) { "queue overflow" } else { "connection lost" }
    }
}

impl PushMessage {
    fn bytes(&self) -> usize {
        match self {
            Self::Message { payload, .. } => payload.len(),
            Self::Subscribed(_) | Self::Unsubscribed(_) => 0,
        }
    }
}

fn text(value: Option<Value>) -> Option<String> {
    match value {
        Some(Value::BulkString(bytes)) => String::from_utf8(bytes).ok(),
        Some(Value::SimpleString(text)) => Some(text),
        _ => None,
    }
}

/// Delivers bursts, grouped by topic. The order within a topic is kept; there is no order between topics.
pub(super) struct Dispatcher<'a> {
    state: &'a SubscriptionState,
    deliver: &'a dyn Deliver,
    system_channels: &'a SystemChannels,
    /// Raised when the server ends a subscription: its slot has moved.
    refresh: &'a RefreshSignal,
    groups: Vec<(String, Topic, Vec<Publication>)>,
    spare: Vec<Vec<Publication>>,
    restored: Vec<Topic>,
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(
        state: &'a SubscriptionState,
        deliver: &'a dyn Deliver,
        system_channels: &'a SystemChannels,
        refresh: &'a RefreshSignal,
    ) -> Self {
        Self {
            state,
            deliver,
            system_channels,
            refresh,
            groups: Vec::new(),
            spare: Vec::new(),
            restored: Vec::new(),
        }
    }

    /// Delivers one burst.
    pub(super) fn run(&mut self, burst: &mut Vec<PushMessage>) {
        debug_assert!(burst.len() <= BURST);
        let has_changes = burst.iter().any(|push| !matches!(push, PushMessage::Message { .. }));
        let state = self.state;
        let _reports = has_changes.then(|| state.reports());
        for message in burst.drain(..) {
            match message {
                PushMessage::Message { channel, payload } => self.message(channel, payload),
                PushMessage::Subscribed(channel) => self.subscribed(&channel),
                PushMessage::Unsubscribed(channel) => self.unsubscribed(&channel),
            }
        }
        self.flush();
    }

    fn message(&mut self, channel: String, payload: Vec<u8>) {
        if channel == self.system_channels.probe {
            return self.state.probe.record_seen(&String::from_utf8_lossy(&payload));
        }
        if self.system_channels.contains(&channel) {
            match codec::parse_notice(&payload) {
                Some(notice) => self.deliver.notice(notice),
                None => tracing::warn!("ignoring a malformed notice from Redis"),
            }
            return;
        }
        let Some(publication) = codec::parse(payload) else {
            tracing::warn!("ignoring a malformed publication from Redis");
            return;
        };
        // A burst has few topics, and most messages follow one of the same topic.
        if let Some((_, _, group)) = self.groups.iter_mut().rev().find(|(other, ..)| *other == channel) {
            return group.push(publication);
        }
        let topic = self.state.subscriptions().topic(self.state.owner, &channel).cloned();
        if let Some(topic) = topic {
            let mut group = self.spare.pop().unwrap_or_default();
            group.push(publication);
            self.groups.push((channel, topic, group));
        }
    }

    fn subscribed(&mut self, channel: &str) {
        if self.system_channels.contains(channel) {
            return;
        }
        let confirmed = self.state.subscriptions().confirm_subscribed(self.state.owner, channel);
        if let Confirmation::Restored(topic) = confirmed {
            self.restored.push(topic);
        }
    }

    fn unsubscribed(&mut self, channel: &str) {
        if self.system_channels.contains(channel) {
            return self.state.probe_ended.notify_one();
        }
        let confirmed = self.state.subscriptions().confirm_unsubscribed(self.state.owner, channel);
        if let Confirmation::Interrupted(topic) = confirmed {
            self.refresh.raise(None);
            // What came before is delivered before.
            self.flush();
            self.deliver.interrupted(&[topic], Interruption::Lost);
        }
    }

    /// Reports restored topics before it delivers messages. This order is right: before the confirmation, the connection
    /// had no subscription to the topic, so all its messages in this burst came after it.
    fn flush(&mut self) {
        if !self.restored.is_empty() {
            self.deliver.restored(&self.restored);
            self.restored.clear();
        }
        for (_, topic, mut group) in self.groups.drain(..) {
            self.deliver.deliver(&topic, &mut group.drain(..));
            self.spare.push(group);
        }
    }
}
