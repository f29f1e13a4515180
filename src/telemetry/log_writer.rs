//! The queue between the code that logs and the log itself. Owns the limit of the queue, the thread that writes, and
//! the number of lost lines; does not format lines. Filled by the subscriber of `telemetry`: adding a line never waits
//! and never fails, whatever happens to the log.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// The limit for all waiting lines, in bytes: about ten seconds of a very busy log.
const QUEUE_BYTES: usize = 1 << 20;

/// What a waiting line costs in addition to its text: its place in the queue and its allocation.
const LINE_BYTES: usize = 64;

/// How long the thread waits without lines before it calls `on_idle` again.
const IDLE: Duration = Duration::from_secs(1);

/// How long the thread waits if the log is non-blocking and full.
const RETRY: Duration = Duration::from_millis(20);

/// The lines that wait for one log. Clones share them.
#[derive(Clone)]
pub(super) struct LogWriter(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// A line was added, or was written.
    changed: Condvar,
    limit: usize,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    is_writing: bool,
    lost: Lost,
}

/// The lines that never reached the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lost {
    /// The queue was full: the log is not read, or not read fast enough.
    pub(super) queue_full: u64,
    /// The log refused them: its disk is full, or its reader is gone.
    pub(super) write_failed: u64,
}

impl Lost {
    fn since(self, earlier: Self) -> Self {
        Self {
            queue_full: self.queue_full - earlier.queue_full,
            write_failed: self.write_failed - earlier.write_failed,
        }
    }
}

impl LogWriter {
    /// Starts the thread that writes to `log`. It calls `on_idle` at least once a second while the log accepts data.
    pub(super) fn start(
        log: impl Write + Send + 'static,
        on_idle: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        Self::with_limit(log, on_idle, QUEUE_BYTES)
    }

    fn with_limit(
        log: impl Write + Send + 'static,
        on_idle: impl FnMut() + Send + 'static,
        limit: usize,
    ) -> io::Result<Self> {
        let shared = Shared { state: Mutex::default(), changed: Condvar::new(), limit };
        let writer = Self(Arc::new(shared));
        let shared = writer.0.clone();
        // Never joined: a write to a pipe that nobody reads does not return.
        thread::Builder::new().name("log".into()).spawn(move || shared.run(log, on_idle))?;
        Ok(writer)
    }

    /// Adds a line. If the queue is full, the line is lost: the older lines tell how the trouble began.
    pub(super) fn add(&self, line: &[u8]) {
        let cost = line.len() + LINE_BYTES;
        {
            let mut state = self.0.lock();
            if state.bytes + cost > self.0.limit {
                state.lost.queue_full += 1;
                return;
            }
            state.bytes += cost;
            state.lines.push_back(line.into());
        }
        self.0.changed.notify_all();
    }

    /// Waits until every line is written, at most for `patience`. Returns whether nothing waits any more.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.0.lock();
        while state.is_writing || !state.lines.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.0.wait(state, left);
        }
        true
    }

    /// The lines lost so far.
    pub(super) fn lost(&self) -> Lost {
        self.0.lock().lost
    }
}

impl Shared {
    // The code under the lock does not panic. If it did, the next line would still be better than none.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, patience: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
    }

    fn run(&self, mut log: impl Write, mut on_idle: impl FnMut()) {
        let mut reported = Lost::default();
        let mut next_idle = Instant::now() + IDLE;
        // Whether the log ends with a part of a line, because its disk became full in the middle of one.
        let mut is_torn = false;
        loop {
            let line = self.next(next_idle);
            if Instant::now() >= next_idle {
                on_idle();
                next_idle = Instant::now() + IDLE;
            }
            let Some(line) = line else { continue };
            let written = write_line(&mut log, &line, &mut is_torn);
            let mut state = self.lock();
            state.is_writing = false;
            state.bytes -= line.len() + LINE_BYTES;
            state.lost.write_failed += u64::from(written.is_err());
            let (lost, is_drained) = (state.lost, state.lines.is_empty());
            drop(state);
            self.changed.notify_all();
            // Only now is there room for this line as well.
            if written.is_ok() && is_drained && lost != reported {
                let missing = lost.since(reported);
                reported = lost;
                tracing::warn!(
                    queue_full = missing.queue_full,
                    write_failed = missing.write_failed,
                    "log lines are missing: the log was full or was not read"
                );
            }
        }
    }

    /// Waits for a line, at most until `until`, and takes it.
    fn next(&self, until: Instant) -> Option<Box<[u8]>> {
        let mut state = self.lock();
        while state.lines.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.wait(state, left);
        }
        let line = state.lines.pop_front();
        state.is_writing = line.is_some();
        line
    }
}

/// Writes one line, with as few calls as possible: other processes may write to the same file.
fn write_line(log: &mut impl Write, line: &[u8], is_torn: &mut bool) -> io::Result<()> {
    if *is_torn {
        write_all(log, b"\n").map_err(|(error, _)| error)?;
        *is_torn = false;
    }
    write_all(log, line).map_err(|(error, written)| {
        *is_torn = written > 0;
        error
    })?;
    log.flush()
}

/// Like [`Write::write_all`], but waits for a non-blocking log, and tells how much was written before an error.
fn write_all(log: &mut impl Write, mut bytes: &[u8]) -> Result<(), (io::Error, usize)> {
    let all = bytes.len();
    while !bytes.is_empty() {
        let written = all - bytes.len();
        match log.write(bytes) {
            Ok(0) => return Err((ErrorKind::WriteZero.into(), written)),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(error) => return Err((error, written)),
        }
    }
    Ok(())
}

/// What the subscriber writes one line to. It never fails: on an error, the subscriber would print to standard error,
/// which panics if that fails too.
pub(super) struct Line<'a>(&'a LogWriter);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Read;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);
    const LINE: [u8; 100] = [b'x'; 100];

    #[test]
    fn lines_are_written_in_order() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let writer = LogWriter::start(pipe, || {}).unwrap();
        for at in 0..100 {
            writer.add(format!("{at}\n").as_bytes());
        }
        assert!(writer.flush(PATIENCE));
        let mut read = [0; 290];
        reader.read_exact(&mut read).unwrap();
        let expected: String = (0..100).map(|at| format!("{at}\n")).collect();
        assert_eq!(str::from_utf8(&read).unwrap(), expected);
        assert_eq!(writer.lost(), Lost::default());
    }

    #[test]
    fn full_pipe_loses_lines_and_blocks_no_caller() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let limit = 100 * (LINE.len() + LINE_BYTES);
        let writer = LogWriter::with_limit(pipe, || {}, limit).unwrap();
        let mut added = 0;
        let mut add = |count: usize| {
            (0..count).for_each(|_| writer.add(&LINE));
            added += count;
            added
        };
        // Nobody reads, so after some time the pipe is full and the thread waits.
        while writer.flush(Duration::from_millis(100)) {
            add(50);
        }
        let added = add(10_000);
        let lost = writer.lost();
        assert!(lost.queue_full >= 10_000 - 100 && lost.write_failed == 0, "{lost:?}");
        assert!(writer.0.lock().bytes <= limit);
        // As soon as somebody reads, the waiting lines arrive, and every line is written or counted.
        let expected = (added - usize::try_from(lost.queue_full).unwrap()) * LINE.len();
        let mut read = vec![0; expected];
        reader.read_exact(&mut read).unwrap();
        assert!(writer.flush(PATIENCE));
        assert_eq!(writer.lost(), lost);
        assert_eq!(writer.0.lock().bytes, 0);
    }

    #[test]
    fn closed_pipe_counts_lost_lines() {
        let (reader, pipe) = io::pipe().unwrap();
        drop(reader);
        let writer = LogWriter::start(pipe, || {}).unwrap();
        writer.add(&LINE);
        writer.add(&LINE);
        assert!(writer.flush(PATIENCE));
        assert_eq!(writer.lost(), Lost { queue_full: 0, write_failed: 2 });
    }

    #[test]
    fn full_disk_counts_lost_lines() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let writer = LogWriter::start(full, || {}).unwrap();
        writer.add(&LINE);
        assert!(writer.flush(PATIENCE));
        assert_eq!(writer.lost(), Lost { queue_full: 0, write_failed: 1 });
    }

    /// A disk that becomes full in the middle of a line, and is then empty again.
    #[test]
    fn torn_line_is_ended_before_the_next_line() {
        struct Disk(Vec<u8>, usize);
        impl Write for Disk {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let count = bytes.len().min(self.1);
                self.1 -= count;
                self.0.extend(&bytes[..count]);
                if count == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(count) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut disk = Disk(Vec::new(), 8);
        let mut is_torn = false;
        let mut write = |disk: &mut Disk, line: &[u8]| write_line(disk, line, &mut is_torn).is_ok();
        assert!(write(&mut disk, b"first\n"));
        assert!(!write(&mut disk, b"second\n"));
        assert!(!write(&mut disk, b"third\n"));
        disk.1 = 100;
        assert!(write(&mut disk, b"fourth\n"));
        assert!(write(&mut disk, b"fifth\n"));
        assert_eq!(str::from_utf8(&disk.0).unwrap(), "first\nse\nfourth\nfifth\n");
    }

    #[test]
    fn idle_log_calls_back() {
        let (told, idle) = std::sync::mpsc::channel();
        let _writer = LogWriter::start(io::sink(), move || told.send(()).unwrap_or_default()).unwrap();
        for _ in 0..2 {
            idle.recv_timeout(PATIENCE).unwrap();
        }
    }
}
