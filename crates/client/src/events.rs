//! The events of a client as a stream. Owns the reading end of their queue; decides nothing. Filled by the connection task,
//! read by programs.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::mpsc;

use crate::event::Event;

/// The events of a client, in order. The stream ends after [`Event::Closed`].
///
/// The queue is bounded by [`event_capacity`](crate::ConnectOptions::event_capacity). While it is full, the client neither
/// reads from the node nor writes to it. The node then applies its own rules for slow clients: it closes the connection, and
/// the client resumes later. So read the events at once, and do not wait for a receipt in the task that reads them. A
/// program that needs no events drops this stream: the client then discards them.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<Event>,
}

impl Events {
    pub(crate) fn new(queue: mpsc::Receiver<Event>) -> Self {
        Self { queue }
    }

    /// Waits for the next event. `None` after the last one. Cancel safe: it can stand in a `select!`.
    pub async fn next(&mut self) -> Option<Event> {
        self.queue.recv().await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.queue.poll_recv(cx)
    }
}
