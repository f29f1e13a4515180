//! The events of a client as a stream. Owns the reading end of their queue; decides nothing. Filled by the connection task,
//! read by programs.

use std::pin::Pin;
use std::task::{Context, Poll};

use chatnode_protocol::{Position, Topic};
use futures_util::Stream;
use tokio::sync::{mpsc, watch};

use crate::event::Event;

/// The events of a client, in order. The stream ends after [`Event::Closed`].
///
/// The queue is bounded by [`event_capacity`](crate::ConnectOptions::event_capacity). While it is full, the client neither
/// reads from the node nor writes to it. The node then applies its own rules for slow clients: it closes the connection, and
/// the client resumes later. So read the events at once, and do not wait for a receipt in the task that reads them. A
/// program that needs no events drops this stream: the client then discards them.
///
/// A private message counts as received once the program has taken its event. The node hears of it about a second later, or
/// when the client ends. A program that starts again begins after that message; it may get the last ones twice. Messages whose
/// events are discarded do not count as received.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<Event>,
    /// The last private message that the program has taken.
    taken: watch::Sender<Option<Position>>,
}

impl Events {
    pub(crate) fn new(queue: mpsc::Receiver<Event>, taken: watch::Sender<Option<Position>>) -> Self {
        Self { queue, taken }
    }

    fn take(&self, event: Option<Event>) -> Option<Event> {
        if let Some(Event::Message(message)) = &event
            && matches!(message.topic, Topic::User(_))
        {
            self.taken.send_replace(Some(message.position));
        }
        event
    }

    /// Waits for the next event. `None` after the last one. Cancel safe: it can stand in a `select!`.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.queue.recv().await;
        self.take(event)
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.queue.poll_recv(cx).map(|event| self.take(event))
    }
}
