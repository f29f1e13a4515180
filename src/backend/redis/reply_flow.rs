//! The flow of replies on one connection. Owns since when it has been asked without an answer, and whether it must be proved again
//! before it is written to; sends nothing. Used by the command connection.
//!
//! A server that stood still may have been replaced meanwhile. When it continues, it executes what waits in its socket, and
//! answers: such an answer tells nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::counter;

use super::clock::MonotonicClock;
use super::master::Master;
use crate::failpoints::{self, Failpoint};
use crate::metrics::REDIS_STALLS;

/// A connection that was asked and has not answered for this long has stalled.
pub(super) const STALL: Duration = Duration::from_secs(1);

/// The replies of one connection.
pub(super) struct ReplyFlow {
    clock: MonotonicClock,
    /// Told of a stall.
    master: Option<Master>,
    waiting: AtomicUsize,
    /// The last reply, or the first question after a time without questions.
    since: AtomicU64,
    /// The last reply.
    replied: AtomicU64,
    has_stalled: AtomicBool,
}

/// One question. Its end without a reply is one that the caller no longer waits for.
pub(super) struct Question<'a>(&'a ReplyFlow);

impl ReplyFlow {
    /// Of a connection that has just answered.
    pub(super) fn new(clock: MonotonicClock, master: Option<Master>) -> Self {
        Self {
            clock,
            master,
            waiting: AtomicUsize::new(0),
            since: AtomicU64::new(clock.now()),
            replied: AtomicU64::new(clock.now()),
            has_stalled: AtomicBool::new(false),
        }
    }

    /// A question is sent.
    pub(super) fn ask(&self) -> Question<'_> {
        if self.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            self.since.store(self.clock.now(), Ordering::Release);
        }
        Question(self)
    }

    /// Whether the connection must be proved before something is written to it.
    pub(super) fn has_stalled(&self) -> bool {
        if self.has_stalled.load(Ordering::Acquire) {
            return true;
        }
        let is_asked = self.waiting.load(Ordering::Acquire) > 0;
        if !is_asked || self.clock.since(self.since.load(Ordering::Acquire)) < STALL {
            return false;
        }
        self.stall();
        !failpoints::is(Failpoint::TrustStall)
    }

    /// It must be proved before something is written to it.
    pub(super) fn stall(&self) {
        if failpoints::is(Failpoint::TrustStall) {
            return;
        }
        if !self.has_stalled.swap(true, Ordering::AcqRel) {
            counter!(REDIS_STALLS).increment(1);
            self.master.iter().for_each(Master::suspect);
        }
    }

    /// The server has answered, and is the master.
    pub(super) fn prove(&self) {
        self.answered();
        self.has_stalled.store(false, Ordering::Release);
    }

    /// Records an answer. Returns the time since the one before.
    fn answered(&self) -> Duration {
        let now = self.clock.now();
        self.since.store(now, Ordering::Release);
        let before = self.replied.swap(now, Ordering::AcqRel);
        Duration::from_millis(now.saturating_sub(before))
    }
}

impl Question<'_> {
    /// The reply has come. Returns how long the server had been silent before.
    pub(super) fn answered(&self) -> Duration {
        self.0.answered()
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        // Before the count goes down: without questions, silence means nothing.
        self.0.has_stalled();
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connection_stalls_only_while_it_is_asked() {
        let flow = ReplyFlow::new(MonotonicClock::start(), None);
        tokio::time::advance(10 * STALL).await;
        assert!(!flow.has_stalled(), "nobody asks");
        let first = flow.ask();
        tokio::time::advance(STALL / 2).await;
        let second = flow.ask();
        tokio::time::advance(STALL / 2 - Duration::from_millis(1)).await;
        assert!(!flow.has_stalled());
        assert!(first.answered() > 10 * STALL);
        drop(first);
        tokio::time::advance(STALL - Duration::from_millis(1)).await;
        assert!(!flow.has_stalled(), "another answer came");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(flow.has_stalled());
        assert_eq!(second.answered(), STALL);
        drop(second);
        assert!(flow.has_stalled(), "an answer proves nothing");
        flow.prove();
        assert!(!flow.has_stalled());
    }

    #[tokio::test(start_paused = true)]
    async fn question_without_an_answer_leaves_a_stall() {
        let flow = ReplyFlow::new(MonotonicClock::start(), None);
        let question = flow.ask();
        tokio::time::advance(STALL).await;
        drop(question);
        assert!(flow.has_stalled());
    }
}
