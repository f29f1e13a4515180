//! A chat client that comes back: nothing lost, nothing twice, no gap hidden.
//!
//! ```sh
//! cargo run --example client -- ws://127.0.0.1:8080/ws alice lobby
//! ```
//!
//! What a client for daily use adds, such as an end to what stays unsent for 5 minutes: docs/clients.md.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{collections::VecDeque, convert::Infallible, error::Error, time::Duration};
use tokio::{select, sync::mpsc, time};
use tokio_tungstenite::{connect_async, tungstenite::Message};

const FINAL: [&str; 8] = ["1002", "1003", "1007", "1008", "1009", "4001", "4003", "refused"];
const PASSING: [&str; 4] = ["unavailable", "internal", "rate_limited", "not_in_room"]; // Without a time, after 5 s.
const SILENCE: Duration = Duration::from_secs(60); // A node pings every 25 s.

fn request(who: &Value, kind: &str, id: &Value, key: &str, value: &Value) -> Message {
    let mut request = json!({ "message_type": kind, "id": id, "message_body": who });
    request["message_body"][key] = value.clone();
    Message::text(request.to_string())
}

/// Says what comes from `said` and shows what is heard, until the node says that it is over.
#[rustfmt::skip] // One thought a line, so that the whole is seen at once.
pub async fn chat(url: &str, who: Value, mut said: mpsc::Receiver<String>, show: impl Fn(String)) {
    let (mut since, mut seen, mut unsent, mut tries) = (json!({}), VecDeque::new(), VecDeque::new(), 0);
    loop {
        let Err(ended): Result<Infallible, Box<dyn Error + Send + Sync>> = async {
            let (mut socket, mut is_in, mut asked) = (time::timeout(SILENCE, connect_async(url)).await??.0, false, Value::Null);
            // Private messages begin with the first request: it has to be the one that says from where.
            for kind in ["Auth", "Enter"] { socket.send(request(&who, kind, &kind.into(), "since", &since[kind])).await?; }
            loop {
                let message = select! {
                    message = time::timeout(SILENCE, socket.next()) => message?.ok_or("lost")??,
                    Some(content) = said.recv() => { unsent.push_back((json!(uuid::Uuid::new_v4()), json!(content))); Message::text("{}") }
                };
                if let Message::Close(Some(end)) = &message { Err(format!("{} {}", u16::from(end.code), end.reason))?; }
                let frame: Value = serde_json::from_slice(&message.into_data()).unwrap_or_default();
                let (kind, id, body) = (&frame["message_type"], &frame["id"], &frame["message_body"]);
                let [name, content, code] = ["sender_username", "content", "code"].map(|key| body[key].as_str().unwrap_or_default());
                let position = json!({ "epoch": body["epoch"], "seq": body["seq"], "message_id": body["message_id"] });
                if kind == "GroupChat" || kind == "PrivateChat" {
                    if !seen.contains(&position["message_id"]) { show(format!("{name}: {content}")); }
                    seen.push_front(position["message_id"].clone());
                    seen.truncate(5_000);
                    since[if kind == "GroupChat" { "Enter" } else { "Auth" }] = position.clone();
                }
                let notice = body["message"].as_str().unwrap_or("messages may be missing here");
                if kind == "Gap" || kind == "Error" || body["recovered"] == false { show(format!("-- {notice}")); }
                if PASSING.contains(&code) && !id.is_null() { Err(format!("retry_after_ms={}", body["retry_after_ms"].as_u64().unwrap_or(5_000)))?; }
                if kind == "Error" && !id.is_null() && !is_in { Err("refused")?; }
                if id == "Enter" { (is_in, tries) = (true, 0); since["Enter"].is_null().then(|| since["Enter"] = position); }
                if unsent.front().is_some_and(|(first, _)| first == id) { unsent.pop_front(); }
                // One at a time, so that none overtakes another; a repeat keeps its id, so that it is stored once.
                let Some((id, content)) = unsent.front().filter(|(id, _)| is_in && asked != *id) else { continue };
                socket.send(request(&who, "GroupChat", id, "content", content)).await?;
                asked = id.clone();
            }
        }.await;
        let ended = ended.to_string();
        if FINAL.iter().any(|code| ended.starts_with(code)) { return show(format!("-- closed: {ended}")); }
        let told = ended.split("retry_after_ms=").nth(1).and_then(|wait| wait.parse().ok());
        time::sleep(Duration::from_millis(told.unwrap_or_else(|| rand::random_range(0..20_000.min(1_000 << tries.min(5)))))).await;
        tries += 1;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [url, name, room] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "URL NAME ROOM")?;
    let (say, said) = mpsc::channel(100);
    std::thread::spawn(move || {
        std::io::stdin()
            .lines()
            .map_while(Result::ok)
            .filter(|line| !line.is_empty())
            .try_for_each(|line| say.blocking_send(line))
    });
    chat(&url, json!({ "sender_username": name, "room": room }), said, |line| println!("{line}")).await;
    Ok(())
}
