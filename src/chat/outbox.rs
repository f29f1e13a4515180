//! The bounded queue to one connection. Owns who writes it and who is woken, and what happens when too much is queued:
//! fan-out is refused (the member lags and is served later), and replies make the
//! reader wait. Topics and the session push to it. Whoever has pushed writes it to the socket, as far as the socket takes
//! it at once; only for the rest the connection's task has to wake up.

mod proof;
mod removal;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::send_budget::SendBudget;
use super::send_queue::{SendQueue, Socket, SocketState};
use super::topic::LocalTopic;
use crate::protocol::{CloseReason, ConnectionId, RoomName, UserName};

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

/// Whether a ping has to prove that a private message arrived.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Proof {
    #[default]
    NotNeeded,
    /// The connection does not know it yet.
    Wanted,
    /// The connection will send the ping soon. Further messages need no other one, and wake nobody.
    Planned,
}

/// What the connection's task waits for, as bits: a change of something else does not wake it.
type Waits = u8;
const FOR_SOCKET: Waits = 1;
const FOR_ROOM: Waits = 1 << 1;
const FOR_LAGGING: Waits = 1 << 2;
const FOR_CLOSE: Waits = 1 << 3;
const FOR_PROOF: Waits = 1 << 4;
const FOR_PAGE: Waits = 1 << 5;
const FOR_REMOVAL: Waits = 1 << 6;

#[derive(Default)]
struct State {
    queue: SendQueue,
    /// Someone is about to write.
    is_dirty: bool,
    /// The next round of events writes what is queued by then.
    is_in_round: bool,
    /// Topics in which this connection lags, in the order in which it began to.
    lagging: VecDeque<Arc<LocalTopic>>,
    close: Option<Close>,
    /// Rooms that this connection was taken out of, until its session knows.
    removed: Vec<RoomName>,
    proof: Proof,
    is_closed: bool,
    /// Reading, writing and serving lagging topics are one task, so one waker serves all of them.
    waker: Option<Waker>,
    waits: Waits,
}

impl State {
    fn register(&mut self, cx: &Context<'_>, waits: Waits) {
        self.waits |= waits;
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    /// The waker, if the task waits for one of these. It asks for everything again afterwards.
    fn waker_for(&mut self, waits: Waits) -> Option<Waker> {
        if self.waits & waits == 0 {
            return None;
        }
        self.waits = 0;
        self.waker.take()
    }
}

/// What the write loop has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Wait until the socket has room, and tell it with [`Outbox::socket_has_room`].
    Wait {
        /// Whether any bytes were written since the last time.
        has_progress: bool,
    },
    /// The connection is gone.
    Lost,
    /// Close the connection: nothing is left to write.
    Close(Close),
}

/// When a block has to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// As soon as the tasks that are ready have run.
    Soon,
    /// With the next round of events, or with the next block that is written to the connection.
    NextRound,
}

/// What became of a block of fan-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It is queued, and the caller has to see to [`Outbox::flush`] with its urgency.
    ToFlush,
    /// It is queued, and somebody else writes it.
    Queued,
    /// There is no room for it; nothing was queued.
    Refused,
}

/// The queue to one connection. Over `max_bytes`, fan-out is refused. Replies are still taken, but the connection reads no
/// further request until the queue is half empty again.
pub struct Outbox {
    id: ConnectionId,
    /// The user that the connection is bound to.
    user: OnceLock<UserName>,
    state: Mutex<State>,
    max_bytes: usize,
    total: Arc<SendBudget>,
    /// Bytes that were read from the store for this connection and not sent to it, since they were last charged.
    owed: AtomicUsize,
}

impl Outbox {
    /// An empty queue that holds at most `max_bytes` of fan-out, and one reply more than that.
    pub fn new(id: ConnectionId, max_bytes: usize, total: Arc<SendBudget>) -> Self {
        let (user, state, owed) = (OnceLock::new(), Mutex::default(), AtomicUsize::new(0));
        Self { id, user, state, max_bytes, total, owed }
    }

    /// The connection.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to how many queued bytes there is room for a page of a log. While pages are short, only connections that drain
    /// get them.
    fn page_room(&self) -> usize {
        self.max_bytes / if self.total.is_short() { 32 } else { 4 }
    }

    /// Changes the state, then wakes the task with no lock held if it waits for one of these.
    fn change(&self, waits: Waits, change: impl FnOnce(&mut State)) {
        let waker = {
            let mut state = self.lock();
            change(&mut state);
            state.waker_for(waits)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// From now on, the queue is written to this socket.
    pub fn attach(&self, socket: Arc<dyn Socket>) {
        self.change(FOR_SOCKET, |state| state.queue.attach(socket));
    }

    /// Queues a block of fan-out: one reference count, no copy. The caller adds the block to the node's total, once for all
    /// members.
    pub(super) fn push(&self, block: &Bytes, urgency: Urgency) -> Pushed {
        let mut state = self.lock();
        if state.is_closed {
            return Pushed::Queued;
        }
        // A block larger than the whole bound still fits an empty queue, or it could never be sent.
        if !state.queue.is_empty() && state.queue.bytes() + block.len() > self.max_bytes {
            return Pushed::Refused;
        }
        state.queue.push(block.clone());
        if state.queue.state() != SocketState::Open {
            return Pushed::Queued;
        }
        let is_awaited = match urgency {
            Urgency::Soon => std::mem::replace(&mut state.is_dirty, true),
            Urgency::NextRound => state.is_dirty || std::mem::replace(&mut state.is_in_round, true),
        };
        if is_awaited { Pushed::Queued } else { Pushed::ToFlush }
    }

    /// True if the caller has to see to [`Outbox::flush`]; else somebody does already, or there is nothing to write to. Until
    /// then, what is queued waits.
    pub(super) fn is_to_be_flushed(&self) -> bool {
        let mut state = self.lock();
        let is_open = !state.is_closed && state.queue.state() == SocketState::Open;
        is_open && !std::mem::replace(&mut state.is_dirty, true)
    }

    /// Writes what is queued, in one system call unless the socket is full. The lock is held meanwhile: the socket does not
    /// wait.
    pub(super) fn flush(&self, urgency: Urgency) {
        let waker = {
            let mut state = self.lock();
            match urgency {
                Urgency::Soon => state.is_dirty = false,
                Urgency::NextRound => state.is_in_round = false,
            }
            self.write(&mut state)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Writes what the socket takes. Returns whom to wake for it.
    fn write(&self, state: &mut State) -> Option<Waker> {
        let written = state.queue.write();
        self.total.subtract(written);
        let mut waits = 0;
        if state.queue.state() != SocketState::Open || state.close.is_some() {
            waits |= FOR_SOCKET;
        }
        if state.queue.bytes() <= self.max_bytes / 2 {
            waits |= FOR_ROOM;
        }
        if state.queue.bytes() <= self.page_room() {
            waits |= if state.lagging.is_empty() { FOR_PAGE } else { FOR_PAGE | FOR_LAGGING };
        }
        state.waker_for(waits)
    }

    /// Queues a reply, however full the queue is: the connection waits for [`Outbox::has_room`] before its next read. Only
    /// for the connection's own task, which asks for [`Outbox::work`] before it waits: it is not woken.
    pub fn reply(&self, frame: Bytes) {
        let mut state = self.lock();
        if !state.is_closed {
            self.total.add(frame.len());
            state.queue.push(frame);
        }
    }

    /// Queues a frame from another task, however full the queue is, and writes it: for what a connection gets once.
    pub(super) fn write_now(&self, frame: Bytes) {
        self.reply(frame);
        self.flush(Urgency::Soon);
    }

    /// Notes that this connection lags in a topic. Called once per topic: the topic keeps that state.
    pub(super) fn mark_lagging(&self, topic: Arc<LocalTopic>) {
        self.change(FOR_LAGGING, |state| {
            if !state.is_closed {
                state.lagging.push_back(topic);
            }
        });
    }

    /// Closes the connection after what is queued. The first reason counts.
    pub fn close(&self, close: Close) {
        self.change(FOR_CLOSE | FOR_SOCKET, |state| {
            state.close.get_or_insert(close);
        });
    }

    /// Writes what is queued, unless somebody else is about to, and waits until the write loop has something to do.
    pub async fn work(&self) -> Work {
        poll_fn(|cx| {
            let (work, waker) = {
                let mut state = self.lock();
                // If somebody is about to write anyway, everything goes out with one call. What waits for room was asked for
                // earlier in this poll.
                let is_awaited = state.is_dirty && state.queue.state() == SocketState::Open;
                let waker = if is_awaited { None } else { self.write(&mut state) };
                let work = match state.queue.state() {
                    SocketState::Full => Some(Work::Wait { has_progress: state.queue.take_progress() }),
                    SocketState::Lost => Some(Work::Lost),
                    SocketState::Open if state.queue.is_empty() => state.close.map(Work::Close),
                    SocketState::Open => None,
                };
                if work.is_none() {
                    state.register(cx, FOR_SOCKET);
                }
                (work, waker)
            };
            if let Some(waker) = waker {
                waker.wake();
            }
            work.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// The socket, which was full, has room again: [`Outbox::work`] goes on writing.
    pub fn socket_has_room(&self) {
        self.lock().queue.has_room_again();
    }

    /// Drops what is queued, except the rest of a frame that is partly written.
    pub fn drop_unwritten(&self) {
        let dropped = self.lock().queue.drop_unwritten();
        self.total.subtract(dropped);
    }

    /// Whether more than half of the bound is queued: then nothing is read from this client.
    pub fn is_full(&self) -> bool {
        self.lock().queue.bytes() > self.max_bytes / 2
    }

    /// Whether the client's socket took no more the last time: the client reads nothing, or slowly.
    pub fn is_stalled(&self) -> bool {
        self.lock().queue.state() == SocketState::Full
    }

    /// Waits until `ready` returns something, and asks it again when one of these changes.
    async fn until<R>(&self, waits: Waits, mut ready: impl FnMut(&mut State) -> Option<R>) -> R {
        poll_fn(|cx| {
            let mut state = self.lock();
            if let Some(result) = ready(&mut state) {
                return Poll::Ready(result);
            }
            state.register(cx, waits);
            Poll::Pending
        })
        .await
    }

    /// Waits until at most half of the bound is queued.
    pub async fn has_room(&self) {
        self.until(FOR_ROOM, |state| (state.queue.bytes() <= self.max_bytes / 2).then_some(())).await;
    }

    /// Waits until there is room for a page.
    pub(super) async fn has_page_room(&self) {
        self.until(FOR_PAGE, |state| (state.queue.bytes() <= self.page_room()).then_some(())).await;
    }

    /// Waits until the connection lags in a topic and has room for a page of it.
    pub(super) async fn next_lagging(&self) -> Arc<LocalTopic> {
        self.until(FOR_LAGGING, |state| {
            let has_room = state.queue.bytes() <= self.page_room();
            if has_room { state.lagging.pop_front() } else { None }
        })
        .await
    }

    /// Waits until the node wants to close the connection.
    pub async fn closing(&self) -> Close {
        self.until(FOR_CLOSE, |state| state.close).await
    }

    /// Counts bytes that were read from the store for this connection and are not sent to it: how fast it reads does not slow
    /// them down.
    pub(super) fn owe(&self, bytes: usize) {
        self.owed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What is owed, which is charged now.
    pub(super) fn take_owed(&self) -> usize {
        self.owed.swap(0, Ordering::Relaxed)
    }

    /// Ends the queue: drops what is queued and the socket, and ignores what comes later.
    pub fn shut(&self) {
        let left = {
            let mut state = self.lock();
            state.is_closed = true;
            state.lagging.clear();
            state.queue.end()
        };
        self.total.subtract(left);
    }
}

#[cfg(test)]
mod tests;
