//! A client behind a balancer that reconnects after every loss, as docs/clients.md describes it. Owns one connection at a time
//! and a record of what happened. It is not `support/client.rs`, which drives one connection step by step and fails when that
//! connection ends: this client runs by itself, expects connections to end, records their close codes, and has its own source
//! address. Used in groups by `clients`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use uuid::Uuid;

/// How long a connection or an answer may take before a client tries again.
const PATIENCE: Duration = Duration::from_secs(8);

/// The parameters of a client.
#[derive(Debug, Clone)]
pub struct Plan {
    pub name: String,
    pub room: String,
    /// The source address.
    pub source: Ipv4Addr,
    pub address: SocketAddr,
    /// The pause between two messages; none: it only reads.
    pub says_every: Option<Duration>,
}

/// What happened to a client.
#[derive(Debug, Default)]
pub struct Record {
    /// When it was in its room and had received all missed messages, once per connection.
    pub caught_up: Vec<Instant>,
    /// When each connection ended, and the close code if there was one.
    pub ended: Vec<(Instant, Option<u16>)>,
    /// How often it received each content.
    pub heard: HashMap<String, usize>,
    /// The contents that it sent and that were acknowledged.
    pub stored: Vec<String>,
    /// Whether a message is unanswered.
    pub waits: bool,
    /// Events that must not happen.
    pub violations: Vec<String>,
}

/// A client; leaves when dropped.
pub struct Client {
    pub plan: Plan,
    record: Arc<Mutex<Record>>,
    task: JoinHandle<()>,
}

impl Client {
    /// Connects, and sends messages only while `talk` is true.
    pub fn start(plan: Plan, talk: watch::Receiver<bool>) -> Self {
        let record = Arc::new(Mutex::new(Record::default()));
        let session = Session {
            plan: plan.clone(),
            record: record.clone(),
            talk,
            position: None,
            draft: None,
            said: 0,
        };
        Self { plan, record, task: tokio::spawn(session.run()) }
    }

    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A WebSocket of a client.
pub type Socket = WebSocketStream<TcpStream>;

/// Opens a WebSocket from a source address, with one more header.
pub async fn connect(
    source: Ipv4Addr,
    address: SocketAddr,
    header: Option<(&'static str, &str)>,
) -> Option<Socket> {
    let attempt = async {
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind((source, 0).into()).ok()?;
        let stream = socket.connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let mut request = format!("ws://{address}/").into_client_request().ok()?;
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value.parse().ok()?);
        }
        Some(tokio_tungstenite::client_async(request, stream).await.ok()?.0)
    };
    tokio::time::timeout(PATIENCE, attempt).await.ok()?
}

/// Opens a WebSocket as [`connect`] does, and enters a room: none if the node has no seat for it.
pub async fn enter(
    source: Ipv4Addr,
    address: SocketAddr,
    header: Option<(&'static str, &str)>,
) -> Option<Socket> {
    let mut socket = connect(source, address, header).await?;
    let body = json!({ "sender_username": "seated", "room": "seats" });
    let request = json!({ "message_type": "Enter", "id": "enter", "message_body": body });
    socket.send(Message::text(request.to_string())).await.ok()?;
    loop {
        let frame = tokio::time::timeout(PATIENCE, socket.next()).await.ok()??.ok()?;
        let Message::Text(text) = frame else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame["id"] == "enter" {
            return (frame["message_type"] == "Ack").then_some(socket);
        }
    }
}

struct Session {
    plan: Plan,
    record: Arc<Mutex<Record>>,
    talk: watch::Receiver<bool>,
    /// The position of the last message, in the form of `since`.
    position: Option<Value>,
    /// The unanswered message: its `id` and content. Repeated with the same `id` until it is answered.
    draft: Option<(String, String)>,
    said: usize,
}

impl Session {
    async fn run(mut self) {
        loop {
            let pause = match connect(self.plan.source, self.plan.address, None).await {
                Some(socket) => {
                    let (code, pause) = self.converse(socket).await;
                    self.record().ended.push((Instant::now(), code));
                    pause.unwrap_or_else(|| jitter(1_000))
                }
                None => jitter(500),
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    /// Uses one connection until its end. Returns the close code and the time to wait, if the node sent them.
    async fn converse(&mut self, mut socket: WebSocketStream<TcpStream>) -> (Option<u16>, Option<Duration>) {
        let mut enter = json!({ "sender_username": self.plan.name, "room": self.plan.room });
        if let Some(position) = &self.position {
            enter["since"] = position.clone();
        }
        let enter = json!({ "message_type": "Enter", "id": "enter", "message_body": enter }).to_string();
        if socket.send(Message::text(enter.clone())).await.is_err() {
            return (None, None);
        }
        let mut top = None;
        let mut caught_up = false;
        let mut turn = tokio::time::interval(self.plan.says_every.unwrap_or(Duration::from_secs(3600)));
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let frame = tokio::select! {
                frame = socket.next() => frame,
                _ = turn.tick(), if caught_up && self.plan.says_every.is_some() => {
                    if self.draft.is_none() && *self.talk.borrow() && !self.say(&mut socket).await {
                        return (None, None);
                    }
                    continue;
                }
            };
            match frame {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    // If the store was unavailable, the request is repeated, as clients should do.
                    let body = &frame["message_body"];
                    let again = body["code"] == "unavailable";
                    if frame["id"] == "enter" && again {
                        tokio::time::sleep(jitter(500)).await;
                        if socket.send(Message::text(enter.clone())).await.is_err() {
                            return (None, None);
                        }
                    } else if frame["id"] == "enter" {
                        top = self.entered(&frame);
                    } else if again && body["outcome"] == "unknown" {
                        tokio::time::sleep(jitter(500)).await;
                        if !self.repeat(&mut socket).await {
                            return (None, None);
                        }
                    } else {
                        self.receive(&frame);
                    }
                }
                Some(Ok(Message::Close(close))) => {
                    let Some(close) = close else { return (None, None) };
                    let wait = close.reason.strip_prefix("retry_after_ms=");
                    let wait = wait.and_then(|told| told.split(';').next()?.parse().ok());
                    return (Some(close.code.into()), wait.map(Duration::from_millis));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return (None, None),
            }
            let seq = self.position.as_ref().and_then(|position| position["seq"].as_u64()).unwrap_or(0);
            if !caught_up && top.is_some_and(|top| seq >= top) {
                caught_up = true;
                self.record().caught_up.push(Instant::now());
                if !self.repeat(&mut socket).await {
                    return (None, None);
                }
            }
        }
    }

    /// The top of the room's log, from the answer to `Enter`.
    fn entered(&mut self, frame: &Value) -> Option<u64> {
        let body = &frame["message_body"];
        if frame["message_type"] != "Ack" || body["recovered"] == false {
            self.record().violations.push(format!("entered with {frame}"));
        }
        if self.position.is_none() {
            self.position = Some(json!({
                "epoch": body["epoch"], "seq": body["seq"], "message_id": body["message_id"],
            }));
        }
        body["seq"].as_u64()
    }

    fn receive(&mut self, frame: &Value) {
        let body = &frame["message_body"];
        match frame["message_type"].as_str() {
            Some("GroupChat") => {
                let last = self.position.as_ref().and_then(|position| position["seq"].as_u64());
                let seq = body["seq"].as_u64();
                if last.is_none_or(|last| seq != Some(last + 1)) {
                    self.record().violations.push(format!("{seq:?} after {last:?}"));
                }
                self.position = Some(json!({
                    "epoch": body["epoch"], "seq": body["seq"], "message_id": body["message_id"],
                }));
                *self.record().heard.entry(body["content"].as_str().unwrap().to_owned()).or_default() += 1;
            }
            Some("Ack") => {
                if let Some((_, content)) = self.draft.take_if(|(id, _)| frame["id"] == id.as_str()) {
                    let mut record = self.record();
                    record.stored.push(content);
                    record.waits = false;
                }
            }
            Some("Error" | "Gap") => self.record().violations.push(frame.to_string()),
            _ => {}
        }
    }

    async fn say(&mut self, socket: &mut WebSocketStream<TcpStream>) -> bool {
        let id = Uuid::new_v4().to_string();
        let content = format!("{} says {}", self.plan.name, self.said);
        self.said += 1;
        self.draft = Some((id.clone(), content.clone()));
        self.record().waits = true;
        self.send(socket, &id, &content).await
    }

    /// Repeats the unanswered message with the same `id`, so that it is stored once.
    async fn repeat(&self, socket: &mut WebSocketStream<TcpStream>) -> bool {
        match &self.draft {
            Some((id, content)) => self.send(socket, id, content).await,
            None => true,
        }
    }

    async fn send(&self, socket: &mut WebSocketStream<TcpStream>, id: &str, content: &str) -> bool {
        let body = json!({ "sender_username": self.plan.name, "room": self.plan.room, "content": content });
        let frame = json!({ "message_type": "GroupChat", "id": id, "message_body": body });
        socket.send(Message::text(frame.to_string())).await.is_ok()
    }
}

/// A random pause, so that clients of a lost node don't all return at once.
fn jitter(ms: u64) -> Duration {
    Duration::from_millis(rand::random_range(0..=ms))
}
