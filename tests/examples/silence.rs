//! What the clients send while it is quiet: half of the time in which the node wants to hear something is their limit.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use super::example::Example;
use super::support::client::PATIENCE;

/// A node that answers every request, sends nothing else, and lets clients be silent for a second. Reports each ping.
async fn quiet_node() -> (String, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    let (sender, pings) = mpsc::channel(100);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, sender.clone()));
        }
    });
    (url, pings)
}

async fn serve(mut stream: TcpStream, pings: mpsc::Sender<()>) {
    let mut start = [0; 7];
    while stream.peek(&mut start).await.is_ok_and(|count| (1..start.len()).contains(&count)) {}
    if start != *b"GET /ws" {
        // The page of a browser. An error means that the browser has gone.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        return;
    }
    let Ok(mut socket) = accept_async(stream).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        let is_ping = match &message {
            Message::Text(text) => {
                let request: Value = serde_json::from_str(text).unwrap();
                let read = if request["message_type"] == "Auth" { json!({}) } else { Value::Null };
                let body = json!({ "room": "ops", "epoch": "0000000000000001", "seq": 0, "message_id": "", "read": read,
                    "dedupe_ms": 300_000, "idle_timeout_ms": 1_000 });
                let ack = json!({ "message_type": "Ack", "id": request["id"], "message_body": body });
                if !request["id"].is_null() && socket.send(Message::text(ack.to_string())).await.is_err() {
                    return;
                }
                request["message_type"] == "Ping"
            }
            message => message.is_ping(),
        };
        if is_ping && pings.send(()).await.is_err() {
            return;
        }
    }
}

async fn sends_pings(start: impl AsyncFnOnce(&str) -> Example) {
    let (url, mut pings) = quiet_node().await;
    let _alice = start(&url).await;
    // Without the time that the node names, the first comes after 20 s.
    for number in 0..6 {
        timeout(PATIENCE / 2, pings.recv()).await.unwrap_or_else(|_| panic!("no ping after {number}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_javascript_is_heard_while_it_is_quiet() {
    sends_pings(Example::javascript).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_python_is_heard_while_it_is_quiet() {
    sends_pings(async |url: &str| Example::python(url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_in_rust_is_heard_while_it_is_quiet() {
    sends_pings(async |url: &str| Example::rust(url)).await;
}
