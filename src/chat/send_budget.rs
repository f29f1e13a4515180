//! What waits for all sockets of a node. Owns two sums: bytes queued, for the metric, and bytes of pages that were read
//! from logs for one connection each, which have a bound. Kept by the outboxes, asked before a page is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

use crate::backend::PageLimit;

/// What all members of a room are sent is one block, however many queues it is in. A page is a copy for one connection:
/// where thousands are behind at once and take little, these are what a node's memory goes to.
const MAX_PAGE_BYTES: usize = 64 << 20;

/// One pull: what a connection's queue takes when it is a quarter full.
pub(super) const PAGE: PageLimit = PageLimit { messages: 100, bytes: 128 << 10 };

/// One pull while pages are short, for a queue that is nearly empty: nobody waits for those that take nothing, and a
/// connection costs a sixteenth. At least one message, of whatever size.
const SHORT_PAGE: PageLimit = PageLimit { messages: 100, bytes: 8 << 10 };

/// Bytes queued for all connections of a node; changed once per burst and once per write.
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

    /// The sum at this moment.
    pub fn get(&self) -> i64 {
        self.all.load(Ordering::Relaxed)
    }

    /// Over the bound of pages: only who takes what is sent gets more, and less at a time.
    pub(super) fn is_short(&self) -> bool {
        self.pages.load(Ordering::Relaxed) >= MAX_PAGE_BYTES
    }

    /// What to read of a log for one connection.
    pub(super) fn page_limit(&self) -> PageLimit {
        if self.is_short() { SHORT_PAGE } else { PAGE }
    }

    /// A page as a block to queue, counted until the last of it is written or dropped.
    pub(super) fn page(self: &Arc<Self>, bytes: BytesMut) -> Bytes {
        self.pages.fetch_add(bytes.capacity(), Ordering::Relaxed);
        Bytes::from_owner(QueuedPage { bytes, queued: self.clone() })
    }
}

struct QueuedPage {
    bytes: BytesMut,
    queued: Arc<SendBudget>,
}

impl AsRef<[u8]> for QueuedPage {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for QueuedPage {
    fn drop(&mut self) {
        self.queued.pages.fetch_sub(self.bytes.capacity(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_short_while_too_many_wait() {
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
