//! The keys, the pasted texts and the changes of size. Owns the thread that reads them; does not know what they mean. Called by
//! the terminal.

use std::io;

use crossterm::event::{Event, read};
use tokio::sync::mpsc;

/// The most events read ahead.
const READ_AHEAD: usize = 64;

/// Starts to read. An error is the last item. Nobody waits for the thread: a read can't be interrupted, and ends with the
/// process. (The stream of crossterm reads on the thread of its caller once a sequence has begun, however long the rest takes.)
pub(super) fn start() -> io::Result<mpsc::Receiver<io::Result<Event>>> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    std::thread::Builder::new().name("keyboard".into()).spawn(move || {
        loop {
            let event = read();
            let is_last = event.is_err();
            if sender.blocking_send(event).is_err() || is_last {
                return;
            }
        }
    })?;
    Ok(receiver)
}
