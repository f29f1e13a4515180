//! The bytes that wait for all sockets of a node. Owns two sums: the bytes queued, for the metric, and the bytes of pages
//! that were read for a single connection each (of logs and of member lists), which have a bound. Updated by the outboxes,
//! and asked before a page is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

use crate::backend::PageLimit;

/// A block for all members of a room is in memory once, however many queues it is in. A page is a copy for one connection:
/// if thousands of connections lag at once and read slowly, pages take most of a node's memory.
const MAX_PAGE_BYTES: usize = 64 << 20;

/// A page for a connection whose queue is at most a quarter full.
pub(super) const PAGE: PageLimit = PageLimit { messages: 100, bytes: 128 << 10 };

/// A page while pages are short, for a queue that is nearly empty: it costs a sixteenth, and connections that read nothing
/// do not hold up the others. It has at least one message, of any size.
const SHORT_PAGE: PageLimit = PageLimit { messages: 100, bytes: 8 << 10 };

/// The most that a page of history or of members may have.
pub(super) const ANSWER_BYTES: usize = 256 << 10;

/// Bytes queued for all connections of a node. Changed once per burst and once per write.
#[derive(Debug, Default)]
pub struct SendBudget {
    all: AtomicI64,
    pages: AtomicUsize,
}

impl SendBudget {
    pub(super) fn add(&self, bytes: usize) {
        self.all.fetch_add(bytes as i64, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, bytes: usize) {
        self.all.fetch_sub(bytes as i64, Ordering::Relaxed);
    }

    /// Bytes queued at this moment.
    pub fn get(&self) -> i64 {
        self.all.load(Ordering::Relaxed)
    }

    /// Whether the bound of pages is reached: then only connections that read what is sent get more, and less at a time.
    pub(super) fn is_short(&self) -> bool {
        self.pages.load(Ordering::Relaxed) >= MAX_PAGE_BYTES
    }

    /// How much of a log to read for one connection.
    pub(super) fn page_limit(&self) -> PageLimit {
        if self.is_short() { SHORT_PAGE } else { PAGE }
    }

    /// How many bytes of messages or names an answer may have.
    pub(super) fn answer_bytes(&self) -> usize {
        if self.is_short() { SHORT_PAGE.bytes } else { ANSWER_BYTES }
    }

    /// A page as a block to queue, counted until the last of it is written or dropped.
    pub(super) fn page(self: &Arc<Self>, bytes: BytesMut) -> Bytes {
        let counted = bytes.capacity();
        self.count(bytes, counted)
    }

    /// The same for the frame of an answer.
    pub(super) fn answer(self: &Arc<Self>, frame: Bytes) -> Bytes {
        let counted = frame.len();
        self.count(frame, counted)
    }

    fn count(self: &Arc<Self>, bytes: impl AsRef<[u8]> + Send + 'static, counted: usize) -> Bytes {
        self.pages.fetch_add(counted, Ordering::Relaxed);
        Bytes::from_owner(QueuedPage { bytes, counted, queued: self.clone() })
    }
}

struct QueuedPage<B> {
    bytes: B,
    counted: usize,
    queued: Arc<SendBudget>,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for QueuedPage<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl<B> Drop for QueuedPage<B> {
    fn drop(&mut self) {
        self.queued.pages.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_short_while_too_many_bytes_wait() {
        let queued = Arc::new(SendBudget::default());
        let page = || queued.page(BytesMut::from(&[b'x'; 128 << 10][..]));
        let mut waiting: Vec<Bytes> = (0..511).map(|_| page()).collect();
        assert!(queued.page_limit() == PAGE && !queued.is_short());
        waiting.push(page());
        assert!(queued.page_limit() == SHORT_PAGE && queued.is_short());
        // Partly written is not written.
        let rest = waiting[0].split_off(100);
        waiting.remove(0);
        assert!(queued.is_short());
        drop(rest);
        assert!(!queued.is_short());
        waiting.clear();
        assert_eq!(queued.pages.load(Ordering::Relaxed), 0);
    }
}
