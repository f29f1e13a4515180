//! A client that does everything right: keeps its positions, resumes with them, repeats what it does not know under the
//! same id. Owns one person's connection after another and what they must remember between them; decides nothing about
//! faults. Started by the run, one task each.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use crate::history::{Event, Position, Topic, Verdict};
use crate::stage::{Phase, Stage};
use crate::wire::{
    Frame, NotConnected, Wire, content, request, room_name, room_number, since, user_name, user_number,
};

/// How many publishes a client has on the way at a time.
const IN_FLIGHT: usize = 16;
/// A client that heard nothing for this long takes its connection for lost. It pings thrice in that time.
const SILENCE: Duration = Duration::from_secs(9);
const PING: Duration = Duration::from_secs(3);
/// A request that nobody answered for this long: the connection is taken for lost.
const UNANSWERED: Duration = Duration::from_secs(10);

/// Who a client is and what it does.
#[derive(Debug, Clone)]
pub struct Role {
    pub client: u32,
    pub user: u16,
    pub rooms: Vec<u16>,
    /// Rooms that it publishes to, and the mean pause between two publishes; empty: it only listens.
    pub publishes: Vec<(u16, Duration)>,
    /// Users that it writes private messages to, one in so many publishes.
    pub peers: Vec<u16>,
    /// Keeps its own position of its private log, and gives it in `Auth`.
    pub keeps_inbox: bool,
    /// Whether it comes and goes.
    pub churns: bool,
    /// After losing its connection it stays away until everybody resumes.
    pub fickle: bool,
    /// Tries to publish under this user's name now and then.
    pub poses_as: Option<u16>,
    /// Uses only this node, and asks it for the members of its rooms.
    pub observes: Option<usize>,
    /// Bytes of padding in each message; 0: a few.
    pub bulk: usize,
    /// It comes late, and after it has entered it reads nothing for this long.
    pub reads_after: Option<Duration>,
    pub seed: u64,
}

/// A publish that is not decided, or one that is to be repeated although it is.
#[derive(Debug, Clone)]
struct Pending {
    id: Uuid,
    topic: Topic,
    due: Instant,
    decided: bool,
}

/// What a request's answer is about.
enum Asked {
    Join(Topic),
    Leave(Topic),
    Members(u16, u64),
    Publish { op: u64, pending: Pending, lie: bool },
}

/// What is yet to be sent on this connection.
enum Later {
    Join(Topic, bool, u32),
    Leave(Topic),
}

pub struct Client {
    stage: Arc<Stage>,
    role: Role,
    rng: SmallRng,
    positions: HashMap<Topic, Position>,
    pending: VecDeque<Pending>,
    /// When to publish to each room next.
    next: Vec<Instant>,
    node: usize,
    resumed: bool,
}

/// One connection's own state.
struct Session {
    conn: u64,
    joined: HashSet<Topic>,
    asked: HashMap<String, (Asked, Instant)>,
    later: Vec<(Instant, Later)>,
    /// Joined without a position and with history: what is at or below this does not move the position.
    replaying: HashMap<Topic, u64>,
    heard: Instant,
    ping: Instant,
    odd: Instant,
    members: Instant,
    retries: HashMap<Topic, bool>,
}

/// How a connection ended, from the client's side.
enum Leaving {
    /// Lost, or closed by the node, which asked to stay away for so long.
    Lost(u16, Duration),
    /// Dropped without a word, to stay away for so long.
    Drop(Duration),
    /// Closed properly, to stay away for so long.
    Close(Duration),
    /// The run wants everybody to come back at once.
    Kicked,
}

impl Client {
    pub fn new(stage: Arc<Stage>, role: Role) -> Self {
        let rng = SmallRng::seed_from_u64(role.seed);
        let next = vec![Instant::now(); role.publishes.len()];
        let node = role.observes.unwrap_or(role.client as usize % stage.nodes.len());
        Self {
            stage,
            role,
            rng,
            positions: HashMap::new(),
            pending: VecDeque::new(),
            next,
            node,
            resumed: false,
        }
    }

    fn record(&self, event: Event) {
        self.stage.recorder.record(event);
    }

    pub async fn run(mut self) {
        let client = self.role.client;
        let mut phase = self.stage.phase.clone();
        let mut kick = self.stage.kick.clone();
        if self.role.reads_after.is_some() {
            // An error: the run is over.
            let _ = self.stage.deaf.clone().wait_for(|come| *come).await;
        }
        while self.stage.phase() != Phase::Over {
            let mut token = None;
            if let Some(api) = &self.stage.api {
                token = self.stage.token(self.role.user);
                if token.is_none() {
                    let Some(issued) = api.issue(self.role.user).await else {
                        sleep(Duration::from_millis(300)).await;
                        continue;
                    };
                    self.stage.keep_token(self.role.user, issued.clone());
                    token = Some(issued);
                }
            }
            let narrow = self.role.reads_after.is_some();
            let address = if narrow { self.stage.direct[self.node] } else { self.stage.nodes[self.node] };
            let wire = match Wire::connect(address, self.role.user, token.as_deref(), narrow).await {
                Ok(wire) => wire,
                Err(why) => {
                    if matches!(why, NotConnected::Unauthorized)
                        && let Some(issued) = self.issue().await
                    {
                        self.stage.keep_token(self.role.user, issued);
                    }
                    sleep(Duration::from_millis(self.rng.random_range(50..300))).await;
                    self.elsewhere();
                    continue;
                }
            };
            let conn = self.stage.recorder.number();
            let node = self.node as u8;
            self.record(Event::Connected { client, conn, node });
            kick.mark_unchanged();
            let leaving = self.session(wire, conn, &mut phase, &mut kick).await;
            let lost = matches!(leaving, Leaving::Lost(..));
            let (code, away) = match leaving {
                Leaving::Lost(code, away) => (code, away),
                Leaving::Drop(away) => (1006, away),
                Leaving::Close(away) => (1000, away),
                Leaving::Kicked => (1006, Duration::ZERO),
            };
            self.record(Event::Closed { client, conn, code });
            if code == 4001
                && let Some(issued) = self.issue().await
            {
                self.stage.keep_token(self.role.user, issued);
            }
            let gone = lost && self.role.fickle && self.stage.phase() == Phase::Talk;
            if (gone || !away.is_zero()) && self.stage.phase() < Phase::Resume {
                self.record(Event::Away { client });
                let resume = phase.wait_for(|phase| *phase >= Phase::Resume);
                // Not for a fixed time: the bound for ghosts runs out only after the last fault, however late that is.
                let at_most = if gone { Duration::MAX } else { away };
                timeout(at_most, resume).await.map(|_| ()).unwrap_or_default();
                self.record(Event::Back { client });
            } else if lost {
                sleep(Duration::from_millis(self.rng.random_range(10..200))).await;
            }
            self.elsewhere();
        }
    }

    async fn issue(&self) -> Option<String> {
        self.stage.api.as_ref()?.issue(self.role.user).await
    }

    fn elsewhere(&mut self) {
        if self.role.observes.is_none() {
            self.node = self.rng.random_range(0..self.stage.nodes.len());
        }
    }

    async fn session(
        &mut self,
        mut wire: Wire,
        conn: u64,
        phase: &mut watch::Receiver<Phase>,
        kick: &mut watch::Receiver<u64>,
    ) -> Leaving {
        let now = Instant::now();
        let mut session = Session {
            conn,
            joined: HashSet::new(),
            asked: HashMap::new(),
            later: Vec::new(),
            replaying: HashMap::new(),
            heard: now,
            ping: now + PING,
            odd: now + self.until_odd(),
            members: now + Duration::from_secs(1),
            retries: HashMap::new(),
        };
        if self.stage.phase() >= Phase::Resume {
            self.resumed = true;
        }
        let leaving = self.talk(&mut wire, &mut session, phase, kick).await;
        // What was on the way is unknown now; it is repeated under the same id on the next connection.
        let mut unknown: Vec<(u64, Pending, bool)> = session
            .asked
            .into_values()
            .filter_map(|(asked, _)| match asked {
                Asked::Publish { op, pending, lie } => Some((op, pending, lie)),
                _ => None,
            })
            .collect();
        unknown.sort_by_key(|(op, ..)| *op);
        for (op, mut pending, lie) in unknown.into_iter().rev() {
            self.record(Event::Unknown { op });
            if !lie {
                pending.due = Instant::now();
                self.pending.push_front(pending);
            }
        }
        match leaving {
            Leaving::Close(_) => wire.close().await,
            Leaving::Lost(..) | Leaving::Drop(_) | Leaving::Kicked => drop(wire),
        }
        leaving
    }

    async fn talk(
        &mut self,
        wire: &mut Wire,
        session: &mut Session,
        phase: &mut watch::Receiver<Phase>,
        kick: &mut watch::Receiver<u64>,
    ) -> Leaving {
        if self.rng.random_range(0..1000) < self.stage.sizes.forgetful_permille {
            self.positions.retain(|topic, _| matches!(topic, Topic::Inbox(_)));
        }
        // The rooms after the `Ack` of `Auth`: an `Enter` that is accepted where the `Auth` before it was not would start
        // the private messages without the position.
        if self.role.keeps_inbox {
            if !self.join(wire, session, Topic::Inbox(self.role.user), true, 0).await {
                return Leaving::Lost(1006, Duration::ZERO);
            }
        } else {
            self.enter_rooms(session);
        }
        loop {
            if let Some(pause) = self.role.reads_after
                && self.stage.phase() == Phase::Talk
                && self.role.rooms.iter().all(|room| session.joined.contains(&Topic::Room(*room)))
            {
                self.role.reads_after = None;
                self.record(Event::Away { client: self.role.client });
                // Until the end of the pause, or of the talk.
                let over = phase.wait_for(|phase| *phase != Phase::Talk);
                timeout(pause, over).await.map(|_| ()).unwrap_or_default();
                self.record(Event::Back { client: self.role.client });
                session.heard = Instant::now();
            }
            let due = self.due(session);
            tokio::select! {
                frame = wire.next() => {
                    session.heard = Instant::now();
                    if let Some(leaving) = self.hear(session, frame) {
                        return leaving;
                    }
                }
                _ = phase.changed() => {
                    if *phase.borrow_and_update() == Phase::Over {
                        return Leaving::Close(Duration::ZERO);
                    }
                    if self.stage.phase() == Phase::Resume && !self.resumed {
                        return Leaving::Drop(Duration::ZERO);
                    }
                }
                _ = kick.changed() => return Leaving::Kicked,
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
        session
            .later
            .extend(self.role.rooms.iter().map(|room| (now, Later::Join(Topic::Room(*room), true, 0))));
    }

    fn until_odd(&mut self) -> Duration {
        self.stage.sizes.churn.mul_f64(-self.rng.random_range(0.0001f64..1.0).ln())
    }

    /// When there is something to do next.
    fn due(&self, session: &Session) -> Instant {
        let mut due = session.ping.min(session.heard + SILENCE);
        let phase = self.stage.phase();
        if phase == Phase::Talk {
            due = due.min(session.odd);
            if self.may_publish(session) {
                due = self.next.iter().copied().fold(due, Instant::min);
            }
        }
        if self.role.observes.is_some() && phase == Phase::Talk {
            due = due.min(session.members);
        }
        if self.may_publish(session) {
            due = self.pending.iter().map(|pending| pending.due).fold(due, Instant::min);
        }
        session.later.iter().map(|(at, _)| *at).fold(due, Instant::min)
    }

    /// Publishes wait until all rooms are entered, so that what is unknown is repeated first and in order.
    fn may_publish(&self, session: &Session) -> bool {
        let entered = |room: &u16| session.joined.contains(&Topic::Room(*room));
        let on_the_way =
            session.asked.values().filter(|(asked, _)| matches!(asked, Asked::Publish { .. })).count();
        on_the_way < IN_FLIGHT && self.role.rooms.iter().all(entered)
    }

    /// Does what is due. Some: the connection is over.
    async fn act(&mut self, wire: &mut Wire, session: &mut Session) -> Option<Leaving> {
        let now = Instant::now();
        let lost = || Some(Leaving::Lost(1006, Duration::ZERO));
        let (client, conn) = (self.role.client, session.conn);
        let mut unanswered = false;
        for (id, (_, since)) in session.asked.iter().filter(|(_, (_, since))| *since + UNANSWERED < now) {
            let waited = u64::try_from((now - *since).as_micros()).unwrap_or(u64::MAX);
            let asked = self.stage.recorder.now().saturating_sub(waited);
            self.record(Event::Unanswered { client, conn, asked, id: id.clone() });
            unanswered = true;
        }
        if session.heard + SILENCE <= now || unanswered {
            return lost();
        }
        if session.ping <= now {
            session.ping = now + PING;
            if !wire.ping().await {
                return lost();
            }
        }
        if let Some(at) = session.later.iter().position(|(at, _)| *at <= now) {
            let sent = match session.later.swap_remove(at).1 {
                Later::Join(topic, resume, history) => self.join(wire, session, topic, resume, history).await,
                Later::Leave(topic) => self.leave(wire, session, topic).await,
            };
            if !sent {
                return lost();
            }
        }
        if self.may_publish(session)
            && let Some(at) = self.pending.iter().position(|pending| pending.due <= now)
            && let Some(pending) = self.pending.remove(at)
            && !self.publish(wire, session, pending, None).await
        {
            return lost();
        }
        if self.stage.phase() != Phase::Talk {
            return None;
        }
        for at in 0..self.next.len() {
            if self.next[at] <= now && self.may_publish(session) {
                let (room, pause) = self.role.publishes[at];
                // Arrivals of a Poisson process: an open loop, which a slow node does not slow down.
                self.next[at] = now + pause.mul_f64(-self.rng.random_range(0.0001f64..1.0).ln());
                let private = !self.role.peers.is_empty()
                    && self.rng.random_range(0..1000) < self.stage.sizes.private_permille;
                let topic = if private {
                    Topic::Inbox(self.role.peers[self.rng.random_range(0..self.role.peers.len())])
                } else {
                    Topic::Room(room)
                };
                let id = Uuid::from_u128(self.rng.random());
                let pending = Pending { id, topic, due: now, decided: false };
                let lie = self.role.poses_as.filter(|_| self.rng.random_range(0..20) == 0);
                if !self.publish(wire, session, pending, lie).await {
                    return lost();
                }
            }
        }
        if self.role.observes.is_some() && session.members <= now {
            session.members = now + Duration::from_millis(500);
            let room = self.role.rooms[self.rng.random_range(0..self.role.rooms.len())];
            let body = json!({ "sender_username": user_name(self.role.user), "room": room_name(room), "limit": 1000 });
            let asked = Asked::Members(room, self.stage.recorder.now());
            if session.joined.contains(&Topic::Room(room))
                && !self.ask(wire, session, "Members", body, asked).await
            {
                return lost();
            }
        }
        if session.odd <= now {
            session.odd = now + self.until_odd();
            if self.role.churns {
                return self.something_unusual(wire, session).await;
            }
        }
        None
    }

    async fn something_unusual(&mut self, wire: &mut Wire, session: &mut Session) -> Option<Leaving> {
        let away = Duration::from_millis(self.rng.random_range(100..3_000));
        let room = Topic::Room(self.role.rooms[self.rng.random_range(0..self.role.rooms.len())]);
        if self.rng.random_range(0..1000) < self.stage.sizes.forged_permille {
            let inbox = Topic::Inbox(self.role.user);
            let private = self.role.keeps_inbox && self.rng.random_range(0..3) == 0;
            self.forge(if private { inbox } else { room });
            return Some(Leaving::Drop(Duration::from_millis(100)));
        }
        match self.rng.random_range(0..6) {
            0 | 1 => return Some(Leaving::Drop(away)),
            2 => return Some(Leaving::Close(away)),
            3 => {
                let (resume, history) = (self.rng.random_bool(0.5), self.rng.random_range(0..20));
                let history = if resume { 0 } else { history };
                session.later.push((Instant::now() + away, Later::Join(room, resume, history)));
                session.later.push((Instant::now(), Later::Leave(room)));
            }
            // Again, while it is in: nothing may be replayed.
            4 if session.joined.contains(&room) => {
                if !self.join(wire, session, room, true, 0).await {
                    return Some(Leaving::Lost(1006, Duration::ZERO));
                }
            }
            _ => return Some(Leaving::Drop(Duration::from_millis(1))),
        }
        None
    }

    /// Puts a position in place of its own that can't be proved: another epoch, a message that is not there, a place
    /// that has not been reached, another message's id, or nothing but garbage.
    fn forge(&mut self, topic: Topic) {
        let Some(position) = self.positions.get_mut(&topic) else { return };
        match self.rng.random_range(0..5) {
            0 => position.epoch = self.rng.random(),
            1 => position.seq += 1_000_000,
            2 => position.seq = position.seq.saturating_sub(1),
            3 => {
                let (epoch, seq) = (self.rng.random(), self.rng.random_range(0..1 << 53));
                *position = Position { epoch, seq, message_id: Uuid::from_u128(self.rng.random()) };
            }
            _ => position.message_id = Uuid::from_u128(self.rng.random()),
        }
        if position.seq == 0 {
            position.message_id = Uuid::from_u128(self.rng.random());
        }
    }

    async fn ask(
        &mut self,
        wire: &mut Wire,
        session: &mut Session,
        kind: &str,
        body: Value,
        asked: Asked,
    ) -> bool {
        let id = match &asked {
            Asked::Publish { pending, .. } => pending.id.to_string(),
            _ => format!("q{}", self.stage.recorder.number()),
        };
        let frame = request(kind, &id, &body);
        session.asked.insert(id, (asked, Instant::now()));
        wire.send(&frame).await
    }

    async fn join(
        &mut self,
        wire: &mut Wire,
        session: &mut Session,
        topic: Topic,
        resume: bool,
        history: u32,
    ) -> bool {
        // One at a time: the answer to a second would be taken for that of the first.
        if session.asked.values().any(|(asked, _)| matches!(asked, Asked::Join(other) if *other == topic)) {
            return true;
        }
        let position = self.positions.get(&topic).copied().filter(|_| resume);
        let (client, conn) = (self.role.client, session.conn);
        let mut body = json!({ "sender_username": user_name(self.role.user) });
        if let Some(position) = position {
            body["since"] = since(position);
        }
        if history > 0 {
            body["history"] = history.into();
        }
        session.replaying.remove(&topic);
        session.retries.insert(topic, resume);
        self.record(Event::Join { client, conn, topic, since: position, history });
        let kind = match topic {
            Topic::Room(room) => {
                body["room"] = room_name(room).into();
                "Enter"
            }
            Topic::Inbox(_) => "Auth",
        };
        self.ask(wire, session, kind, body, Asked::Join(topic)).await
    }

    async fn leave(&mut self, wire: &mut Wire, session: &mut Session, topic: Topic) -> bool {
        let Topic::Room(room) = topic else { return true };
        if !session.joined.remove(&topic) {
            return true;
        }
        self.record(Event::Leave { client: self.role.client, conn: session.conn, topic });
        let body = json!({ "sender_username": user_name(self.role.user), "room": room_name(room) });
        self.ask(wire, session, "Leave", body, Asked::Leave(topic)).await
    }

    async fn publish(
        &mut self,
        wire: &mut Wire,
        session: &mut Session,
        pending: Pending,
        lie: Option<u16>,
    ) -> bool {
        if session.asked.contains_key(&pending.id.to_string()) {
            return true;
        }
        let (op, id, topic) = (self.stage.recorder.number(), pending.id, pending.topic);
        let sender = lie.unwrap_or(self.role.user);
        let padding = if self.role.bulk > 0 { self.role.bulk } else { self.rng.random_range(0..200) };
        let mut body = json!({
            "sender_username": user_name(sender),
            "content": content(id, padding),
        });
        let kind = match topic {
            Topic::Room(room) => {
                body["room"] = room_name(room).into();
                "GroupChat"
            }
            Topic::Inbox(target) => {
                body["target_username"] = user_name(target).into();
                "PrivateChat"
            }
        };
        let (client, conn) = (self.role.client, session.conn);
        self.record(Event::Publish { op, client, conn, topic, id, sender });
        self.ask(wire, session, kind, body, Asked::Publish { op, pending, lie: lie.is_some() }).await
    }

    /// Takes in one frame. Some: the connection is over.
    fn hear(&mut self, session: &mut Session, frame: Frame) -> Option<Leaving> {
        let (client, conn) = (self.role.client, session.conn);
        match frame {
            Frame::Chat { topic, at, message_id, sender, id } => {
                self.record(Event::Received { client, conn, topic, at, message_id, sender, id });
                if session.replaying.get(&topic).is_none_or(|until| at.seq > *until) {
                    self.positions.insert(topic, Position { epoch: at.epoch, seq: at.seq, message_id });
                }
            }
            Frame::Gap { topic, reason, next } => {
                session.replaying.remove(&topic);
                self.record(Event::Gap { client, conn, topic, reason, next });
            }
            Frame::Ack { id, body } => match session.asked.remove(&id) {
                Some((asked, _)) => self.acknowledged(session, asked, &body),
                None => self.record(Event::StrayAnswer { client, conn, id }),
            },
            Frame::Error { id: Some(id), code, outcome, retry_after } => match session.asked.remove(&id) {
                Some((asked, _)) => self.failed(session, asked, code, outcome, retry_after),
                None => self.record(Event::StrayAnswer { client, conn, id }),
            },
            // Of the connection, not of a request: that it is delayed.
            Frame::Error { id: None, .. } => {}
            Frame::Other => {}
            Frame::Closed { code, retry_after } => {
                let away = retry_after.unwrap_or_default().min(Duration::from_secs(2));
                return Some(Leaving::Lost(code, away));
            }
        }
        None
    }

    fn acknowledged(&mut self, session: &mut Session, asked: Asked, body: &Value) {
        let (client, conn) = (self.role.client, session.conn);
        match asked {
            Asked::Join(topic) => {
                let top = crate::wire::position(body).expect("the Ack of a join bears a position");
                let verdict = crate::wire::verdict(body);
                let already = body["already"].as_bool().unwrap_or(false);
                self.record(Event::Joined { client, conn, topic, top, verdict, already });
                session.joined.insert(topic);
                if matches!(topic, Topic::Inbox(_)) {
                    self.enter_rooms(session);
                }
                if already {
                    return;
                }
                match verdict {
                    None => {
                        self.positions.insert(topic, top);
                        session.replaying.insert(topic, top.seq);
                    }
                    Some(Verdict::Not { next_seq, .. }) if next_seq > top.seq => {
                        self.positions.insert(topic, top);
                    }
                    Some(_) => {}
                }
            }
            Asked::Leave(topic) => self.record(Event::Left { client, conn, topic }),
            Asked::Members(room, asked) => {
                let names = body["members"].as_array().into_iter().flatten();
                let users =
                    names.map(|name| name.as_str().and_then(user_number).unwrap_or(u16::MAX)).collect();
                debug_assert_eq!(body["room"].as_str().and_then(room_number), Some(room));
                self.record(Event::Members { room, asked, users });
            }
            Asked::Publish { op, mut pending, .. } => {
                let position = crate::wire::position(body).expect("the Ack of a publish bears a position");
                let duplicate = body["duplicate"].as_bool().unwrap_or(false);
                let (at, message_id) = (position.place(), position.message_id);
                self.record(Event::Stored { op, at, message_id, duplicate });
                if !pending.decided && self.rng.random_range(0..1000) < self.stage.sizes.repeat_permille {
                    pending.decided = true;
                    pending.due = Instant::now() + Duration::from_millis(self.rng.random_range(0..5_000));
                    self.pending.push_back(pending);
                }
            }
        }
    }

    fn failed(
        &mut self,
        session: &mut Session,
        asked: Asked,
        code: String,
        outcome: Option<String>,
        retry_after: Option<Duration>,
    ) {
        let again = Instant::now() + retry_after.unwrap_or(Duration::from_millis(300));
        match asked {
            Asked::Join(topic) => {
                let (client, conn) = (self.role.client, session.conn);
                self.record(Event::JoinFailed { client, conn, topic, code });
                let resume = session.retries.get(&topic).copied().unwrap_or(true);
                session.later.push((again, Later::Join(topic, resume, 0)));
            }
            // Left or not: it enters again anyway, and learns it then.
            Asked::Leave(_) => {}
            Asked::Members(..) => {}
            Asked::Publish { op, mut pending, lie } => {
                let unknown =
                    code == "internal" || (code == "unavailable" && outcome.as_deref() != Some("refused"));
                self.record(if unknown { Event::Unknown { op } } else { Event::Refused { op, code } });
                // Half of what was refused is given up for good: nobody may ever see it.
                if !lie && (unknown || self.rng.random_bool(0.5)) {
                    pending.due = again;
                    self.pending.push_back(pending);
                }
            }
        }
    }
}
