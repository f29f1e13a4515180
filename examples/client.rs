//! A chat client that comes back: nothing lost, nothing twice.
//!
//! ```sh
//! cargo run --example client -- ws://127.0.0.1:8080/ws alice lobby
//! ```
//!
//! A line is said to the room, `@bob psst` to bob.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const FINAL: [u16; 7] = [1002, 1003, 1007, 1008, 1009, 4001, 4003];
const PASSING: [&str; 3] = ["unavailable", "internal", "rate_limited"];
/// A node pings every 25 s.
const SILENCE: Duration = Duration::from_secs(60);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Unsent {
    text: String,
    id: String,
    first: Option<Instant>,
}

struct Chat<S> {
    name: String,
    room: String,
    show: S,
    in_room: Value,
    in_private: Value,
    seen: VecDeque<String>,
    unsent: VecDeque<Unsent>,
    is_ready: bool,
    tries: u32,
    dedupe: Duration,
}

/// Chats until the node says that it is over: says what comes from `lines`, shows what is heard.
pub async fn chat(
    url: &str,
    name: &str,
    room: &str,
    mut lines: mpsc::Receiver<String>,
    show: impl FnMut(String),
) {
    let mut chat = Chat {
        name: name.into(),
        room: room.into(),
        show,
        in_room: Value::Null,
        in_private: Value::Null,
        seen: VecDeque::new(),
        unsent: VecDeque::new(),
        is_ready: false,
        tries: 0,
        dedupe: Duration::from_secs(300),
    };
    loop {
        let (code, reason) = match timeout(SILENCE, connect_async(url)).await {
            Ok(Ok((mut socket, _))) => {
                chat.run(&mut socket, &mut lines).await.unwrap_or((1006, String::new()))
            }
            _ => (1006, String::new()),
        };
        chat.is_ready = false;
        if FINAL.contains(&code) {
            return (chat.show)(format!("-- closed: {code} {reason}"));
        }
        let told = reason.split("retry_after_ms=").nth(1).and_then(|wait| wait.parse().ok());
        let longest = 20_000.min(1_000 << chat.tries.min(5));
        chat.tries += 1;
        sleep(Duration::from_millis(told.unwrap_or_else(|| rand::random_range(0..longest)))).await;
    }
}

impl<S: FnMut(String)> Chat<S> {
    /// One connection, to its close code and reason.
    async fn run(
        &mut self,
        socket: &mut Socket,
        lines: &mut mpsc::Receiver<String>,
    ) -> Result<(u16, String), Error> {
        // Private messages begin with the first request: it has to be the one that says from where.
        self.ask(socket, "Auth", json!({ "since": self.in_private }), "auth").await?;
        self.ask(socket, "Enter", json!({ "room": self.room, "since": self.in_room }), "enter").await?;
        loop {
            tokio::select! {
                Some(text) = lines.recv() => {
                    self.unsent.push_back(Unsent { text, id: uuid::Uuid::new_v4().to_string(), first: None });
                    if self.unsent.len() == 1 {
                        self.next(socket).await?;
                    }
                }
                frame = timeout(SILENCE, socket.next()) => match frame {
                    Ok(Some(Ok(Message::Text(text)))) => {
                        let frame = serde_json::from_str(&text).unwrap_or_default();
                        if let Some(end) = self.receive(socket, frame).await? {
                            return Ok(end);
                        }
                    }
                    Ok(Some(Ok(Message::Close(Some(close))))) => return Ok((close.code.into(), close.reason.to_string())),
                    Ok(Some(Ok(_))) => {}
                    _ => return Ok((1006, String::new())),
                },
            }
        }
    }

    async fn ask(&self, socket: &mut Socket, kind: &str, mut body: Value, id: &str) -> Result<(), Error> {
        body["sender_username"] = json!(self.name);
        let request = json!({ "message_type": kind, "message_body": body, "id": id });
        socket.send(Message::text(request.to_string())).await
    }

    /// What ends the connection, if anything does.
    async fn receive(&mut self, socket: &mut Socket, frame: Value) -> Result<Option<(u16, String)>, Error> {
        let (body, id) = (&frame["message_body"], frame["id"].as_str());
        let kind = frame["message_type"].as_str().unwrap_or_default();
        let place = json!({ "epoch": body["epoch"], "seq": body["seq"], "message_id": body["message_id"] });
        match kind {
            "GroupChat" => self.in_room = place.clone(),
            "PrivateChat" => self.in_private = place.clone(),
            _ => {}
        }
        if let (Some(content), Some(message_id)) = (body["content"].as_str(), body["message_id"].as_str())
            && !self.seen.iter().rev().any(|seen| seen == message_id)
        {
            self.seen.push_back(message_id.to_owned());
            if self.seen.len() > 5_000 {
                self.seen.pop_front();
            }
            let private = if kind == "PrivateChat" { " (private)" } else { "" };
            (self.show)(format!(
                "{}{private}: {content}",
                body["sender_username"].as_str().unwrap_or_default()
            ));
        }
        if kind == "Gap" || body["recovered"] == false {
            (self.show)("-- messages may be missing here".into());
        }
        self.dedupe = body["dedupe_ms"].as_u64().map_or(self.dedupe, Duration::from_millis);
        let said = || body["message"].as_str().unwrap_or_default();
        match (kind, id) {
            ("Ack", Some("enter")) => {
                if self.in_room.is_null() {
                    self.in_room = place;
                }
                (self.is_ready, self.tries) = (true, 0);
                self.next(socket).await?;
            }
            ("Error", id) if body["code"].as_str().is_some_and(|code| PASSING.contains(&code)) => {
                let wait = body["retry_after_ms"].as_u64().unwrap_or(1_000);
                return Ok(id.map(|_| (1006, format!("retry_after_ms={wait}"))));
            }
            ("Error", Some("auth" | "enter")) => return Ok(Some((4003, said().into()))),
            (_, Some(id)) if self.unsent.front().is_some_and(|item| item.id == id) => {
                let item = self.unsent.pop_front();
                if let Some(item) = item.filter(|_| kind == "Error") {
                    (self.show)(format!("-- not sent: {} ({})", item.text, said()));
                }
                self.next(socket).await?;
            }
            _ => {}
        }
        Ok(None)
    }

    /// One at a time, so that none overtakes another; always under the id of its first time.
    async fn next(&mut self, socket: &mut Socket) -> Result<(), Error> {
        while self.is_ready
            && let Some(item) = self.unsent.front_mut()
        {
            if item.first.get_or_insert_with(Instant::now).elapsed() + Duration::from_secs(10) > self.dedupe {
                (self.show)(format!("-- may have been sent: {}", item.text));
                self.unsent.pop_front();
                continue;
            }
            let item = &self.unsent[0];
            return match item.text.strip_prefix('@').and_then(|rest| rest.split_once(' ')) {
                Some((target, content)) => {
                    let body = json!({ "target_username": target, "content": content });
                    self.ask(socket, "PrivateChat", body, &item.id).await
                }
                None => {
                    let body = json!({ "room": self.room, "content": item.text });
                    self.ask(socket, "GroupChat", body, &item.id).await
                }
            };
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), &'static str> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, name, room] = &arguments[..] else { return Err("client URL NAME ROOM") };
    let (say, lines) = mpsc::channel(100);
    std::thread::spawn(move || {
        let ends =
            |line: std::io::Result<String>| line.map(|line| say.blocking_send(line).is_err()).unwrap_or(true);
        std::io::stdin().lines().any(ends);
    });
    chat(url, name, room, lines, |line| println!("{line}")).await;
    Ok(())
}
