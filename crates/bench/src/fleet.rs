//! All threads of the load generator together. Owns which connection is on which thread, the waiting until something has
//! happened to all, and the account of the whole run; the threads do the work. Driven by the scenarios.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::machine;
use crate::run::Run;
use crate::session::Command;
use crate::shard::{Order, Shard};
use crate::state::lock;
use crate::tally::{Counts, Tally};
use crate::verdict::Verdict;

/// How often the state of the threads is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The threads.
pub(crate) struct Fleet {
    run: Arc<Run>,
    shards: Vec<Shard>,
    orders: Orders,
}

/// Gives orders to the threads; can be cloned to the pacer.
#[derive(Clone)]
pub(crate) struct Orders {
    to: Vec<mpsc::Sender<Order>>,
    /// Orders that a thread had no time for.
    dropped: Arc<AtomicU64>,
}

impl Orders {
    /// Gives an order about a seat. Drops and counts it if the thread of the seat has too many.
    pub(crate) fn give(&self, seat: u32, order: Order) {
        if self.to[seat as usize % self.to.len()].try_send(order).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells a connection something, in the same way.
    pub(crate) fn command(&self, seat: u32, command: Command) {
        self.give(seat, Order::Command { seat, command });
    }
}

/// The counters at one moment, and the CPU time until then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    pub(crate) counts: Counts,
    pub(crate) cpu_nanos: u64,
    /// Of the busiest thread.
    threads_cpu_nanos: [u64; MAX_THREADS],
}

/// The most threads.
pub(crate) const MAX_THREADS: usize = 64;

impl Moment {
    /// The share of the time since an earlier moment in which the busiest of so many threads worked.
    pub(crate) fn busiest(&self, earlier: &Self, threads: usize) -> f64 {
        let span = self.at.duration_since(earlier.at).as_nanos().max(1) as f64;
        // The times of the threads are up to 50 ms old, which matters in a short time.
        if span < 1e9 {
            let spent = self.cpu_nanos.saturating_sub(earlier.cpu_nanos) as f64;
            return spent / threads.max(1) as f64 / span;
        }
        let spent = self.threads_cpu_nanos.iter().zip(&earlier.threads_cpu_nanos);
        spent.map(|(now, then)| now.saturating_sub(*then) as f64 / span).fold(0.0, f64::max)
    }
}

/// The account of a whole run.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) verdict: Verdict,
}

/// Nothing happened for too long.
#[derive(Debug, thiserror::Error)]
#[error("{what}{}", lines(.reasons))]
pub(crate) struct Stuck {
    what: String,
    reasons: BTreeMap<String, u64>,
}

fn lines(reasons: &BTreeMap<String, u64>) -> String {
    let lines = reasons.iter().map(|(reason, count)| format!("\n  {count} × {reason}"));
    lines.collect()
}

impl Fleet {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(run: Run, threads: usize) -> io::Result<Self> {
        let run = Arc::new(run);
        let threads = threads.clamp(1, MAX_THREADS);
        let shards: Vec<Shard> =
            (0..threads).map(|_| Shard::start(Arc::clone(&run))).collect::<io::Result<_>>()?;
        let to = shards.iter().map(|shard| shard.orders.clone()).collect();
        let orders = Orders { to, dropped: Arc::new(AtomicU64::new(0)) };
        Ok(Self { run, shards, orders })
    }

    pub(crate) fn run(&self) -> &Arc<Run> {
        &self.run
    }

    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }

    pub(crate) fn threads(&self) -> usize {
        self.shards.len()
    }

    /// Opens connections, at most so many at the same time.
    pub(crate) fn open_all(&self, seats: impl Iterator<Item = u32>, at_once: usize) {
        let threads = self.shards.len();
        let mut by_thread = vec![Vec::new(); threads];
        seats.for_each(|seat| by_thread[seat as usize % threads].push(seat));
        for (index, seats) in by_thread.into_iter().enumerate() {
            let order = Order::OpenAll { seats, at_once: at_once.div_ceil(threads) };
            self.orders.give(index as u32, order);
        }
    }

    /// The counters now.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for shard in &self.shards {
            counts.add(&lock(&shard.state).tally.counts);
        }
        counts.skipped += self.orders.dropped.load(Ordering::Relaxed);
        counts
    }

    /// The counters and the CPU time now.
    pub(crate) fn moment(&self) -> Moment {
        let mut threads_cpu_nanos = [0; MAX_THREADS];
        for (shard, nanos) in self.shards.iter().zip(&mut threads_cpu_nanos) {
            *nanos = lock(&shard.state).cpu_nanos;
        }
        let cpu_nanos = machine::process_cpu_nanos();
        Moment { at: Instant::now(), counts: self.counts(), cpu_nanos, threads_cpu_nanos }
    }

    /// Waits until `is_done`. Gives up when nothing at all has been counted for so long.
    pub(crate) fn wait(
        &self,
        what: &str,
        patience: Duration,
        mut each: impl FnMut(&Counts),
        is_done: impl Fn(&Counts) -> bool,
    ) -> Result<(), Stuck> {
        let (mut last, mut changed) = (self.counts(), Instant::now());
        loop {
            let counts = self.counts();
            each(&counts);
            if is_done(&counts) {
                return Ok(());
            }
            if counts != last {
                (last, changed) = (counts, Instant::now());
            } else if changed.elapsed() > patience {
                let what = format!("{what}: nothing happened for {patience:?}");
                return Err(Stuck { what, reasons: self.account().tally.reasons });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until connections have joined, and fails at the first that did not.
    pub(crate) fn wait_joined(&self, wanted: u64, each: impl FnMut(&Counts)) -> Result<(), Stuck> {
        let patience = self.run.timeout + Duration::from_secs(1);
        self.wait("joining", patience, each, |counts| counts.joined >= wanted || counts.failed > 0)?;
        let counts = self.counts();
        if counts.failed == 0 {
            return Ok(());
        }
        // The first to fail do not always say why: a node that closed three connections refuses the next ones.
        let (end, mut last) = (Instant::now() + Duration::from_secs(2), counts);
        while Instant::now() < end {
            std::thread::sleep(20 * LOOK);
            match self.counts() {
                same if same == last => break,
                changed => last = changed,
            }
        }
        let what = format!("{} of {wanted} connections could not join:", last.failed);
        Err(Stuck { what, reasons: self.account().tally.reasons })
    }

    /// Waits until every message has its answer and reached every member, but not longer than this.
    pub(crate) fn settle(&self, patience: Duration, mut each: impl FnMut(&Counts)) {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            let counts = self.counts();
            each(&counts);
            if counts.unanswered() == 0 && self.account().verdict.lost == 0 {
                return;
            }
            // The account looks at every log of every connection.
            std::thread::sleep(10 * LOOK);
        }
    }

    /// The account so far.
    pub(crate) fn account(&self) -> Outcome {
        let mut tally = Tally::new();
        for shard in &self.shards {
            tally.add(&lock(&shard.state).tally);
        }
        tally.counts.skipped += self.orders.dropped.load(Ordering::Relaxed);
        let mut verdict = Verdict::default();
        for shard in &self.shards {
            for log in lock(&shard.state).logs.iter().flatten() {
                verdict.judge(log, &self.run.topics, &tally.expected);
            }
        }
        Outcome { tally, verdict }
    }

    /// The position of a log at the connection of a seat that was opened in the order of the seats.
    pub(crate) fn position(&self, seat: u32, topic: u32) -> Option<chatnode_protocol::Position> {
        let threads = self.shards.len();
        let state = lock(&self.shards[seat as usize % threads].state);
        let logs = state.logs.get(seat as usize / threads)?;
        logs.iter().find(|log| log.topic == topic)?.since()?.position()
    }

    /// Closes all connections, and waits for that.
    pub(crate) fn end(mut self) {
        for shard in &self.shards {
            shard.stop();
        }
        for shard in &mut self.shards {
            shard.join();
        }
    }
}
