//! The clock of an open loop: says when each event of a schedule is due, whatever became of the ones before. Owns a thread,
//! since the timers of the runtime are as coarse as a millisecond; does not know what the events are. Used by the scenarios.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::run::Run;

/// The longest sleep, so that the thread ends soon once it is told to.
const NAP: Duration = Duration::from_millis(20);

/// A running schedule. Dropping it ends it.
pub(crate) struct Pacer {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Calls `each` with the number and the intended time of every event, `rate` times a second, until it is dropped or `most`
    /// events were due.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(
        run: Arc<Run>,
        rate: f64,
        most: u64,
        mut each: impl FnMut(u64, u64) + Send + 'static,
    ) -> io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let start = run.now();
        let body = move || {
            for number in 0..most {
                let intended = start + due(number, rate);
                while let Some(left) = intended.checked_sub(run.now()).filter(|left| *left > 0) {
                    if told.load(Ordering::Relaxed) {
                        return;
                    }
                    std::thread::sleep(Duration::from_nanos(left).min(NAP));
                }
                if told.load(Ordering::Relaxed) {
                    return;
                }
                each(number, intended);
            }
        };
        let thread = std::thread::Builder::new().name("pacer".to_owned()).spawn(body)?;
        Ok(Self { is_over, thread: Some(thread) })
    }

    /// Whether all events were due.
    pub(crate) fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic has been reported on standard error.
            let _ = thread.join();
        }
    }
}

/// When an event is due, in nanoseconds after the start.
fn due(number: u64, rate: f64) -> u64 {
    (number as f64 * 1e9 / rate) as u64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn events_are_due_at_the_rate_and_end_with_the_pacer() {
        assert_eq!((due(0, 50.0), due(1, 50.0), due(100, 50.0)), (0, 20_000_000, 2_000_000_000));
        let run = Arc::new(Run::new(0, Vec::new(), Vec::new(), Vec::new()));
        let (send, receive) = mpsc::channel();
        let each = move |number, intended| {
            let _ = send.send((number, intended));
        };
        let pacer = Pacer::start(Arc::clone(&run), 10_000.0, 100, each).unwrap();
        let events: Vec<(u64, u64)> = receive.iter().collect();
        assert_eq!(events.len(), 100);
        assert!(
            events.iter().all(|(number, intended)| { *intended == events[0].1 + due(*number, 10_000.0) })
        );
        assert!(run.now() >= events[99].1, "none is early");
        while !pacer.is_done() {
            std::thread::yield_now();
        }
        let endless = Pacer::start(run, 1_000.0, u64::MAX, |_, _| {}).unwrap();
        assert!(!endless.is_done());
        drop(endless);
    }
}
