//! A member as the protocol asks for one: resumes from where it was, and holds what it is sent to what it was promised.

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
    /// Asks for what is queued.
    drains: mpsc::UnboundedSender<oneshot::Sender<Vec<u8>>>,
    running: JoinHandle<()>,
}

/// All that is queued, at this moment. As part of the connection's task, like the transport's: its queue knows one waker.
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
        Poll::Ready(Work::Close(close)) => panic!("a member is closed: {close:?}"),
    }
}

pub struct Member {
    pub name: &'static str,
    connection: Option<Connection>,
    /// The newest message when it first came.
    pub came_at: Option<Position>,
    /// Where it is; after a gap, without the message there.
    at: Option<(Epoch, u64, Option<MessageId>)>,
    /// Its position: as [`Member::at`], but only of messages that it has.
    since: Option<Value>,
    pub had: Vec<MessageId>,
    pub gaps: usize,
    /// Its request to enter failed: it has to come back.
    pub is_refused: bool,
}

impl Member {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            connection: None,
            came_at: None,
            at: None,
            since: None,
            had: Vec::new(),
            gaps: 0,
            is_refused: false,
        }
    }

    /// Connects, binds itself and enters the room.
    pub fn come(&mut self, node: &Arc<Node>) {
        let seat = node.connect();
        let outbox = seat.outbox().clone();
        let (drains, mut to_drain) = mpsc::unbounded_channel::<oneshot::Sender<Vec<u8>>>();
        let body = json!({ "sender_username": self.name, "room": "ops", "since": self.since });
        let enter = json!({ "message_type": "Enter", "id": "enter", "message_body": body }).to_string();
        let node = node.clone();
        let running = tokio::spawn(async move {
            let mut session = Session::new(node.clone(), seat, None);
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
                () = node.serve_lagging(&outbox) => panic!("a member is given up"),
            }
        });
        self.is_refused = false;
        self.connection = Some(Connection { drains, running });
    }

    /// Its connection is gone, with what was queued for it.
    pub fn go(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.running.abort();
        }
    }

    /// Takes all that is queued.
    pub async fn drain(&mut self, store: &Store) {
        let Some(connection) = &self.connection else { return };
        let (taker, taken) = oneshot::channel();
        connection.drains.send(taker).unwrap();
        let bytes = taken.await.unwrap();
        store.with(|log| texts(&bytes).iter().for_each(|frame| self.hear(frame, &log.prev)));
    }

    fn hear(&mut self, frame: &Value, prev: &HashMap<MessageId, MessageId>) {
        let body = &frame["message_body"];
        let place = || -> (Epoch, u64) {
            (body["epoch"].as_str().unwrap().parse().unwrap(), body["seq"].as_u64().unwrap())
        };
        let message_id = || -> MessageId { body["message_id"].as_str().unwrap().parse().unwrap() };
        match frame["message_type"].as_str().unwrap() {
            "Ack" => {
                let (epoch, seq) = place();
                let top = Position { epoch, seq, message_id: message_id() };
                self.came_at.get_or_insert(top);
                match body["recovered"].as_bool() {
                    None => self.go_on(top),
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
                let ((epoch, seq), id) = (place(), message_id());
                let (before, last, known) = self.at.expect("nothing comes before the Ack");
                assert_eq!((epoch, seq), (before, last + 1), "{}: {frame}", self.name);
                let follows = known.is_none_or(|known| known == prev[&id]);
                assert!(follows, "{}: it follows another message: {frame}", self.name);
                self.go_on(Position { epoch, seq, message_id: id });
                self.had.push(id);
            }
            _ => {}
        }
    }

    fn go_on(&mut self, position: Position) {
        let Position { epoch, seq, message_id } = position;
        self.at = Some((epoch, seq, Some(message_id)));
        self.since = Some(json!(position));
    }

    pub fn at(&self) -> Option<(Epoch, u64, Option<MessageId>)> {
        self.at
    }

    /// Whether it is where the log ends.
    pub fn is_at(&self, top: &Position) -> bool {
        let same = |id: Option<MessageId>| id.is_none_or(|id| id == top.message_id);
        self.at.is_some_and(|(epoch, seq, id)| (epoch, seq) == (top.epoch, top.seq) && same(id))
    }
}
