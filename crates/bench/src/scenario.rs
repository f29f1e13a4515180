//! Carries out a shape of load: connects, sends, waits, and reads the clocks at the right moments. Owns the order of these steps;
//! the fleet does the work, and the report says what it means. Called once for each run, or for each step of a search.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::fleet::{Fleet, Moment, Stuck};
use crate::machine::LimitError;
use crate::node::{Metrics, Sample, sum};
use crate::pacer::Pacer;
use crate::plan::Shape;
use crate::run::Run;
use crate::session::Command;
use crate::setup::Setup;
use crate::shard::Order;
use crate::tokens::UsersError;

/// How often the nodes are asked for their CPU time.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    /// No users.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// This machine can't.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The nodes can't.
    #[error(
        "the nodes have {free} free seats, and {wanted} connections are wanted: raise max_connections, or name more nodes"
    )]
    Seats { free: u64, wanted: usize },
    /// It does not go on.
    #[error(transparent)]
    Stuck(#[from] Stuck),
    /// The system gives no thread.
    #[error("can't start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// What a run found.
pub(crate) struct Measured {
    pub(crate) shape: Shape,
    pub(crate) outcome: crate::fleet::Outcome,
    /// The measured time, or for joins the time of joining.
    pub(crate) from: Moment,
    pub(crate) to: Moment,
    /// What the nodes said before the first connection, with all connections, and in the measured time. Empty if they say
    /// nothing.
    pub(crate) before: Vec<Metrics>,
    pub(crate) joined: Vec<Metrics>,
    pub(crate) samples: Vec<Sample>,
    /// Why they say nothing.
    pub(crate) no_metrics: Option<String>,
    pub(crate) threads: usize,
}

impl Measured {
    /// Without a measurement yet.
    fn begin(shape: Shape, fleet: &Fleet, before: Vec<Metrics>) -> Self {
        let now = fleet.moment();
        Self {
            shape,
            outcome: fleet.account(),
            from: now,
            to: now,
            before,
            joined: Vec::new(),
            samples: Vec::new(),
            no_metrics: None,
            threads: fleet.threads(),
        }
    }
}

impl Setup {
    /// Carries out a shape.
    ///
    /// # Errors
    /// It can't be carried out; a bad result is none.
    pub(crate) fn execute(&mut self, shape: Shape) -> Result<Measured, ScenarioError> {
        let id: u32 = rand::random();
        let prefix = format!("bench-{id:08x}-");
        let count = shape.connections();
        let addresses = (0..count).map(|seat| self.targets[seat % self.targets.len()].address);
        self.limits.check(addresses, &self.sources)?;
        let (before, no_metrics) = self.read_metrics();
        // Several URLs can lead to the same node, and several nodes can be behind one URL: then only the sum counts.
        let seats = |metrics: &Metrics| (metrics.connections_limit - metrics.connections).max(0.0);
        let free = sum(&before, seats);
        if before.len() == self.targets.len()
            && free < count as f64
            && !matches!(shape, Shape::Connect { .. } | Shape::Storm { .. })
        {
            return Err(ScenarioError::Seats { free: free as u64, wanted: count });
        }
        let users = self.runtime.block_on(self.users.take(count, &prefix, self.timeout))?;
        let (topics, seats) = shape.plan(users, &prefix, self.targets.len());
        let mut run = Run::new(id, self.targets.clone(), topics, seats);
        run.sources.clone_from(&self.sources);
        run.content = "x".repeat(self.size);
        (run.timeout, run.in_flight) = (self.timeout, self.in_flight);
        let fleet = Fleet::start(run, self.threads)?;
        let mut measured = Measured::begin(shape, &fleet, before);
        measured.no_metrics = no_metrics;
        let carried_out = match shape {
            Shape::Connect { rate, .. } => self.join_at_rate(rate, &fleet, &mut measured),
            Shape::Storm { .. } => self.join_at_once(0, &fleet, &mut measured),
            Shape::Resume { rooms, missed, .. } => {
                self.come_back(rooms as u32, missed, &fleet, &mut measured)
            }
            Shape::Idle { .. } | Shape::Rooms { .. } | Shape::Pairs { .. } | Shape::Mixed { .. } => {
                self.drive(shape, &fleet, &mut measured)
            }
        };
        measured.outcome = fleet.account();
        fleet.end();
        self.progress.clear();
        carried_out.map(|()| measured)
    }

    /// The metrics of the nodes, or why there are none.
    fn read_metrics(&self) -> (Vec<Metrics>, Option<String>) {
        match self.runtime.block_on(self.nodes.read(self.timeout)) {
            Ok(metrics) => (metrics, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        }
    }

    fn begin_measuring(&self, fleet: &Fleet, measured: &mut Measured) {
        self.sample(measured);
        measured.from = fleet.moment();
        fleet.run().measure();
    }

    fn end_measuring(&self, fleet: &Fleet, measured: &mut Measured) {
        fleet.run().end_measuring();
        measured.to = fleet.moment();
        self.sample(measured);
    }

    /// Notes what the nodes say now.
    fn sample(&self, measured: &mut Measured) {
        let nodes = self.read_metrics().0;
        // A node that is gone for a moment is left out with the others: the sums would not fit.
        if nodes.len() == measured.before.len() && !nodes.is_empty() {
            measured.samples.push(Sample { at: Instant::now(), nodes });
        }
    }

    /// Lets the load run for so long.
    fn hold(&mut self, stage: &str, time: Duration, fleet: &Fleet) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.progress.show(stage, &fleet.counts());
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    /// Connects, with the intended times of a schedule.
    fn join_at_rate(
        &mut self,
        rate: f64,
        fleet: &Fleet,
        measured: &mut Measured,
    ) -> Result<(), ScenarioError> {
        let (orders, seats) = (fleet.orders().clone(), fleet.run().seats.len() as u64);
        self.begin_measuring(fleet, measured);
        let each = move |number: u64, intended| {
            orders.give(number as u32, Order::Open { seat: number as u32, intended });
        };
        let pacer = Pacer::start(Arc::clone(fleet.run()), rate, seats, each)?;
        let between = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX);
        self.wait_for_joins(seats, between, fleet, || pacer.is_done())?;
        self.end_measuring(fleet, measured);
        measured.joined = measured.samples.last().map(|sample| sample.nodes.clone()).unwrap_or_default();
        Ok(())
    }

    /// Connects the seats from this one on, many at the same time.
    fn join_at_once(
        &mut self,
        first: u32,
        fleet: &Fleet,
        measured: &mut Measured,
    ) -> Result<(), ScenarioError> {
        let seats = fleet.run().seats.len() as u32;
        self.begin_measuring(fleet, measured);
        fleet.open_all(first..seats, self.at_once);
        self.wait_for_joins(seats.into(), Duration::ZERO, fleet, || true)?;
        self.end_measuring(fleet, measured);
        measured.joined = measured.samples.last().map(|sample| sample.nodes.clone()).unwrap_or_default();
        Ok(())
    }

    /// Waits until each has joined or failed; they come with so much time between them.
    fn wait_for_joins(
        &mut self,
        seats: u64,
        between: Duration,
        fleet: &Fleet,
        is_done: impl Fn() -> bool,
    ) -> Result<(), ScenarioError> {
        let patience = (self.timeout + Duration::from_secs(1)).saturating_add(between);
        let each = |counts: &_| self.progress.show("joining", counts);
        fleet.wait("joining", patience, each, |counts| {
            // What a thread had no time for was never opened.
            is_done() && counts.joined + counts.failed + counts.skipped >= seats
        })?;
        Ok(())
    }

    /// Connects everybody, then lets the messages flow, then waits for the last of them.
    fn drive(&mut self, shape: Shape, fleet: &Fleet, measured: &mut Measured) -> Result<(), ScenarioError> {
        let run = fleet.run();
        fleet.open_all(0..run.seats.len() as u32, self.at_once);
        fleet.wait_joined(run.seats.len() as u64, |counts| self.progress.show("joining", counts))?;
        // Events about those who joined last are still on their way.
        self.hold("settling", self.warmup.min(Duration::from_secs(1)), fleet);
        measured.joined = self.read_metrics().0;
        run.is_sending.store(true, Ordering::Relaxed);
        let pacers = start_pacers(shape, fleet)?;
        self.hold("warming up", self.warmup, fleet);
        self.begin_measuring(fleet, measured);
        let end = Instant::now() + self.duration;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.hold("measuring", left.min(SAMPLE_EVERY), fleet);
            self.sample(measured);
        }
        self.end_measuring(fleet, measured);
        drop(pacers);
        run.is_sending.store(false, Ordering::Relaxed);
        fleet.settle(self.timeout, |counts| self.progress.show("finishing", counts));
        Ok(())
    }

    /// Authors write; the others come back from a position before that.
    fn come_back(
        &mut self,
        rooms: u32,
        missed: u32,
        fleet: &Fleet,
        measured: &mut Measured,
    ) -> Result<(), ScenarioError> {
        let run = fleet.run();
        fleet.open_all(0..rooms, self.at_once);
        fleet.wait_joined(rooms.into(), |_| {})?;
        run.is_sending.store(true, Ordering::Relaxed);
        // Nobody can come back to a log without a message: there is no proof of a position in it.
        self.write(rooms, 1, fleet)?;
        for room in 0..rooms {
            if let Some(position) = fleet.position(room, room) {
                let topic = &run.topics[room as usize];
                topic.goal.store(position.seq + u64::from(missed), Ordering::Relaxed);
                // Set once.
                let _ = topic.start.set(position);
            }
        }
        self.write(rooms, missed, fleet)?;
        run.is_sending.store(false, Ordering::Relaxed);
        self.join_at_once(rooms, fleet, measured)?;
        // What comes now came twice.
        self.hold("finishing", Duration::from_millis(300), fleet);
        fleet.settle(self.timeout, |counts| self.progress.show("finishing", counts));
        Ok(())
    }

    /// Lets each author write so many messages, and waits until they have come back.
    fn write(&mut self, authors: u32, messages: u32, fleet: &Fleet) -> Result<(), ScenarioError> {
        let wanted = fleet.counts().acked + u64::from(authors) * u64::from(messages);
        (0..authors).for_each(|seat| fleet.orders().command(seat, Command::Loop { messages }));
        let each = |counts: &_| self.progress.show("writing", counts);
        fleet.wait("writing", self.timeout, each, |counts| {
            counts.acked >= wanted && counts.deliveries >= wanted
        })?;
        Ok(())
    }
}

/// Starts everybody who writes.
fn start_pacers(shape: Shape, fleet: &Fleet) -> io::Result<Vec<Pacer>> {
    let run = fleet.run();
    let seats = run.seats.iter().enumerate().filter(|(_, seat)| seat.writes_to.is_some());
    let writers: Vec<u32> = seats.map(|(index, _)| index as u32).collect();
    let orders = fleet.orders().clone();
    let count = writers.len() as u64;
    let mut pacers = Vec::new();
    match shape {
        Shape::Rooms { rate: None, .. } | Shape::Pairs { rate: None, .. } => {
            writers.iter().for_each(|seat| orders.command(*seat, Command::Loop { messages: u32::MAX }));
        }
        Shape::Rooms { rate: Some(rate), .. } | Shape::Pairs { rate: Some(rate), .. } => {
            pacers.push(Pacer::start(Arc::clone(run), rate, u64::MAX, move |number, intended| {
                orders.command(writers[(number % count) as usize], Command::Publish { intended });
            })?);
        }
        Shape::Mixed { users, rate, churn } => {
            let writers = Shape::writers(users) as u64;
            let to_writers = orders.clone();
            pacers.push(Pacer::start(Arc::clone(run), rate, u64::MAX, move |number, intended| {
                // Of ten actions, eight are messages to a room, one is a private message, and one is typing.
                let command = match number % 10 {
                    9 => Command::Type,
                    8 => Command::Private { intended },
                    _ => Command::Publish { intended },
                };
                // Everybody does everything, since the tens move on with each round.
                to_writers.command(((number + number / writers) % writers) as u32, command);
            })?);
            let others = users as u64 - writers;
            if churn > 0.0 && others > 0 {
                pacers.push(Pacer::start(Arc::clone(run), churn, u64::MAX, move |number, _| {
                    orders.command((writers + number % others) as u32, Command::ComeBack);
                })?);
            }
        }
        Shape::Connect { .. } | Shape::Idle { .. } | Shape::Storm { .. } | Shape::Resume { .. } => {}
    }
    Ok(pacers)
}
