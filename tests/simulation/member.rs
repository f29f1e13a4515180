//! A member that follows the protocol: it joins and resumes in every order of requests, and checks what it gets against the
//! promises to a member.

use std::collections::{HashMap, HashSet};
use std::future::{pending, poll_fn};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use chatnode::chat::{ClientKind, Node, Outbox, Session, Socket};
use chatnode::protocol::{Epoch, MessageId, Position, Topic};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::next::{Folded, Next};
use crate::reactions::Reactions;
use crate::store::{Log, Store};
use crate::support::silent_client::texts;

/// One request of a member. Each of the log's requests joins it, or comes late.
#[derive(Debug, Clone, Copy)]
pub enum Request {
    /// Joins without a position.
    Plain,
    /// Joins with the position of the last message.
    Resume,
    /// Joins with a position that the member once had.
    Had(usize),
    /// Joins with a position of the log, also one that the member never had.
    InLog(usize),
    /// Joins with a position that no log has.
    Forged,
    /// Joins a room with its newest messages.
    History(u8),
    /// Something else that binds the connection, and so starts its private messages.
    Other(bool),
}

struct Connection {
    requests: mpsc::UnboundedSender<String>,
    /// Asks for everything that is queued.
    drains: mpsc::UnboundedSender<oneshot::Sender<Vec<u8>>>,
    running: JoinHandle<()>,
}

/// What a join asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Join {
    since: Option<Position>,
    history: u8,
    is_forged: bool,
}

/// A socket that takes nothing until the member drains it, and then everything.
#[derive(Default)]
struct Window(Mutex<Option<Vec<u8>>>);

impl Socket for Window {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut window = self.0.lock().unwrap();
        let taken = window.as_mut().ok_or(io::ErrorKind::WouldBlock)?;
        let before = taken.len();
        slices.iter().for_each(|slice| taken.extend_from_slice(slice));
        Ok(taken.len() - before)
    }
}

impl Window {
    /// Everything that is queued at this moment. Runs in the connection's task, like the transport's loops: the queue has
    /// one waker.
    async fn drain(&self, outbox: &Outbox) -> Vec<u8> {
        *self.0.lock().unwrap() = Some(Vec::new());
        outbox.socket_has_room();
        let work = {
            let mut work = pin!(outbox.work());
            poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await
        };
        assert!(work.is_pending(), "the node closed a member: {work:?}");
        self.0.lock().unwrap().take().unwrap()
    }
}

pub struct Member {
    pub name: String,
    topic: Topic,
    connection: Option<Connection>,
    /// Its joins on this connection, by their ids.
    asked: HashMap<String, Join>,
    next: Next,
    /// What may come next as well: it depends on the node whether it sends again what was sent.
    or_next: Option<Next>,
    /// The place before the newest messages that it asked for, and their end.
    folded: Option<(Epoch, u64, u64)>,
    /// The place from which this connection was served the log, once that is known.
    served_from: Option<(Epoch, u64)>,
    /// All messages after this one were promised to it. `None` until it has joined.
    pub promised: Option<MessageId>,
    /// Every position that it had, the present one last.
    had: Vec<Position>,
    pub received: HashSet<MessageId>,
    pub reactions: Reactions,
    /// From which of its positions on they are complete.
    known_from: usize,
    pub gaps: usize,
    /// It could not join: it has to connect again.
    pub is_refused: bool,
}

impl Member {
    pub fn new(name: String, topic: Topic) -> Self {
        Self {
            name,
            topic,
            connection: None,
            asked: HashMap::new(),
            next: Next::Nothing,
            or_next: None,
            folded: None,
            served_from: None,
            promised: None,
            had: Vec::new(),
            received: HashSet::new(),
            reactions: Reactions::default(),
            known_from: 0,
            gaps: 0,
            is_refused: false,
        }
    }

    /// Each member has its own, as it has its own name.
    fn address(&self) -> IpAddr {
        let last = self.name.bytes().last().unwrap();
        IpAddr::from([10, 0, 0, last])
    }

    /// Connects, and sends its first requests.
    pub fn connect(&mut self, node: &Arc<Node>, firsts: &[Request], store: &Store) {
        let mut connection = node.connect();
        // Whatever strangers do, there is a place for a user, and a seat.
        connection.wait(Some(self.address())).unwrap();
        let outbox = connection.outbox().clone();
        let (drains, mut to_drain) = mpsc::unbounded_channel::<oneshot::Sender<Vec<u8>>>();
        let (requests, mut to_handle) = mpsc::unbounded_channel::<String>();
        let node = node.clone();
        let running = tokio::spawn(async move {
            let window = Arc::<Window>::default();
            outbox.attach(window.clone());
            let mut session = Session::new(node.clone(), connection, None, ClientKind::Program, None);
            let reading = async {
                while let Some(request) = to_handle.recv().await {
                    session.handle(&request).await;
                }
                pending::<()>().await;
            };
            let writing = async {
                while let Some(taker) = to_drain.recv().await {
                    taker.send(window.drain(&outbox).await).unwrap();
                }
            };
            tokio::select! {
                () = reading => {}
                () = writing => {}
                () = node.serve_lagging(&outbox) => panic!("the node gave up on a member"),
            }
        });
        self.is_refused = false;
        (self.next, self.served_from) = (Next::Nothing, None);
        self.asked.clear();
        self.connection = Some(Connection { requests, drains, running });
        for request in firsts {
            self.ask(*request, store);
        }
        // Only a join has an answer that tells where the log is.
        if self.asked.is_empty() {
            self.ask(Request::Resume, store);
        }
    }

    /// Sends a request. The connection may be a member already.
    pub fn ask(&mut self, request: Request, store: &Store) {
        let newest = self.had.last().copied();
        let at = |since| Join { since, ..Join::default() };
        let join = match request {
            Request::Plain => at(None),
            Request::Resume => at(newest),
            Request::Had(which) => at(self.had.get(which % self.had.len().max(1)).copied()),
            Request::InLog(seq) => at(Some(store.with(|log| log.position(seq)))),
            Request::Forged => {
                let forge =
                    |at: Position| Position { message_id: MessageId::generate(), seq: at.seq + 1, ..at };
                Join { is_forged: true, ..at(newest.map(forge)) }
            }
            Request::History(history) => Join { history, ..Join::default() },
            Request::Other(publishes) => return self.ask_otherwise(publishes),
        };
        let id = format!("join {}", self.asked.len());
        self.asked.insert(id.clone(), join);
        let (since, history) = (join.since, Some(join.history).filter(|count| *count > 0));
        self.send(match &self.topic {
            Topic::Room(_) => ("Enter", &id, json!({ "room": "ops", "since": since, "history": history })),
            Topic::User(_) => ("Auth", &id, json!({ "since": since })),
        });
    }

    fn ask_otherwise(&mut self, publishes: bool) {
        if matches!(self.topic, Topic::Room(_)) {
            return self.send(("Ping", "other", json!({})));
        }
        // It binds the connection, and private messages come from the cursor on.
        if self.next == Next::Nothing {
            (self.next, self.promised) = (Next::Any, None);
            self.forget_reactions();
        }
        self.send(if publishes {
            ("PrivateChat", "other", json!({ "target_username": "bob", "content": "queued" }))
        } else {
            ("Enter", "other", json!({ "room": "elsewhere" }))
        });
    }

    fn send(&self, (kind, id, mut body): (&str, &str, Value)) {
        let user = match &self.topic {
            Topic::Room(_) => &self.name,
            Topic::User(user) => user.as_str(),
        };
        body["sender_username"] = user.into();
        let request = json!({ "message_type": kind, "id": id, "message_body": body }).to_string();
        if let Some(connection) = &self.connection {
            connection.requests.send(request).unwrap();
        }
    }

    /// Loses its connection, with everything that was queued for it.
    pub fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.running.abort();
        }
    }

    /// Takes everything that is queued. `cursor` is how far the user's devices have the private log.
    pub async fn drain(&mut self, store: &Store, cursor: Option<Position>) {
        let Some(connection) = &self.connection else { return };
        let (taker, taken) = oneshot::channel();
        connection.drains.send(taker).unwrap();
        let bytes = taken.await.unwrap();
        store.with(|log| texts(&bytes).iter().for_each(|frame| self.receive(frame, log, cursor)));
    }

    fn receive(&mut self, frame: &Value, log: &Log, cursor: Option<Position>) {
        let body = &frame["message_body"];
        let epoch = || -> Epoch { body["epoch"].as_str().unwrap().parse().unwrap() };
        let message_id = || -> MessageId { body["message_id"].as_str().unwrap().parse().unwrap() };
        let position =
            || Position { epoch: epoch(), seq: body["seq"].as_u64().unwrap(), message_id: message_id() };
        let join = frame["id"].as_str().and_then(|id| self.asked.get(id).copied());
        match frame["message_type"].as_str().unwrap() {
            "Ack" => {
                if let Some(join) = join {
                    self.joined(body, join, position(), cursor);
                }
            }
            // A member that has joined stays one.
            "Error" if join.is_some() => {
                self.is_refused |= self.promised.is_none() || matches!(self.next, Next::Nothing | Next::Any);
            }
            "Gap" => self.continue_after(epoch(), body["next_seq"].as_u64().unwrap() - 1),
            "GroupChat" | "PrivateChat" | "React" => self.entry(position(), log, frame),
            _ => {}
        }
    }

    fn joined(&mut self, body: &Value, join: Join, top: Position, cursor: Option<Position>) {
        let already = body["already"] == true;
        let recovered = body["recovered"].as_bool();
        assert!(!(join.is_forged && recovered == Some(true)), "{}: {join:?}: {body}", self.name);
        match (join.since, recovered) {
            (None, None) if already => {}
            (None, None) => self.begin_without_position(top, join.history, cursor),
            (Some(since), Some(true)) => {
                // If the message there came on this connection, nothing comes again.
                let is_past = match (self.served_from, self.next) {
                    (Some((epoch, from)), Next::After(at, reached, _)) => {
                        (epoch, at) == (since.epoch, since.epoch) && (from..=reached).contains(&since.seq)
                    }
                    _ => false,
                };
                if !(already && is_past) {
                    let may_be_past = already
                        && self.folded.is_some_and(|(epoch, from, until)| {
                            epoch == since.epoch && (from..=until).contains(&since.seq)
                        });
                    let or_next = may_be_past.then_some(self.or_next.unwrap_or(self.next));
                    self.begin_at(since);
                    self.or_next = or_next;
                }
            }
            (Some(_), Some(false)) => {
                self.continue_after(top.epoch, body["next_seq"].as_u64().unwrap() - 1);
                self.promised = Some(MessageId::NONE);
            }
            (since, _) => panic!("{}: an Ack for {since:?} says {body}", self.name),
        }
        if matches!(self.topic, Topic::User(_)) && self.promised.is_none() {
            self.promised = Some(cursor.map_or(MessageId::NONE, |cursor| cursor.message_id));
        }
    }

    fn begin_without_position(&mut self, top: Position, history: u8, cursor: Option<Position>) {
        self.next = Next::Any;
        // Another device may have moved the cursor beyond what this one has.
        self.forget_reactions();
        match self.topic {
            // Its private messages begin at the cursor, which may have moved since then.
            Topic::User(_) => {
                self.promised = Some(cursor.map_or(MessageId::NONE, |cursor| cursor.message_id));
            }
            Topic::Room(_) => {
                self.begin_at(top);
                if history > 0 {
                    (self.served_from, self.next) = (
                        None,
                        Next::Folded(Folded { wanted: history.into(), until: top, count: 0, last: None }),
                    );
                    self.folded = None;
                }
            }
        }
    }

    /// The member says that it has the messages up to this position, and all after it come.
    fn begin_at(&mut self, position: Position) {
        let Position { epoch, seq, message_id } = position;
        if !self.had[self.known_from..].contains(&position) {
            // It says that it has messages that it never got.
            self.forget_reactions();
        }
        (self.promised, self.or_next) = (Some(message_id), None);
        self.had.push(position);
        self.served_from = Some((epoch, seq));
        self.next = Next::After(epoch, seq, Some(message_id));
    }

    fn forget_reactions(&mut self) {
        self.reactions.forget();
        self.known_from = self.had.len();
    }

    fn continue_after(&mut self, epoch: Epoch, seq: u64) {
        self.gaps += 1;
        self.forget_reactions();
        self.served_from = Some((epoch, seq));
        self.next = Next::After(epoch, seq, None);
    }

    fn entry(&mut self, at: Position, log: &Log, frame: &Value) {
        let nexts = [Some(self.next), self.or_next.take()];
        let is_change = frame["message_type"] == "React";
        let mut after = nexts.into_iter().flatten().filter_map(|next| next.after(at, log, is_change));
        let Some(next) = after.next() else {
            panic!("{}: {nexts:?} was to come next, not {frame}", self.name)
        };
        // An entry may fit both: what comes later tells which it is.
        self.or_next = after.next();
        self.next = next;
        match next {
            Next::Folded(folded) => {
                self.folded.get_or_insert((at.epoch, at.seq - 1, folded.until.seq));
            }
            _ => {
                self.served_from.get_or_insert((at.epoch, at.seq - 1));
            }
        }
        self.had.push(at);
        self.received.insert(at.message_id);
        self.reactions.take(frame, at.message_id);
    }

    pub fn next(&self) -> Next {
        self.next
    }

    /// Its present position.
    pub fn at(&self) -> Option<Position> {
        self.had.last().copied()
    }

    /// Whether nothing is left to come from a log, as far as the member can tell.
    pub fn is_at_top(&self, log: &Log) -> bool {
        self.next.is_at_top(log) || self.or_next.is_some_and(|next| next.is_at_top(log))
    }
}
