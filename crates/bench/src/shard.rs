//! One thread of the load generator. Owns the thread with its runtime, the connections that run on it, and the state that they
//! share, behind one lock that only the progress line contends for. Given orders by the fleet.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::connection;
use crate::log::Log;
use crate::run::Run;
use crate::session::{Command, Session};
use crate::state::{State, lock};

/// How many orders may wait; the rest waits with who gives them.
const MAX_ORDERS: usize = 4_096;

/// How many commands may wait for a connection.
const MAX_COMMANDS: usize = 1_024;

/// What a thread is told.
#[derive(Debug)]
pub(crate) enum Order {
    /// Open this connection, intended for this time.
    Open { seat: u32, intended: u64 },
    /// Open these connections, at most so many at the same time.
    OpenAll { seats: Vec<u32>, at_once: usize },
    /// Tell a connection something. It is dropped, and counted, if too much waits there.
    Command { seat: u32, command: Command },
}

/// A running thread.
pub(crate) struct Shard {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) orders: mpsc::Sender<Order>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Shard {
    /// Starts a thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(run: Arc<Run>) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::new()));
        let (orders, received) = mpsc::channel(MAX_ORDERS);
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = Work {
            run,
            state: Arc::clone(&state),
            stopped,
            commands: HashMap::new(),
            connections: JoinSet::new(),
        };
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || runtime.block_on(work.serve(received)))?;
        Ok(Self { state, orders, stop, thread: Some(thread) })
    }

    /// Closes all connections.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until all connections are closed.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic has been reported on standard error.
            let _ = thread.join();
        }
    }
}

/// What runs on the thread.
struct Work {
    run: Arc<Run>,
    state: Arc<Mutex<State>>,
    stopped: watch::Receiver<bool>,
    commands: HashMap<u32, mpsc::Sender<Command>>,
    connections: JoinSet<()>,
}

impl Work {
    async fn serve(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut stopped = self.stopped.clone();
        // The CPU time can only be read on the thread itself.
        let mut clock = tokio::time::interval(std::time::Duration::from_millis(50));
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                Some(order) = orders.recv() => self.obey(order),
                Some(_) = self.connections.join_next() => {}
                _ = clock.tick() => self.read_cpu(),
            }
        }
        while self.connections.join_next().await.is_some() {}
        self.read_cpu();
    }

    fn read_cpu(&self) {
        lock(&self.state).cpu_nanos = crate::machine::thread_cpu_nanos();
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Open { seat, intended } => self.open(seat, Some(intended), None),
            Order::OpenAll { seats, at_once } => {
                let places = Arc::new(Semaphore::new(at_once.max(1)));
                for seat in seats {
                    self.open(seat, None, Some(Arc::clone(&places)));
                }
            }
            Order::Command { seat, command } => {
                let sent =
                    self.commands.get(&seat).is_some_and(|commands| commands.try_send(command).is_ok());
                if !sent {
                    lock(&self.state).tally.counts.skipped += 1;
                }
            }
        }
    }

    fn open(&mut self, seat: u32, intended: Option<u64>, places: Option<Arc<Semaphore>>) {
        let plan = &self.run.seats[seat as usize];
        let mut logs: Vec<Log> = plan.topics.iter().map(|topic| Log::new(*topic)).collect();
        if plan.comes_back {
            for log in &mut logs {
                if let Some(position) = self.run.topics[log.topic as usize].start.get() {
                    log.start_at(*position);
                    log.is_whole = false;
                }
            }
        }
        let local = {
            let mut state = lock(&self.state);
            state.logs.push(logs);
            state.logs.len() - 1
        };
        let commands = plan.is_commanded.then(|| {
            let (send, receive) = mpsc::channel(MAX_COMMANDS);
            self.commands.insert(seat, send);
            receive
        });
        let session = Session::new(Arc::clone(&self.run), seat, local);
        let (state, stopped) = (Arc::clone(&self.state), self.stopped.clone());
        let run = Arc::clone(&self.run);
        self.connections.spawn(async move {
            let place = match places {
                // Never closed; without a place, the connection is opened all the same.
                Some(places) => places.acquire_owned().await.ok(),
                None => None,
            };
            let intended = intended.unwrap_or_else(|| run.now());
            connection::run(session, state, stopped, commands, intended, place).await;
        });
    }
}
