//! A correct client: it stores its positions, resumes from them, and repeats publishes with an unknown outcome under the same
//! id. Owns the connections of one user, one after the other, and the state that outlives them; decides nothing about faults.
//! Started by the run, one task each.

mod answers;
mod misbehaviour;
mod requests;
mod schedule;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use crate::history::{Event, Kind, Micros, Position, Topic};
use crate::role::Role;
use crate::run_context::{Phase, RunContext};
use crate::wire::{NotConnected, Wire};

/// How many unanswered publishes a client may have.
const IN_FLIGHT: usize = 16;
/// A client that received nothing for this long treats its connection as lost. It pings three times in that period.
const SILENCE: Duration = Duration::from_secs(9);
const PING: Duration = Duration::from_secs(3);
/// A client treats its connection as lost if a request is unanswered for this long.
const UNANSWERED: Duration = Duration::from_secs(10);

/// A publish whose outcome is unknown, or a stored one that is repeated on purpose.
#[derive(Debug, Clone)]
struct Pending {
    id: Uuid,
    topic: Topic,
    kind: Kind,
    due: Instant,
    is_stored: bool,
}

/// A request that waits for its answer.
enum Asked {
    Join(Topic),
    Leave(Topic),
    /// The members of a room, first asked for at this time; the names came already, in pages before.
    Members {
        room: u16,
        asked: Micros,
        users: Vec<u16>,
    },
    /// A page of a room, first asked for at this time.
    Page {
        room: u16,
        asked: Micros,
    },
    Publish {
        op: u64,
        pending: Pending,
        impersonation: bool,
    },
}

/// A request to be sent later on this connection.
enum Later {
    Join(Topic, bool, u32),
    Leave(Topic),
    Page(u16),
    /// The next page of members, after this name.
    Members {
        room: u16,
        asked: Micros,
        users: Vec<u16>,
        after: String,
    },
}

pub struct Client {
    context: Arc<RunContext>,
    role: Role,
    rng: SmallRng,
    positions: HashMap<Topic, Position>,
    /// A position that it had some time ago.
    earlier: HashMap<Topic, Position>,
    pending: VecDeque<Pending>,
    /// The time of the next publish to each room.
    next: Vec<Instant>,
    node: usize,
    resumed: bool,
}

/// The state of one connection.
struct Session {
    conn: u64,
    joined: HashSet<Topic>,
    asked: HashMap<String, (Asked, Instant)>,
    later: Vec<(Instant, Later)>,
    /// Topics joined without a position and with history: messages up to this `seq` don't move the position.
    replaying: HashMap<Topic, u64>,
    received: Instant,
    ping: Instant,
    irregular: Instant,
    members: Instant,
    retries: HashMap<Topic, bool>,
}

/// Why the client gives up a connection, and how long it stays away.
enum Leaving {
    /// It was lost, or closed by the node, which asked the client to wait for this time.
    Lost(u16, Duration),
    /// The client drops it without a close frame.
    Drop(Duration),
    /// The client closes it with a close frame.
    Close(Duration),
    /// The run makes all clients reconnect at once.
    Reconnect,
}

impl Client {
    pub fn new(context: Arc<RunContext>, role: Role) -> Self {
        let rng = SmallRng::seed_from_u64(role.seed);
        let next = vec![Instant::now(); role.publishes.len()];
        let node = role.observes.unwrap_or(role.client as usize % context.nodes.len());
        Self {
            context,
            role,
            rng,
            positions: HashMap::new(),
            earlier: HashMap::new(),
            pending: VecDeque::new(),
            next,
            node,
            resumed: false,
        }
    }

    fn record(&self, event: Event) {
        self.context.recorder.record(event);
    }

    pub async fn run(mut self) {
        let client = self.role.client;
        let mut phase = self.context.phase.clone();
        let mut reconnect = self.context.reconnect.clone();
        if self.role.reads_after.is_some() {
            // An error means that the run is over.
            let _ = self.context.non_readers_start.clone().wait_for(|come| *come).await;
        }
        while self.context.phase() != Phase::Over {
            let mut token = None;
            if let Some(api) = &self.context.api {
                token = self.context.token(self.role.user);
                if token.is_none() {
                    let Some(issued) = api.issue(self.role.user).await else {
                        sleep(Duration::from_millis(300)).await;
                        continue;
                    };
                    self.context.keep_token(self.role.user, issued.clone());
                    token = Some(issued);
                }
            }
            let narrow = self.role.reads_after.is_some();
            let address = if narrow { self.context.direct[self.node] } else { self.context.nodes[self.node] };
            let wire = match Wire::connect(address, self.role.user, token.as_deref(), narrow).await {
                Ok(wire) => wire,
                Err(why) => {
                    if matches!(why, NotConnected::Unauthorized)
                        && let Some(issued) = self.issue().await
                    {
                        self.context.keep_token(self.role.user, issued);
                    }
                    sleep(Duration::from_millis(self.rng.random_range(50..300))).await;
                    self.choose_node();
                    continue;
                }
            };
            let conn = self.context.recorder.number();
            let node = self.node as u8;
            self.record(Event::Connected { client, conn, node });
            reconnect.mark_unchanged();
            let leaving = self.session(wire, conn, &mut phase, &mut reconnect).await;
            let lost = matches!(leaving, Leaving::Lost(..));
            let (code, away) = match leaving {
                Leaving::Lost(code, away) => (code, away),
                Leaving::Drop(away) => (1006, away),
                Leaving::Close(away) => (1000, away),
                Leaving::Reconnect => (1006, Duration::ZERO),
            };
            self.record(Event::Closed { client, conn, code });
            if code == 4001
                && let Some(issued) = self.issue().await
            {
                self.context.keep_token(self.role.user, issued);
            }
            let gone = lost && self.role.stays_away && self.context.phase() == Phase::Publish;
            if (gone || !away.is_zero()) && self.context.phase() < Phase::Resume {
                self.record(Event::Away { client });
                let resume = phase.wait_for(|phase| *phase >= Phase::Resume);
                // Without a fixed time: the bound for ghosts expires after the last fault, however late that is.
                let at_most = if gone { Duration::MAX } else { away };
                timeout(at_most, resume).await.map(|_| ()).unwrap_or_default();
                self.record(Event::Back { client });
            } else if lost {
                sleep(Duration::from_millis(self.rng.random_range(10..200))).await;
            }
            self.choose_node();
        }
    }

    async fn issue(&self) -> Option<String> {
        self.context.api.as_ref()?.issue(self.role.user).await
    }

    fn choose_node(&mut self) {
        if self.role.observes.is_none() {
            self.node = self.rng.random_range(0..self.context.nodes.len());
        }
    }

    async fn session(
        &mut self,
        mut wire: Wire,
        conn: u64,
        phase: &mut watch::Receiver<Phase>,
        reconnect: &mut watch::Receiver<u64>,
    ) -> Leaving {
        let now = Instant::now();
        let mut session = Session {
            conn,
            joined: HashSet::new(),
            asked: HashMap::new(),
            later: Vec::new(),
            replaying: HashMap::new(),
            received: now,
            ping: now + PING,
            irregular: now + self.until_irregular(),
            members: now + Duration::from_secs(1),
            retries: HashMap::new(),
        };
        if self.context.phase() >= Phase::Resume {
            self.resumed = true;
        }
        let leaving = self.converse(&mut wire, &mut session, phase, reconnect).await;
        // The outcome of unanswered publishes is unknown; they are repeated with the same id on the next connection.
        let mut unknown: Vec<(u64, Pending, bool)> = session
            .asked
            .into_values()
            .filter_map(|(asked, _)| match asked {
                Asked::Publish { op, pending, impersonation } => Some((op, pending, impersonation)),
                _ => None,
            })
            .collect();
        unknown.sort_by_key(|(op, ..)| *op);
        for (op, mut pending, impersonation) in unknown.into_iter().rev() {
            self.record(Event::Unknown { op });
            if !impersonation {
                pending.due = Instant::now();
                self.pending.push_front(pending);
            }
        }
        match leaving {
            Leaving::Close(_) => wire.close().await,
            Leaving::Lost(..) | Leaving::Drop(_) | Leaving::Reconnect => drop(wire),
        }
        leaving
    }

    async fn converse(
        &mut self,
        wire: &mut Wire,
        session: &mut Session,
        phase: &mut watch::Receiver<Phase>,
        reconnect: &mut watch::Receiver<u64>,
    ) -> Leaving {
        if self.rng.random_range(0..1000) < self.context.sizes.forgetful_permille {
            self.positions.retain(|topic, _| matches!(topic, Topic::Inbox(_)));
        }
        // The client joins its rooms after the `Ack` of `Auth`. If the `Auth` failed and a following `Enter` succeeded, the node
        // would start the private messages without the client's position.
        if self.role.keeps_inbox {
            if !self.join(wire, session, Topic::Inbox(self.role.user), true, 0).await {
                return Leaving::Lost(1006, Duration::ZERO);
            }
        } else {
            self.enter_rooms(session);
        }
        loop {
            if let Some(pause) = self.role.reads_after
                && self.context.phase() == Phase::Publish
                && self.role.rooms.iter().all(|room| session.joined.contains(&Topic::Room(*room)))
            {
                self.role.reads_after = None;
                self.record(Event::Away { client: self.role.client });
                // Until the end of the pause or of the phase.
                let over = phase.wait_for(|phase| *phase != Phase::Publish);
                timeout(pause, over).await.map(|_| ()).unwrap_or_default();
                self.record(Event::Back { client: self.role.client });
                session.received = Instant::now();
            }
            let due = self.due(session);
            tokio::select! {
                frame = wire.next() => {
                    session.received = Instant::now();
                    if let Some(leaving) = self.receive(session, frame) {
                        return leaving;
                    }
                }
                _ = phase.changed() => {
                    if *phase.borrow_and_update() == Phase::Over {
                        return Leaving::Close(Duration::ZERO);
                    }
                    if self.context.phase() == Phase::Resume && !self.resumed {
                        return Leaving::Drop(Duration::ZERO);
                    }
                }
                _ = reconnect.changed() => return Leaving::Reconnect,
                () = sleep_until(due) => {
                    if let Some(leaving) = self.act(wire, session).await {
                        return leaving;
                    }
                }
            }
        }
    }

    fn enter_rooms(&self, session: &mut Session) {
        let now = Instant::now();
        // It counts only without a position, or if that can't be proved.
        let history = if self.role.client.is_multiple_of(3) { 20 } else { 0 };
        let join = |room: &u16| (now, Later::Join(Topic::Room(*room), true, history));
        session.later.extend(self.role.rooms.iter().map(join));
    }

    fn until_irregular(&mut self) -> Duration {
        self.context.sizes.churn.mul_f64(-self.rng.random_range(0.0001f64..1.0).ln())
    }
}
