//! The thread that prints lines. Owns the line that it prints, and the first error of the output; decides nothing. An output that
//! nobody reads (`| less`, Ctrl+S) stops only this thread: its caller goes on. Called by the line mode.

use std::io::{self, Write};

use tokio::sync::mpsc;

use crate::cli::output::print_error;

enum Order {
    /// For the standard output, with its line break.
    Line(String),
    Error(String),
}

/// The handle of the thread, which has at most one order at a time. The thread ends with the handle.
pub(super) struct Printer {
    orders: mpsc::Sender<Order>,
    /// One answer for each order.
    answers: mpsc::Receiver<io::Result<()>>,
    is_busy: bool,
    failure: Option<io::Error>,
}

impl Printer {
    pub(super) fn start() -> io::Result<Self> {
        let (orders, mut queue) = mpsc::channel(1);
        let (sender, answers) = mpsc::channel(1);
        std::thread::Builder::new().name("printer".into()).spawn(move || {
            while let Some(order) = queue.blocking_recv() {
                if sender.blocking_send(print(&order)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { orders, answers, is_busy: false, failure: None })
    }

    /// Starts to print a line. Nothing after the first failure. The line before must be done.
    pub(super) fn print(&mut self, line: String) {
        if self.failure.is_none() {
            self.order(Order::Line(line));
        }
    }

    /// Starts to print an error. The line before must be done.
    pub(super) fn print_error(&mut self, what: &impl ToString) {
        self.order(Order::Error(what.to_string()));
    }

    /// Waits until the line is printed, if there is one. Cancel safe.
    pub(super) async fn done(&mut self) {
        if self.is_busy {
            let gone = || Err(io::Error::other("the thread that prints has ended"));
            let answer = self.answers.recv().await.unwrap_or_else(gone);
            self.is_busy = false;
            self.failure = self.failure.take().or(answer.err());
        }
    }

    /// Whether the output can't be written.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Why it can't.
    pub(super) fn into_failure(self) -> Option<io::Error> {
        self.failure
    }

    fn order(&mut self, order: Order) {
        // The queue has room unless the thread is gone, which its missing answer tells.
        let _gone = self.orders.try_send(order);
        self.is_busy = true;
    }
}

fn print(order: &Order) -> io::Result<()> {
    match order {
        Order::Line(line) => {
            let mut out = io::stdout().lock();
            out.write_all(line.as_bytes())?;
            out.flush()
        }
        Order::Error(what) => {
            print_error(what);
            Ok(())
        }
    }
}
