//! Who writes a queue, and who is woken for it.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

/// Takes so many bytes before it is full.
struct Window(Mutex<usize>);

impl Socket for Window {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut room = self.0.lock().unwrap();
        let count = slices.iter().map(|slice| slice.len()).sum::<usize>().min(*room);
        *room -= count;
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }
}

/// The task of a connection; counts how often it is woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Task {
    fn poll<R>(self: &Arc<Self>, future: Pin<&mut impl Future<Output = R>>) -> Poll<R> {
        future.poll(&mut Context::from_waker(&Waker::from(self.clone())))
    }

    fn wakes(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

const MAX_BYTES: usize = 100;

fn outbox(room: usize) -> (Outbox, Arc<Window>, Arc<SendBudget>) {
    let (window, total) = (Arc::new(Window(Mutex::new(room))), Arc::<SendBudget>::default());
    let outbox = Outbox::new(ConnectionId::generate(), MAX_BYTES, total.clone());
    outbox.attach(window.clone());
    (outbox, window, total)
}

fn push(outbox: &Outbox, bytes: usize) -> Pushed {
    push_with(outbox, Urgency::Soon, bytes)
}

fn push_with(outbox: &Outbox, urgency: Urgency, bytes: usize) -> Pushed {
    let pushed = outbox.push(&Bytes::from(vec![0; bytes]), urgency);
    outbox.total.add(if pushed == Pushed::Refused { 0 } else { bytes });
    pushed
}

#[test]
fn fan_out_that_the_socket_takes_wakes_no_task() {
    let (outbox, _window, total) = outbox(usize::MAX);
    let task = Arc::<Task>::default();
    let (mut work, mut closing) = (pin!(outbox.work()), pin!(outbox.closing()));
    assert!(task.poll(work.as_mut()).is_pending() && task.poll(closing.as_mut()).is_pending());
    assert_eq!(push(&outbox, 10), Pushed::ToFlush);
    assert_eq!(push(&outbox, 10), Pushed::Queued, "the first pusher writes both");
    assert_eq!(total.get(), 20);
    outbox.flush(Urgency::Soon);
    assert_eq!((total.get(), task.wakes()), (0, 0));
    assert_eq!(push(&outbox, 10), Pushed::ToFlush);
}

#[test]
fn events_wait_for_their_round_or_for_a_message() {
    let (outbox, _window, total) = outbox(usize::MAX);
    assert_eq!(push_with(&outbox, Urgency::NextRound, 10), Pushed::ToFlush);
    assert_eq!(push_with(&outbox, Urgency::NextRound, 10), Pushed::Queued, "the round writes both");
    outbox.flush(Urgency::NextRound);
    assert_eq!(total.get(), 0);
    assert_eq!(push_with(&outbox, Urgency::NextRound, 10), Pushed::ToFlush);
    assert_eq!(push(&outbox, 10), Pushed::ToFlush, "a message does not wait for the round");
    assert_eq!(push_with(&outbox, Urgency::NextRound, 10), Pushed::Queued);
    outbox.flush(Urgency::Soon);
    assert_eq!(total.get(), 0);
    assert_eq!(push_with(&outbox, Urgency::NextRound, 10), Pushed::Queued, "its round is still to come");
    outbox.flush(Urgency::NextRound);
    assert_eq!(total.get(), 0);
}

#[test]
fn full_socket_is_left_to_the_task() {
    let (outbox, window, total) = outbox(15);
    let task = Arc::<Task>::default();
    let mut work = pin!(outbox.work());
    assert!(task.poll(work.as_mut()).is_pending());
    assert_eq!(push(&outbox, 20), Pushed::ToFlush);
    outbox.flush(Urgency::Soon);
    assert_eq!((total.get(), task.wakes()), (5, 1));
    assert_eq!(push(&outbox, 20), Pushed::Queued, "the task writes it");
    *window.0.lock().unwrap() = 10;
    outbox.flush(Urgency::Soon);
    assert_eq!(total.get(), 25, "only the task knows when the socket has room");
    assert_eq!(task.poll(work.as_mut()), Poll::Ready(Work::Wait { has_progress: true }));
    outbox.socket_has_room();
    let mut work = pin!(outbox.work());
    assert_eq!(task.poll(work.as_mut()), Poll::Ready(Work::Wait { has_progress: true }));
    assert_eq!(total.get(), 15);
    outbox.socket_has_room();
    let mut work = pin!(outbox.work());
    assert_eq!(task.poll(work.as_mut()), Poll::Ready(Work::Wait { has_progress: false }));
}

#[test]
fn reader_of_a_full_queue_is_woken_when_it_is_half_empty() {
    let (outbox, window, _) = outbox(0);
    let task = Arc::<Task>::default();
    outbox.reply(Bytes::from(vec![0; 90]));
    let (mut room, mut work) = (pin!(outbox.has_room()), pin!(outbox.work()));
    assert!(task.poll(room.as_mut()).is_pending());
    assert_eq!(task.poll(work.as_mut()), Poll::Ready(Work::Wait { has_progress: false }));
    assert_eq!(push(&outbox, 20), Pushed::Refused);
    for (taken, wakes) in [(30, 0), (10, 1)] {
        *window.0.lock().unwrap() = taken;
        outbox.socket_has_room();
        let mut work = pin!(outbox.work());
        assert!(task.poll(work.as_mut()).is_ready());
        assert_eq!(task.wakes(), wakes, "{taken}");
    }
    assert!(task.poll(room.as_mut()).is_ready());
}

#[test]
fn private_message_before_a_planned_ping_wakes_no_task() {
    let (outbox, ..) = outbox(usize::MAX);
    let task = Arc::<Task>::default();
    let mut wanted = pin!(outbox.ping_wanted());
    assert!(task.poll(wanted.as_mut()).is_pending());
    outbox.want_ping();
    assert_eq!(task.wakes(), 1);
    assert!(task.poll(wanted.as_mut()).is_ready());
    let mut wanted = pin!(outbox.ping_wanted());
    assert!(task.poll(wanted.as_mut()).is_pending());
    outbox.want_ping();
    assert_eq!(task.wakes(), 0, "the ping that is planned proves this message too");
    outbox.ping_sent();
    outbox.want_ping();
    assert_eq!(task.wakes(), 1);
    assert!(task.poll(wanted.as_mut()).is_ready());
}

#[test]
fn closing_wakes_the_task_once_everything_is_written() {
    let (outbox, ..) = outbox(usize::MAX);
    let task = Arc::<Task>::default();
    let mut work = pin!(outbox.work());
    assert!(task.poll(work.as_mut()).is_pending());
    assert_eq!(push(&outbox, 10), Pushed::ToFlush);
    outbox.close(CloseReason::Normal.into());
    assert_eq!(task.wakes(), 1);
    assert!(task.poll(work.as_mut()).is_pending(), "somebody else is about to write");
    outbox.flush(Urgency::Soon);
    assert_eq!(task.wakes(), 1);
    assert_eq!(task.poll(work.as_mut()), Poll::Ready(Work::Close(CloseReason::Normal.into())));
    outbox.close(CloseReason::Slow.into());
    assert_eq!(task.poll(pin!(outbox.closing())), Poll::Ready(CloseReason::Normal.into()));
}
