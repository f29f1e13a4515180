//! The life of one connection: opens it, moves bytes between its socket and its session, and comes back when it ends. Owns the
//! waiting, with its deadlines; a shard spawns one task for each.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use chatnode_protocol::{CloseReason, retry_after};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Sleep, sleep, sleep_until, timeout};

use crate::dial::{DialError, dial};
use crate::link::{Link, LinkError};
use crate::reception;
use crate::session::{Command, Ended, Session};
use crate::state::{State, lock};

/// The pause before a connection comes back, unless the server names another: half as long to one and a half times.
const PAUSE: Duration = Duration::from_secs(1);

/// Above this, a connection takes no commands: the server does not read.
const MAX_UNWRITTEN: usize = 1 << 20;

impl From<LinkError> for Ended {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Closed { code, reason } => Self::Closed { code, reason },
            LinkError::Lost(why) => Self::Lost(why),
        }
    }
}

impl Ended {
    /// For the list of reasons: the same text for the same cause.
    fn text(&self) -> String {
        match self {
            Self::Closed { code, reason } => {
                let reason = match CloseReason::from_code(*code, reason) {
                    Some(CloseReason::Full) => {
                        "the node is full: raise max_connections, or name more nodes".to_owned()
                    }
                    Some(known) => known.as_str().replace('_', " "),
                    None => reason.clone(),
                };
                format!("closed by the server with {code}: {reason}")
            }
            Self::Lost(why) | Self::Refused(why) => why.clone(),
        }
    }

    /// How long the server asks to wait.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Closed { reason, .. } => retry_after(reason),
            _ => None,
        }
    }
}

/// Why a connection is not driven any more.
enum Stop {
    /// The run is over.
    Over,
    /// It was told to come back.
    ComeBack,
    Ended(Ended),
}

/// Runs a connection until the run is over, or until it can't join. `place` is given back when it has joined.
pub(crate) async fn run(
    session: Session,
    state: Arc<Mutex<State>>,
    mut stopped: watch::Receiver<bool>,
    commands: Option<mpsc::Receiver<Command>>,
    intended: u64,
    place: Option<OwnedSemaphorePermit>,
) {
    let mut over = pin!(async move {
        // An error means that the fleet is gone, which ends the run too.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    });
    let mut connection = Connection { session, state, commands, place, timer: None };
    let mut intended = intended;
    let mut target = connection.session.seat().target;
    let mut lost_at = None;
    loop {
        let opened = tokio::select! {
            () = &mut over => return,
            opened = connection.open(target, intended) => opened,
        };
        let stop = match opened {
            Ok(mut link) => {
                let stop =
                    std::future::poll_fn(|cx| connection.poll(cx, &mut link, over.as_mut(), intended)).await;
                if let Stop::Over | Stop::ComeBack = stop {
                    link.close().await;
                }
                stop
            }
            Err(ended) => Stop::Ended(ended),
        };
        connection.timer = None;
        let now = connection.session.run().now();
        let has_joined = connection.session.has_joined();
        let pause = match stop {
            Stop::Over => return,
            Stop::ComeBack => None,
            Stop::Ended(ended) => {
                let mut state = lock(&connection.state);
                state.tally.because(&ended.text());
                if has_joined {
                    state.tally.counts.closed += 1;
                    lost_at = Some(now);
                }
                let patience = connection.session.run().timeout.as_nanos() as u64;
                let is_hopeless = lost_at.is_none_or(|lost_at| now - lost_at > patience);
                if !has_joined && (is_hopeless || !connection.session.was_joined()) {
                    state.tally.counts.failed += 1;
                    return;
                }
                // Another node, if there is one.
                target = (target + 1) % connection.session.run().targets.len();
                ended.retry_after()
            }
        };
        let pause = pause.unwrap_or_else(|| PAUSE.mul_f64(rand::random_range(0.5..1.5)));
        tokio::select! {
            () = &mut over => return,
            () = sleep(pause) => {}
        }
        intended = connection.session.run().now();
    }
}

struct Connection {
    session: Session,
    state: Arc<Mutex<State>>,
    commands: Option<mpsc::Receiver<Command>>,
    /// Given back when the connection has joined.
    place: Option<OwnedSemaphorePermit>,
    /// The next deadline, in the time of the run.
    timer: Option<(u64, Pin<Box<Sleep>>)>,
}

impl Connection {
    async fn open(&mut self, target: usize, intended: u64) -> Result<Link, Ended> {
        self.session.begin(intended);
        let run = self.session.run();
        let seat = self.session.seat();
        let source = run.source(self.session.seat_index());
        let dialled = dial(&run.targets[target], source, seat.token.as_ref(), run.mask());
        let mut link = match timeout(run.timeout, dialled).await {
            Ok(Ok(link)) => link,
            Ok(Err(error @ DialError::Refused { .. })) => return Err(Ended::Refused(error.to_string())),
            Ok(Err(error)) => return Err(Ended::Lost(error.to_string())),
            Err(_) => return Err(Ended::Lost(format!("no connection within {:?}", run.timeout))),
        };
        self.session.open(&lock(&self.state), &mut link.out);
        Ok(link)
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        link: &mut Link,
        mut over: Pin<&mut impl Future<Output = ()>>,
        intended: u64,
    ) -> Poll<Stop> {
        if over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Stop::Over);
        }
        loop {
            if let Err(ended) = self.poll_timer(cx, link, intended) {
                return Poll::Ready(Stop::Ended(ended));
            }
            if link.out.len() < MAX_UNWRITTEN
                && let Some(commands) = &mut self.commands
            {
                while let Poll::Ready(Some(command)) = commands.poll_recv(cx) {
                    if command == Command::ComeBack {
                        return Poll::Ready(Stop::ComeBack);
                    }
                    let now = self.session.run().now();
                    self.session.command(command, now, &mut lock(&self.state), &mut link.out);
                }
            }
            if let Poll::Ready(Err(error)) = link.poll_flush(cx) {
                return Poll::Ready(Stop::Ended(error.into()));
            }
            match self.poll_read(cx, link) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(ended)) => return Poll::Ready(Stop::Ended(ended)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads once, and handles what came.
    fn poll_read(&mut self, cx: &mut Context<'_>, link: &mut Link) -> Poll<Result<(), Ended>> {
        let state = &mut *lock(&self.state);
        // The state is changed while the buffer is read.
        let mut buffer = std::mem::take(&mut state.buffer);
        let polled = link.poll_read::<Ended>(cx, &mut buffer).map(|read| {
            let now = self.session.run().now();
            let bytes = &buffer[..read?];
            state.tally.counts.bytes += bytes.len() as u64;
            link.take(bytes, |text, _| reception::take(&mut self.session, text, now, state))?;
            self.session.pump(now, state, &mut link.out);
            if self.place.is_some() && self.session.has_joined() {
                self.place = None;
            }
            Ok(())
        });
        state.buffer = buffer;
        polled
    }

    /// The deadline for the join, and the end of a pause of the closed loop.
    fn poll_timer(&mut self, cx: &mut Context<'_>, link: &mut Link, intended: u64) -> Result<(), Ended> {
        let run = self.session.run();
        let due = match self.session.has_joined() {
            false => Some(intended + run.timeout.as_nanos() as u64),
            true => self.session.paused_until(),
        };
        let Some(due) = due else {
            self.timer = None;
            return Ok(());
        };
        if self.timer.as_ref().is_none_or(|(at, _)| *at != due) {
            self.timer = Some((due, Box::pin(sleep_until(run.instant(due).into()))));
        }
        let Some((_, timer)) = &mut self.timer else { return Ok(()) };
        if timer.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        self.timer = None;
        if !self.session.has_joined() {
            return Err(Ended::Lost(format!("did not join within {:?}", self.session.run().timeout)));
        }
        // The timer may be early by less than its tick.
        let now = self.session.run().now().max(due);
        self.session.pump(now, &mut lock(&self.state), &mut link.out);
        self.session.end_pause();
        Ok(())
    }
}
