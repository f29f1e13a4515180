//! From a subscription connection's reader to [`Deliver`]. Owns the bounded queue between the two and the grouping of
//! a burst by topic; knows nothing of connecting. Called by redis-rs's reader on the one side, by the subscriber's task
//! on the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redis::aio::SendError;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::codec;
use super::subscriber::{BURST, Shared, SystemChannels};
use super::subscriptions::Confirmation;
use crate::backend::{Deliver, Publication};
use crate::protocol::Topic;

/// The most pushes that may wait for the dispatcher.
const QUEUE: usize = 16_384;

/// The most bytes of payload that may.
const QUEUE_BYTES: usize = 32 << 20;

/// One push of the server.
pub(super) enum PushMessage {
    Message { channel: String, payload: Vec<u8> },
    Subscribed(String),
    Unsubscribed(String),
}

/// The reader's end of the queue. Never waits, never drops in silence: what does not fit ends the connection, after
/// which nothing more is taken, so that what is in the queue is all that came up to some moment. The log heals the
/// rest.
pub(super) struct InboundQueue {
    queue: mpsc::Sender<PushMessage>,
    waiting: AtomicUsize,
    overflowed: AtomicBool,
    /// Cancelled when the connection is of no use any more.
    pub(super) ended: CancellationToken,
}

impl InboundQueue {
    pub(super) fn new() -> (Arc<Self>, mpsc::Receiver<PushMessage>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let inbound = Self {
            queue,
            waiting: AtomicUsize::new(0),
            overflowed: AtomicBool::new(false),
            ended: CancellationToken::new(),
        };
        (Arc::new(inbound), receiver)
    }

    /// Called by redis-rs's reader for each push.
    pub(super) fn push(&self, push: PushInfo) -> Result<(), SendError> {
        if self.ended.is_cancelled() {
            return Err(SendError);
        }
        let mut data = push.data.into_iter();
        let pushed = match (push.kind, text(data.next())) {
            (PushKind::Disconnection, _) => {
                self.ended.cancel();
                return Ok(());
            }
            (PushKind::Message, Some(channel)) => {
                let Some(Value::BulkString(payload)) = data.next() else { return Ok(()) };
                PushMessage::Message { channel, payload }
            }
            (PushKind::Subscribe, Some(channel)) => PushMessage::Subscribed(channel),
            (PushKind::Unsubscribe, Some(channel)) => PushMessage::Unsubscribed(channel),
            _ => return Ok(()),
        };
        let bytes = pushed.bytes();
        let full = self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_BYTES;
        if full || self.queue.try_send(pushed).is_err() {
            self.overflowed.store(true, Ordering::Relaxed);
            self.ended.cancel();
            return Err(SendError);
        }
        Ok(())
    }

    /// Room for others again.
    pub(super) fn taken(&self, burst: &[PushMessage]) {
        let bytes = burst.iter().map(PushMessage::bytes).sum();
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Why it ended.
    pub(super) fn why(&self) -> &'static str {
        if self.overflowed.load(Ordering::Relaxed) { "overflow" } else { "lost" }
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

/// Hands bursts on, grouped by topic: the order within a topic is kept, that among topics means nothing.
pub(super) struct Dispatcher<'a> {
    shared: &'a Shared,
    deliver: &'a dyn Deliver,
    own: &'a SystemChannels,
    confirmed: u64,
    groups: Vec<(String, Topic, Vec<Publication>)>,
    spare: Vec<Vec<Publication>>,
    restored: Vec<Topic>,
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(shared: &'a Shared, deliver: &'a dyn Deliver, own: &'a SystemChannels) -> Self {
        Self {
            shared,
            deliver,
            own,
            confirmed: 0,
            groups: Vec::new(),
            spare: Vec::new(),
            restored: Vec::new(),
        }
    }

    /// How many confirmations have come.
    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Hands on one burst.
    pub(super) fn run(&mut self, burst: &mut Vec<PushMessage>) {
        debug_assert!(burst.len() <= BURST);
        for pushed in burst.drain(..) {
            match pushed {
                PushMessage::Message { channel, payload } => self.message(channel, payload),
                PushMessage::Subscribed(channel) => self.subscribed(&channel),
                PushMessage::Unsubscribed(channel) => {
                    self.confirmed += 1;
                    self.shared.subscriptions().confirm_unsubscribed(&channel);
                }
            }
        }
        self.flush();
    }

    fn message(&mut self, channel: String, payload: Vec<u8>) {
        if channel == self.own.probe {
            return self.shared.probe_state.seen();
        }
        if self.own.is(&channel) {
            match codec::parse_notice(&payload) {
                Some(notice) => self.deliver.notice(notice),
                None => tracing::warn!("a notice on Redis can't be read"),
            }
            return;
        }
        let Some(publication) = codec::parse(payload) else {
            tracing::warn!("a publication on Redis can't be read");
            return;
        };
        // A burst has few topics in it, and most often the one before.
        if let Some((_, _, group)) = self.groups.iter_mut().rev().find(|(other, ..)| *other == channel) {
            return group.push(publication);
        }
        let topic = self.shared.subscriptions().topic(&channel).cloned();
        if let Some(topic) = topic {
            let mut group = self.spare.pop().unwrap_or_default();
            group.push(publication);
            self.groups.push((channel, topic, group));
        }
    }

    fn subscribed(&mut self, channel: &str) {
        if self.own.is(channel) {
            return;
        }
        self.confirmed += 1;
        let confirmed = self.shared.subscriptions().confirm_subscribed(channel);
        if let Confirmation::Restored(topic) = confirmed {
            self.restored.push(topic);
        }
    }

    /// Topics are restored before their first messages: no message of this burst can have come before its topic's
    /// confirmation, since the connection had no such subscription until then.
    fn flush(&mut self) {
        if !self.restored.is_empty() {
            self.deliver.restored(&self.restored);
            self.restored.clear();
        }
        for (_, topic, mut group) in self.groups.drain(..) {
            self.deliver.deliver(&topic, &mut group);
            group.clear();
            self.spare.push(group);
        }
    }
}
