//! A chat server that makes one mistake. Owns one log for all rooms together and knows only what `fan` and `dm` send; the checks of the program
//! must find what it does wrong. Used by the tests of faults.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

/// What goes wrong, once, with the fifth message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// One member does not get it.
    Drops,
    /// One member gets it twice.
    Repeats,
    /// One member gets it after the next one.
    Swaps,
    /// One member gets another message in its place.
    Alters,
    /// It is acknowledged twice.
    AcksTwice,
    /// It is never acknowledged.
    NeverAcks,
    /// One member gets it as one of a room that nobody entered.
    Misroutes,
}

const FAULTY: u64 = 5;
const EPOCH: &str = "00000000000000aa";

#[derive(Default)]
struct Log {
    seq: u64,
    members: Vec<mpsc::UnboundedSender<String>>,
    /// Held back for the first member.
    held: Option<String>,
}

/// Starts the server; it ends with the test's runtime.
pub async fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let log = Arc::new(Mutex::new(Log::default()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&log), fault));
        }
    });
    address
}

async fn serve(stream: TcpStream, log: Arc<Mutex<Log>>, fault: Fault) {
    // A probe opens and closes.
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let (mut sink, mut source) = socket.split();
    let (send, mut receive) = mpsc::unbounded_channel::<String>();
    let writing = async move {
        while let Some(text) = receive.recv().await {
            if sink.send(Message::text(text)).await.is_err() {
                return;
            }
        }
    };
    let reading = async move {
        while let Some(Ok(message)) = source.next().await {
            if let Message::Text(text) = message {
                let request: Value = serde_json::from_str(&text).unwrap();
                answer(&request, &send, &mut log.lock().unwrap(), fault);
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
}

/// An id that is a UUIDv7 for each `seq`.
fn message_id(seq: u64) -> String {
    format!("0193a1c2-7d3e-7c51-9a53-{seq:012x}")
}

fn answer(request: &Value, to: &mpsc::UnboundedSender<String>, log: &mut Log, fault: Fault) {
    let (id, body) = (&request["id"], &request["message_body"]);
    let send = |to: &mpsc::UnboundedSender<String>, frame: Value| {
        // A member may be gone.
        let _ = to.send(frame.to_string());
    };
    if request["message_type"] == "Enter" {
        log.members.push(to.clone());
        let message_id = if log.seq == 0 { String::new() } else { message_id(log.seq) };
        let joined = json!({"room": body["room"], "epoch": EPOCH, "seq": log.seq, "message_id": message_id, "read": null,
            "dedupe_ms": 300_000, "features": []});
        return send(to, json!({"message_type": "Ack", "id": id, "message_body": joined}));
    }
    assert_eq!(request["message_type"], "GroupChat");
    log.seq += 1;
    let seq = log.seq;
    let delivery = |room: &Value, client_id: &Value| {
        json!({"message_type": "GroupChat", "message_body": {"sender_username": body["sender_username"],
            "content": body["content"], "room": room, "message_id": message_id(seq), "client_id": client_id, "sent_at": 1,
            "epoch": EPOCH, "seq": seq}})
    };
    let (is_faulty, right) = (seq == FAULTY, delivery(&body["room"], id));
    for (index, member) in log.members.iter().enumerate() {
        // The publisher is the first member, and waits for its own copy: so the fault is at the second.
        if index == 1 && is_faulty {
            match fault {
                Fault::Drops => continue,
                Fault::Repeats => send(member, right.clone()),
                Fault::Swaps => {
                    log.held = Some(right.to_string());
                    continue;
                }
                Fault::Alters => {
                    let other = format!("{}{}", id.as_str().unwrap()[..21].to_owned(), "f".repeat(13));
                    send(member, delivery(&body["room"], &other.into()));
                    continue;
                }
                Fault::Misroutes => send(member, delivery(&"elsewhere".into(), id)),
                Fault::Nothing | Fault::AcksTwice | Fault::NeverAcks => {}
            }
        }
        send(member, right.clone());
        if index == 1
            && !is_faulty
            && let Some(held) = log.held.take()
        {
            let _ = member.send(held);
        }
    }
    let acks = match fault {
        Fault::AcksTwice if is_faulty => 2,
        Fault::NeverAcks if is_faulty => 0,
        _ => 1,
    };
    let ack = json!({"message_type": "Ack", "id": id, "message_body": {"message_id": message_id(seq), "epoch": EPOCH,
        "seq": seq, "sent_at": 1}});
    (0..acks).for_each(|_| send(to, ack.clone()));
}
