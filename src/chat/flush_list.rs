//! The connections that were pushed to and not yet written. Owns who writes them, who delivers what topics have received, and
//! when. Messages that come together for a topic go to each member as one block. What several tasks push to the same
//! connection goes out with one system call. So a busy node does less for each delivery. Filled by topics, which are locked then, and by
//! requests: no lock is held for a system call. Run by the registry, which has the topics.
//!
//! Messages are delivered and written as soon as the tasks that are ready now have run. `Enter` and `Leave` events wait for up to
//! [`EVENT_INTERVAL`]: when a thousand users come back together, each member of their rooms is told of many with one call.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::outbox::{Outbox, Pushed, Urgency};
use super::send_budget::SendBudget;

/// Connections that one task writes without a break: half a millisecond, at 5 µs for a system call. Further ones go to
/// tasks of this size, on any core.
const SLICE: usize = 96;

/// The shortest time between two rounds of events. The first event after a quiet time waits for nothing.
const EVENT_INTERVAL: Duration = Duration::from_millis(250);

/// Connections that wait to be written, each at most once in each list: its outbox knows.
#[derive(Default)]
pub(super) struct FlushList {
    soon: WaitList<Outbox>,
    next_round: WaitList<Outbox>,
    /// There is something to deliver, or something was added to `soon`.
    added_soon: Notify,
    added_to_round: Notify,
    /// The node stops, and nobody looks at the lists any more: who adds something writes it.
    is_over: AtomicBool,
}

/// What waits for the next round of one task.
pub(super) struct WaitList<T>(Mutex<Vec<Arc<T>>>);

/// One block on its way to many connections.
pub(super) struct FanOut {
    block: Bytes,
    urgency: Urgency,
    pushed: usize,
    to_flush: SmallVec<[Arc<Outbox>; 2]>,
}

impl FanOut {
    /// Of a block to at most so many connections.
    pub(super) fn new(block: Bytes, urgency: Urgency, connections: usize) -> Self {
        Self { block, urgency, pushed: 0, to_flush: SmallVec::with_capacity(connections) }
    }

    /// Pushes the block. False if the connection has no room for it.
    #[must_use]
    pub(super) fn push(&mut self, outbox: &Arc<Outbox>) -> bool {
        match outbox.push(&self.block, self.urgency) {
            Pushed::ToFlush => self.to_flush.push(outbox.clone()),
            Pushed::Queued => {}
            Pushed::Refused => return false,
        }
        self.pushed += 1;
        true
    }
}

impl FlushList {
    /// Takes a fan-out whose pushes are done, and counts it in the node's total, once for all connections. Returns how many
    /// got the block.
    pub(super) fn end(&self, fan_out: FanOut, total: &SendBudget) -> usize {
        let FanOut { block, urgency, pushed, to_flush } = fan_out;
        total.add(block.len() * pushed);
        if !to_flush.is_empty() {
            self.add(to_flush, urgency);
        }
        pushed
    }

    /// Has a connection written together with what the topics push to it now.
    pub(super) fn write_soon(&self, outbox: &Arc<Outbox>) {
        if outbox.is_to_be_flushed() {
            self.add([outbox.clone()], Urgency::Soon);
        }
    }

    /// A topic has received something. False if the caller has to deliver it, since the node stops.
    #[must_use]
    pub(super) fn deliver_soon(&self) -> bool {
        self.added_soon.notify_one();
        !self.is_over.load(Ordering::Acquire)
    }

    fn add(&self, outboxes: impl IntoIterator<Item = Arc<Outbox>>, urgency: Urgency) {
        match urgency {
            Urgency::Soon => {
                self.soon.add(outboxes);
                self.added_soon.notify_one();
            }
            Urgency::NextRound => {
                self.next_round.add(outboxes);
                self.added_to_round.notify_one();
            }
        }
        if self.is_over.load(Ordering::Acquire) {
            self.write_all();
        }
    }

    fn write_all(&self) {
        self.soon.take().iter().for_each(|outbox| outbox.flush(Urgency::Soon));
        self.next_round.take().iter().for_each(|outbox| outbox.flush(Urgency::NextRound));
    }

    /// Calls `deliver` where something was received, and writes what is added, until the node stops.
    pub(super) async fn run(&self, deliver: impl Fn(), stop: CancellationToken) {
        let both = async { tokio::join!(self.deliver_and_write(&deliver), self.write_rounds()) };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = both => {}
        }
        // From now on, callers write what they add. This writes what they added before.
        self.is_over.store(true, Ordering::Release);
        deliver();
        self.write_all();
    }

    async fn deliver_and_write(&self, deliver: &impl Fn()) {
        loop {
            self.added_soon.notified().await;
            // Comes back when this worker of the runtime has nothing else to do, or after a bounded number of tasks.
            yield_now().await;
            deliver();
            flush(self.soon.take(), Urgency::Soon);
        }
    }

    async fn write_rounds(&self) {
        let mut next = Instant::now();
        loop {
            self.added_to_round.notified().await;
            sleep_until(next).await;
            yield_now().await;
            next = Instant::now() + EVENT_INTERVAL;
            flush(self.next_round.take(), Urgency::NextRound);
        }
    }
}

impl<T> Default for WaitList<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> WaitList<T> {
    pub(super) fn add(&self, added: impl IntoIterator<Item = Arc<T>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(added);
    }

    pub(super) fn take(&self) -> Vec<Arc<T>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes all of these. Their order does not matter, since each queue has its own.
fn flush(mut outboxes: Vec<Arc<Outbox>>, urgency: Urgency) {
    while outboxes.len() > SLICE {
        let slice = outboxes.split_off(outboxes.len() - SLICE);
        tokio::spawn(async move { slice.iter().for_each(|outbox| outbox.flush(urgency)) });
    }
    outboxes.iter().for_each(|outbox| outbox.flush(urgency));
}

#[cfg(test)]
mod tests {
    use std::io::{self, IoSlice};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::chat::send_queue::Socket;
    use crate::protocol::ConnectionId;

    /// Counts the calls.
    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Socket for Calls {
        fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(slices.iter().map(|slice| slice.len()).sum())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_of_one_interval_go_out_with_one_call() {
        let (list, total, stop) = (FlushList::default(), SendBudget::default(), CancellationToken::new());
        let calls = Arc::new(Calls::default());
        let outbox = Arc::new(Outbox::new(ConnectionId::generate(), 1_000, Arc::default()));
        outbox.attach(calls.clone());
        let push = |urgency| {
            let mut fan_out = FanOut::new(Bytes::from_static(b"event"), urgency, 1);
            assert!(fan_out.push(&outbox));
            list.end(fan_out, &total);
        };
        let scenario = async {
            let begun = Instant::now();
            // Paused time moves on only when every task waits.
            let mut written_after = Vec::new();
            for urgency in [Urgency::NextRound, Urgency::NextRound, Urgency::Soon, Urgency::NextRound] {
                push(urgency);
                push(urgency);
                let before = calls.0.load(Ordering::Relaxed);
                while calls.0.load(Ordering::Relaxed) == before {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                written_after.push((calls.0.load(Ordering::Relaxed) - before, begun.elapsed().as_millis()));
            }
            stop.cancel();
            written_after
        };
        let (written_after, ()) = tokio::join!(scenario, list.run(|| {}, stop.clone()));
        let [first, second, message, third] = written_after[..] else { panic!("{written_after:?}") };
        assert_eq!([first.0, second.0, message.0, third.0], [1, 1, 1, 1]);
        assert!(first.1 <= 2, "nothing was written for a long time: {written_after:?}");
        assert!((250..=254).contains(&second.1), "{written_after:?}");
        assert!(message.1 - second.1 <= 2, "a message does not wait: {written_after:?}");
        assert!((500..=506).contains(&third.1), "{written_after:?}");
    }
}
