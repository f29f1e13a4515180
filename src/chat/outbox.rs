//! The bounded queue to one connection. Owns what waits to be written and the verdict when it is too much: fan-out is
//! told no (the member falls behind and catches up later), replies make the reader wait. Pushed to by the registry
//! and the session, emptied by the connection's write loop.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::send_budget::SendBudget;
use super::topic::LocalTopic;
use crate::protocol::{CloseReason, ConnectionId};

/// Blocks that an empty queue keeps room for.
const KEPT_BLOCKS: usize = 8;

/// How the node ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// The code and its word.
    pub reason: CloseReason,
    /// When the client may come back, ms.
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
    /// Topics that this connection has to catch up with, in the order in which it fell behind.
    lagging: VecDeque<Arc<LocalTopic>>,
    close: Option<Close>,
    /// A private message was queued: a ping soon shows that it arrived.
    wants_ping: bool,
    is_closed: bool,
    /// Read loop, write loop and refill loop are one task, so one waker serves all three.
    waker: Option<Waker>,
}

impl Queue {
    fn register(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }
}

/// What the write loop finds.
pub enum Work {
    /// Blocks of finished frames were moved to the buffer.
    Blocks,
    /// Nothing is left to write and the connection is to be closed.
    Close(Close),
}

/// The queue to one connection. Over `max_bytes`, fan-out gets no for an answer; replies are taken, and the connection
/// reads no further request until it is half empty again.
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

    /// Whose it is.
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

    /// Queues a block of fan-out: one reference count, no copy. False: there is no room for it, and nothing was queued.
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

    /// Queues a reply, whatever the queue holds: the connection waits for [`Outbox::has_room`] before it reads on.
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

    /// Notes that this connection left a topic's fan-out. Once per topic: the topic keeps that state.
    pub(super) fn mark_lagging(&self, topic: Arc<LocalTopic>) {
        self.change(|queue| {
            if !queue.is_closed {
                queue.lagging.push_back(topic);
            }
        });
    }

    /// Closes the connection after what is queued. The first reason stands.
    pub fn close(&self, close: Close) {
        self.change(|queue| queue.close.get_or_insert(close).reason);
    }

    /// Waits for something to write, and moves all of it to `taken`, which is empty and lends the queue its room; report it
    /// with [`Outbox::written`].
    pub async fn work(&self, taken: &mut VecDeque<Bytes>) -> Work {
        debug_assert!(taken.is_empty(), "what was taken before is still to be written");
        // A replay has a block for each message: its room would stay with the connection for life.
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

    /// So many bytes have left the process.
    pub fn written(&self, bytes: usize) {
        self.total.subtract(bytes);
        self.change(|queue| queue.bytes = queue.bytes.saturating_sub(bytes));
    }

    /// More than half of the bound is queued: nothing is read from this client at present.
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

    /// Waits until there is a topic to catch up with and room for a page of it.
    pub(super) async fn next_lagging(&self) -> Arc<LocalTopic> {
        poll_fn(|cx| {
            // Where pages are short, they are for those that drain.
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

    /// Asks for a ping soon, to prove that what is queued arrived.
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

    /// The end: what is queued is dropped, what comes is ignored.
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
    fn a_queue_that_was_long_once_does_not_keep_the_room() {
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
