//! A client with a real socket that a test drives step by step. Keeps received frames until the test asks for them, in any
//! order. Fails the test on an unexpected answer or end of the connection.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderName;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

/// How long a test waits for something before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One connection.
pub struct Client {
    socket: Socket,
    /// Frames that were read but not returned to the test, oldest first.
    seen: Vec<Value>,
    requests: u64,
    largest: usize,
    /// How the connection ended.
    end: Option<String>,
    name: String,
    /// Sent with every request.
    pub token: Option<String>,
    /// Sent with every request.
    pub received: Option<Value>,
}

/// How a connection ended: code and reason; 1006 where there was no close frame.
pub type Closed = (u16, String);

impl Client {
    /// Opens a connection for a user without a request.
    pub async fn connect(address: SocketAddr, name: &str) -> Self {
        Self::connect_with(address, name, &[]).await.unwrap()
    }

    /// Opens a connection with more headers.
    pub async fn connect_with(
        address: SocketAddr,
        name: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Self, Box<Error>> {
        let mut request = format!("ws://{address}/").into_client_request().map_err(Box::new)?;
        for (header, value) in headers {
            request.headers_mut().append(HeaderName::from_static(header), value.parse().unwrap());
        }
        let connecting =
            timeout(PATIENCE, connect_async(request)).await.expect("no answer to the upgrade in time");
        let (socket, _) = connecting.map_err(Box::new)?;
        Ok(Self {
            socket,
            seen: Vec::new(),
            requests: 0,
            largest: 0,
            end: None,
            name: name.into(),
            token: None,
            received: None,
        })
    }

    /// Opens a connection as a browser does, for a page of the node.
    pub async fn connect_browser(address: SocketAddr, name: &str) -> Self {
        let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0";
        let headers = [("origin", format!("http://{address}")), ("user-agent", agent.into())];
        Self::connect_with(address, name, &headers).await.unwrap()
    }

    /// Opens a connection with a small receive buffer.
    pub async fn connect_narrow(address: SocketAddr, name: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = MaybeTlsStream::Plain(socket.connect(address).await.unwrap());
        let upgrade = client_async(format!("ws://{address}/"), stream);
        let (socket, _) =
            timeout(PATIENCE, upgrade).await.expect("no answer to the upgrade in time").unwrap();
        Self {
            socket,
            seen: Vec::new(),
            requests: 0,
            largest: 0,
            end: None,
            name: name.into(),
            token: None,
            received: None,
        }
    }

    /// Opens a connection and enters a room.
    pub async fn enter(address: SocketAddr, name: &str, room: &str) -> Self {
        let mut client = Self::connect(address, name).await;
        client.ok("Enter", json!({ "room": room })).await;
        client
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends text as it is.
    pub async fn send_text(&mut self, text: impl Into<String>) {
        self.send_frame(Message::text(text.into())).await;
    }

    /// Sends any frame.
    pub async fn send_frame(&mut self, frame: Message) {
        timeout(PATIENCE, self.socket.send(frame)).await.expect("the node does not read").unwrap();
    }

    /// The envelope of a request. Adds the name of the sender if it is missing.
    pub fn envelope(&self, kind: &str, mut body: Value, id: Option<&str>) -> Value {
        if body.get("sender_username").is_none() {
            body["sender_username"] = json!(self.name);
        }
        let mut envelope = json!({ "message_type": kind, "message_body": body });
        if let Some(token) = &self.token {
            envelope["token"] = json!(token);
        }
        if let Some(received) = &self.received {
            envelope["received"] = received.clone();
        }
        if let Some(id) = id {
            envelope["id"] = json!(id);
        }
        envelope
    }

    /// Sends a request without an id.
    pub async fn tell(&mut self, kind: &str, body: Value) {
        let envelope = self.envelope(kind, body, None);
        self.send_text(envelope.to_string()).await;
    }

    /// Sends a request and returns its id, for [`Client::answer`].
    pub async fn send(&mut self, kind: &str, body: Value) -> String {
        self.requests += 1;
        let id = format!(
            "{}-{}-{:08x}",
            self.name.chars().take(40).collect::<String>(),
            self.requests,
            rand::random::<u32>()
        );
        let envelope = self.envelope(kind, body, Some(&id));
        self.send_text(envelope.to_string()).await;
        id
    }

    /// Sends a request and waits for its answer: the whole `Ack` or `Error`.
    pub async fn ask(&mut self, kind: &str, body: Value) -> Value {
        let id = self.send(kind, body).await;
        self.answer(&id).await
    }

    /// Waits for the answer to a request.
    pub async fn answer(&mut self, id: &str) -> Value {
        self.wait_for(&format!("the answer to {id}"), |frame| frame["id"] == id).await
    }

    /// Sends a request that has to succeed; returns the body of its `Ack`.
    pub async fn ok(&mut self, kind: &str, body: Value) -> Value {
        let mut answer = self.ask(kind, body).await;
        assert_eq!(answer["message_type"], "Ack", "{kind} was refused: {answer}");
        answer["message_body"].take()
    }

    /// Sends a request that has to fail with this code; returns the body of its `Error`.
    pub async fn refused(&mut self, kind: &str, body: Value, code: &str) -> Value {
        let mut answer = self.ask(kind, body).await;
        assert_eq!(answer["message_type"], "Error", "{kind} was carried out: {answer}");
        assert_eq!(answer["message_body"]["code"], code, "{answer}");
        answer["message_body"].take()
    }

    /// Sends a message to a room; returns the body of the `Ack`.
    pub async fn say(&mut self, room: &str, content: &str) -> Value {
        self.ok("GroupChat", json!({ "room": room, "content": content })).await
    }

    /// Sends the same message many times, 50 at a time; returns the body of the last `Ack`.
    pub async fn say_many(&mut self, room: &str, content: &str, count: usize) -> Value {
        let mut last = Value::Null;
        let mut left = count;
        while left > 0 {
            let batch = left.min(50);
            let mut ids = Vec::new();
            for _ in 0..batch {
                ids.push(self.send("GroupChat", json!({ "room": room, "content": content })).await);
            }
            for id in ids {
                let mut answer = self.answer(&id).await;
                assert_eq!(answer["message_type"], "Ack", "{answer}");
                last = answer["message_body"].take();
            }
            left -= batch;
        }
        last
    }

    /// Waits for room messages with exactly these `seq`, in this order.
    pub async fn hears_seqs(&mut self, seqs: RangeInclusive<u64>) {
        for expected in seqs {
            let message = self.next("GroupChat").await;
            assert_eq!(message["seq"], expected, "{}: {message}", self.name);
        }
    }

    /// Sends a private message; returns the body of the `Ack`.
    pub async fn whisper(&mut self, target: &str, content: &str) -> Value {
        self.ok("PrivateChat", json!({ "target_username": target, "content": content })).await
    }

    /// Waits for the next frame of a type, and returns its body. Keeps the frames of other types.
    pub async fn next(&mut self, kind: &str) -> Value {
        let mut frame = self.wait_for(kind, |frame| frame["message_type"] == kind).await;
        frame["message_body"].take()
    }

    /// Waits for the next room message and returns its content.
    pub async fn hears(&mut self) -> String {
        self.next("GroupChat").await["content"].as_str().unwrap().to_owned()
    }

    /// Waits for the next private message and returns its content.
    pub async fn hears_privately(&mut self) -> String {
        self.next("PrivateChat").await["content"].as_str().unwrap().to_owned()
    }

    /// Checks that no frame of this type has come: sends a `Ping` and looks at all frames before its answer. (This can't exclude
    /// frames that other nodes still send.)
    pub async fn heard_no(&mut self, kind: &str) {
        self.ok("Ping", json!({})).await;
        let heard = self.seen.iter().find(|frame| frame["message_type"] == kind);
        assert_eq!(heard, None, "{} received an unexpected frame", self.name);
    }

    /// All frames that were read but not returned to the test.
    pub fn seen(&self) -> &[Value] {
        &self.seen
    }

    /// The size of the largest text frame that was read since the last call.
    pub fn take_largest(&mut self) -> usize {
        std::mem::take(&mut self.largest)
    }

    /// Takes all frames that were read but not returned to the test.
    pub fn take_seen(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.seen)
    }

    /// Waits for the first frame that fits. Keeps the frames before it.
    pub async fn wait_for(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(index) = self.seen.iter().position(&fits) {
            return self.seen.remove(index);
        }
        loop {
            let Some(frame) = self.read(what).await else {
                panic!(
                    "{}: the connection ended ({:?}) while waiting for {what}; seen: {:?}",
                    self.name, self.end, self.seen
                )
            };
            if fits(&frame) {
                return frame;
            }
            self.seen.push(frame);
        }
    }

    /// The next frame from the socket; none at the end of the connection.
    async fn read(&mut self, what: &str) -> Option<Value> {
        loop {
            let received = timeout(PATIENCE, self.socket.next())
                .await
                .unwrap_or_else(|_| panic!("{}: {what} did not come; seen: {:?}", self.name, self.seen));
            match received? {
                Ok(Message::Text(text)) => {
                    self.largest = self.largest.max(text.len());
                    return Some(serde_json::from_str(&text).expect("a frame is JSON"));
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                end @ (Ok(Message::Close(_)) | Err(_)) => {
                    self.end = Some(format!("{end:?}"));
                    return None;
                }
                Ok(other) => panic!("an unexpected frame: {other:?}"),
            }
        }
    }

    /// The first frame that was not returned yet; none if the connection ends before one comes.
    pub async fn first(&mut self) -> Option<Value> {
        if self.seen.is_empty() { self.read("any frame").await } else { Some(self.seen.remove(0)) }
    }

    /// Waits for the next ping or pong of the node that is wanted. Keeps text frames.
    async fn control_frame_comes(&mut self, what: &str, is_wanted: fn(&Message) -> bool) {
        let frame = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(frame)) if is_wanted(&frame) => return,
                    Some(Ok(Message::Text(text))) => {
                        self.seen.push(serde_json::from_str(&text).expect("a frame is JSON"));
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("the connection ended while waiting for a {what}: {other:?}"),
                }
            }
        };
        timeout(PATIENCE, frame).await.unwrap_or_else(|_| panic!("no {what} came"));
    }

    /// Waits for the next ping of the node. Keeps other frames.
    pub async fn ping_comes(&mut self) {
        self.control_frame_comes("ping", Message::is_ping).await;
    }

    /// Waits for the next ping of the node, and until the node has the pong. Keeps other frames, and sends no request.
    pub async fn answers_a_ping(&mut self) {
        self.ping_comes().await;
        // Frames are handled in order: the answer to this one comes after the node has read the pong.
        self.send_frame(Message::Ping("mark".into())).await;
        self.control_frame_comes("pong", Message::is_pong).await;
    }

    /// Reads until the connection ends. Keeps the frames before that.
    pub async fn closed(&mut self) -> Closed {
        let ending = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        self.seen.push(serde_json::from_str(&text).expect("a frame is JSON"));
                    }
                    Some(Ok(Message::Close(Some(frame)))) => {
                        return (u16::from(frame.code), frame.reason.as_str().to_owned());
                    }
                    Some(Ok(Message::Close(None))) => return (1005, String::new()),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return (1006, String::new()),
                }
            }
        };
        timeout(PATIENCE, ending).await.unwrap_or_else(|_| panic!("{}: was not closed", self.name))
    }

    /// Closes the connection with a close frame.
    pub async fn leave(mut self) {
        // An error means that the node closed first.
        let _ = self.socket.close(None).await;
        let _ = timeout(PATIENCE, async { while let Some(Ok(_)) = self.socket.next().await {} }).await;
    }

    /// The socket, for tests of misbehaviour.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }
}

/// The position in a message or an `Ack`, in the form of `since`.
pub fn position(body: &Value) -> Value {
    json!({ "epoch": body["epoch"], "seq": body["seq"], "message_id": body["message_id"] })
}
