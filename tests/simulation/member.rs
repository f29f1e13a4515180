//! A member that follows the protocol: it resumes from its position, and checks what it gets against the promises to a
//! member.

use std::collections::{HashMap, VecDeque};
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use chatnode::chat::{Node, Outbox, Session, Work};
use chatnode::protocol::{Epoch, MessageId, Position};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::store::Store;
use crate::support::silent_client::texts;

struct Connection {
    /// Asks for everything that is queued.
    drains: mpsc::UnboundedSender<oneshot::Sender<Vec<u8>>>,
    running: JoinHandle<()>,
}

/// Everything that is queued at this moment. Runs in the connection's task, like the transport's loops: the queue has one
/// waker.
async fn queued(outbox: &Outbox) -> Vec<u8> {
    let mut blocks = VecDeque::new();
    let work = {
        let mut work = pin!(outbox.work(&mut blocks));
        poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await
    };
    match work {
        Poll::Pending => Vec::new(),
        Poll::Ready(Work::Blocks) => {
            let bytes: Vec<u8> = blocks.iter().flatten().copied().collect();
            outbox.written(bytes.len());
            bytes
        }
        Poll::Ready(Work::Close(close)) => panic!("the node closed a member: {close:?}"),
    }
}

pub struct Member {
    pub name: &'static str,
    connection: Option<Connection>,
    /// The newest message when it first joined.
    pub joined_at: Option<Position>,
    /// Its place; after a gap, without the message id.
    at: Option<(Epoch, u64, Option<MessageId>)>,
    /// The position from which it resumes: as [`Member::at`], but only of a message that it has.
    since: Option<Value>,
    pub received: Vec<MessageId>,
    pub gaps: usize,
    /// Its `Enter` failed: it has to connect again.
    pub is_refused: bool,
}

impl Member {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            connection: None,
            joined_at: None,
            at: None,
            since: None,
            received: Vec::new(),
            gaps: 0,
            is_refused: false,
        }
    }

    /// Connects and enters the room.
    pub fn connect(&mut self, node: &Arc<Node>) {
        let connection = node.connect();
        let outbox = connection.outbox().clone();
        let (drains, mut to_drain) = mpsc::unbounded_channel::<oneshot::Sender<Vec<u8>>>();
        let body = json!({ "sender_username": self.name, "room": "ops", "since": self.since });
        let enter = json!({ "message_type": "Enter", "id": "enter", "message_body": body }).to_string();
        let node = node.clone();
        let running = tokio::spawn(async move {
            let mut session = Session::new(node.clone(), connection, None);
            let reading = async {
                session.handle(&enter).await;
                pending::<()>().await;
            };
            let writing = async {
                while let Some(taker) = to_drain.recv().await {
                    taker.send(queued(&outbox).await).unwrap();
                }
            };
            tokio::select! {
                () = reading => {}
                () = writing => {}
                () = node.serve_lagging(&outbox) => panic!("the node gave up on a member"),
            }
        });
        self.is_refused = false;
        self.connection = Some(Connection { drains, running });
    }

    /// Loses its connection, with everything that was queued for it.
    pub fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.running.abort();
        }
    }

    /// Takes everything that is queued.
    pub async fn drain(&mut self, store: &Store) {
        let Some(connection) = &self.connection else { return };
        let (taker, taken) = oneshot::channel();
        connection.drains.send(taker).unwrap();
        let bytes = taken.await.unwrap();
        store.with(|log| texts(&bytes).iter().for_each(|frame| self.receive(frame, &log.prev)));
    }

    fn receive(&mut self, frame: &Value, prev: &HashMap<MessageId, MessageId>) {
        let body = &frame["message_body"];
        let position = || -> (Epoch, u64) {
            (body["epoch"].as_str().unwrap().parse().unwrap(), body["seq"].as_u64().unwrap())
        };
        let message_id = || -> MessageId { body["message_id"].as_str().unwrap().parse().unwrap() };
        match frame["message_type"].as_str().unwrap() {
            "Ack" => {
                let (epoch, seq) = position();
                let top = Position { epoch, seq, message_id: message_id() };
                self.joined_at.get_or_insert(top);
                match body["recovered"].as_bool() {
                    None => self.advance(top),
                    Some(true) => {}
                    Some(false) => {
                        self.gaps += 1;
                        self.at = Some((epoch, body["next_seq"].as_u64().unwrap() - 1, None));
                    }
                }
            }
            "Error" => self.is_refused = true,
            "Gap" => {
                self.gaps += 1;
                let epoch = body["epoch"].as_str().unwrap().parse().unwrap();
                self.at = Some((epoch, body["next_seq"].as_u64().unwrap() - 1, None));
            }
            "GroupChat" => {
                let ((epoch, seq), id) = (position(), message_id());
                let (before, last, known) = self.at.expect("no message comes before the Ack");
                assert_eq!((epoch, seq), (before, last + 1), "{}: {frame}", self.name);
                let follows = known.is_none_or(|known| known == prev[&id]);
                assert!(follows, "{}: it follows another message: {frame}", self.name);
                self.advance(Position { epoch, seq, message_id: id });
                self.received.push(id);
            }
            _ => {}
        }
    }

    fn advance(&mut self, position: Position) {
        let Position { epoch, seq, message_id } = position;
        self.at = Some((epoch, seq, Some(message_id)));
        self.since = Some(json!(position));
    }

    pub fn at(&self) -> Option<(Epoch, u64, Option<MessageId>)> {
        self.at
    }

    /// Whether it is at the log's top.
    pub fn is_at(&self, top: &Position) -> bool {
        let same = |id: Option<MessageId>| id.is_none_or(|id| id == top.message_id);
        self.at.is_some_and(|(epoch, seq, id)| (epoch, seq) == (top.epoch, top.seq) && same(id))
    }
}
