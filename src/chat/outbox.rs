//! The bounded queue to one connection. Owns the frames that wait to be written, and what happens when they are too many:
//! fan-out is refused (the member lags and is served later), and replies make the reader wait. Topics and the session
//! push to it, the connection's write loop empties it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::send_budget::SendBudget;
use super::topic::LocalTopic;
use crate::protocol::{CloseReason, ConnectionId};

/// Blocks that an empty queue keeps memory for.
const KEPT_BLOCKS: usize = 8;

/// How the node ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// The close code with its text.
    pub reason: CloseReason,
    /// When the client may connect again, ms.
    pub retry_after_ms: Option<u64>,
}

impl From<CloseReason> for Close {
    fn from(reason: CloseReason) -> Self {
        Self { reason, retry_after_ms: None }
    }
}

#[derive(Default)]
struct Queue {
    blocks: VecDeque<Bytes>,
    /// Queued and not yet written, the blocks that the write loop has taken included.
    bytes: usize,
    /// Topics in which this connection lags, in the order in which it began to.
    lagging: VecDeque<Arc<LocalTopic>>,
    close: Option<Close>,
    /// A private message was queued: a ping soon has to prove that it arrived.
    wants_ping: bool,
    is_closed: bool,
    /// Reading, writing and serving lagging topics are one task, so one waker serves all three.
    waker: Option<Waker>,
}

impl Queue {
    fn register(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }
}

/// What the write loop has to do.
pub enum Work {
    /// Write the blocks of finished frames that were moved to the buffer.
    Blocks,
    /// Close the connection: nothing is left to write.
    Close(Close),
}

/// The queue to one connection. Over `max_bytes`, fan-out is refused. Replies are still taken, but the connection reads no
/// further request until the queue is half empty again.
pub struct Outbox {
    id: ConnectionId,
    queue: Mutex<Queue>,
    max_bytes: usize,
    total: Arc<SendBudget>,
}

impl Outbox {
    /// An empty queue that holds at most `max_bytes` of fan-out, and one reply more than that.
    pub fn new(id: ConnectionId, max_bytes: usize, total: Arc<SendBudget>) -> Self {
        Self { id, queue: Mutex::default(), max_bytes, total }
    }

    /// The connection.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the queue, then wakes the connection with no lock held.
    fn change<R>(&self, change: impl FnOnce(&mut Queue) -> R) -> R {
        let (result, waker) = {
            let mut queue = self.lock();
            let result = change(&mut queue);
            (result, queue.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// Queues a block of fan-out: one reference count, no copy. False if there is no room for it; then nothing was queued.
    /// The caller adds the block to the node's total, once for all members.
    #[must_use]
    pub(super) fn push(&self, block: &Bytes) -> bool {
        let waker = {
            let mut queue = self.lock();
            if queue.is_closed {
                return true;
            }
            // A block larger than the whole bound still fits an empty queue, or it could never be sent.
            if queue.bytes > 0 && queue.bytes + block.len() > self.max_bytes {
                return false;
            }
            queue.bytes += block.len();
            queue.blocks.push_back(block.clone());
            queue.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Queues a reply, however full the queue is: the connection waits for [`Outbox::has_room`] before its next read.
    pub fn reply(&self, frame: Bytes) {
        self.total.add(frame.len());
        let dropped = self.change(|queue| {
            if queue.is_closed {
                return frame.len();
            }
            queue.bytes += frame.len();
            queue.blocks.push_back(frame);
            0
        });
        self.total.subtract(dropped);
    }

    /// Notes that this connection lags in a topic. Called once per topic: the topic keeps that state.
    pub(super) fn mark_lagging(&self, topic: Arc<LocalTopic>) {
        self.change(|queue| {
            if !queue.is_closed {
                queue.lagging.push_back(topic);
            }
        });
    }

    /// Closes the connection after what is queued. The first reason counts.
    pub fn close(&self, close: Close) {
        self.change(|queue| queue.close.get_or_insert(close).reason);
    }

    /// Waits for something to write, and moves all of it to `taken`, which has to be empty: the queue uses its memory
    /// next. Report what was written with [`Outbox::written`].
    pub async fn work(&self, taken: &mut VecDeque<Bytes>) -> Work {
        debug_assert!(taken.is_empty(), "the blocks that were taken before are not written yet");
        // A replay has a block for each message: the connection would keep that much memory until its end.
        if taken.capacity() > KEPT_BLOCKS {
            *taken = VecDeque::new();
        }
        poll_fn(|cx| {
            let mut queue = self.lock();
            if !queue.blocks.is_empty() {
                std::mem::swap(&mut queue.blocks, taken);
                return Poll::Ready(Work::Blocks);
            }
            if let Some(close) = queue.close {
                return Poll::Ready(Work::Close(close));
            }
            queue.register(cx);
            Poll::Pending
        })
        .await
    }

    /// Reports that so many bytes were written to the socket.
    pub fn written(&self, bytes: usize) {
        self.total.subtract(bytes);
        self.change(|queue| queue.bytes = queue.bytes.saturating_sub(bytes));
    }

    /// Whether more than half of the bound is queued: then nothing is read from this client.
    pub fn is_full(&self) -> bool {
        self.lock().bytes > self.max_bytes / 2
    }

    /// Waits until at most half of the bound is queued.
    pub async fn has_room(&self) {
        poll_fn(|cx| {
            let mut queue = self.lock();
            if queue.bytes <= self.max_bytes / 2 {
                return Poll::Ready(());
            }
            queue.register(cx);
            Poll::Pending
        })
        .await;
    }

    /// Waits until the connection lags in a topic and has room for a page of it.
    pub(super) async fn next_lagging(&self) -> Arc<LocalTopic> {
        poll_fn(|cx| {
            // While pages are short, only connections that drain get them.
            let share = if self.total.is_short() { 32 } else { 4 };
            let mut queue = self.lock();
            if queue.bytes <= self.max_bytes / share
                && let Some(topic) = queue.lagging.pop_front()
            {
                return Poll::Ready(topic);
            }
            queue.register(cx);
            Poll::Pending
        })
        .await
    }

    /// Waits until the node wants to close the connection.
    pub async fn closing(&self) -> Close {
        poll_fn(|cx| {
            let mut queue = self.lock();
            if let Some(close) = queue.close {
                return Poll::Ready(close);
            }
            queue.register(cx);
            Poll::Pending
        })
        .await
    }

    /// Asks for a ping soon, to prove that everything queued arrived.
    pub(super) fn want_ping(&self) {
        self.change(|queue| queue.wants_ping = true);
    }

    /// Waits until a ping is asked for.
    pub async fn ping_wanted(&self) {
        poll_fn(|cx| {
            let mut queue = self.lock();
            if std::mem::take(&mut queue.wants_ping) {
                return Poll::Ready(());
            }
            queue.register(cx);
            Poll::Pending
        })
        .await;
    }

    /// Ends the queue: drops what is queued, and ignores what comes later.
    pub fn shut(&self) {
        let left = self.change(|queue| {
            queue.is_closed = true;
            queue.blocks.clear();
            queue.lagging.clear();
            std::mem::take(&mut queue.bytes)
        });
        self.total.subtract(left);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn queue_releases_its_memory_after_a_long_replay() {
        let outbox = Outbox::new(ConnectionId::generate(), 1 << 20, Arc::default());
        let mut taken = VecDeque::new();
        for count in [100, 3, 200, 1, 1] {
            (0..count).for_each(|_| outbox.reply(Bytes::from_static(b"hello")));
            assert!(outbox.work(&mut taken).now_or_never().is_some());
            assert_eq!(taken.len(), count);
            outbox.written(5 * taken.drain(..).len());
        }
        assert!(outbox.work(&mut taken).now_or_never().is_none());
        let queued = outbox.lock().blocks.capacity();
        assert!(taken.capacity() <= KEPT_BLOCKS && queued <= KEPT_BLOCKS, "{queued} {}", taken.capacity());
    }
}
