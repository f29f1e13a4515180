//! One WebSocket of a client. Owns the frames of the protocol, written from the protocol's documentation and not with the code of
//! the node, so that it does not repeat a mistake of that code. Keeps no state. Used by `client`.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest};
use tokio_tungstenite::{WebSocketStream, client_async};
use uuid::Uuid;

pub use crate::names::{room_name, room_number, user_name, user_number};

use crate::entry::{At, EntryBody, ShownMessage};
use crate::history::{Kind, Place, Position, Reason, Shown, Topic, Verdict};

const DEADLINE: Duration = Duration::from_secs(5);

/// Why a connection failed.
#[derive(Debug)]
pub enum NotConnected {
    /// The token is not valid.
    Unauthorized,
    Failed,
}

#[derive(Debug)]
pub enum Frame {
    Chat {
        topic: Topic,
        at: Place,
        message_id: Uuid,
        sender: u16,
        id: Option<Uuid>,
        kind: Kind,
        shown: Option<Shown>,
    },
    Ack {
        id: String,
        body: Value,
    },
    Error {
        id: Option<String>,
        code: String,
        outcome: Option<String>,
        retry_after: Option<Duration>,
    },
    Gap {
        topic: Topic,
        reason: Reason,
        next: Place,
    },
    /// An entry about the rights of a room.
    Rights {
        at: Place,
        message_id: Uuid,
    },
    /// The connection is no longer in a room.
    Removed,
    /// Presence, typing, markers, pongs.
    Other,
    /// The connection ended: the close code, and how long the node asks the client to wait.
    Closed {
        code: u16,
        retry_after: Option<Duration>,
    },
}

pub struct Wire {
    socket: WebSocketStream<TcpStream>,
    user: u16,
}

impl Wire {
    /// `narrow`: with the smallest receive buffer, so that unread data soon stays at the node.
    pub async fn connect(
        address: SocketAddr,
        user: u16,
        token: Option<&str>,
        narrow: bool,
    ) -> Result<Self, NotConnected> {
        let attempt = async {
            let socket = TcpSocket::new_v4().map_err(|_| NotConnected::Failed)?;
            if narrow {
                socket.set_recv_buffer_size(4_096).map_err(|_| NotConnected::Failed)?;
            }
            let stream = socket.connect(address).await.map_err(|_| NotConnected::Failed)?;
            stream.set_nodelay(true).map_err(|_| NotConnected::Failed)?;
            let mut request =
                format!("ws://{address}/ws").into_client_request().map_err(|_| NotConnected::Failed)?;
            if let Some(token) = token {
                let value = format!("Bearer {token}").parse().map_err(|_| NotConnected::Failed)?;
                request.headers_mut().insert("Authorization", value);
            }
            match client_async(request, stream).await {
                Ok((socket, _)) => Ok(Self { socket, user }),
                Err(tungstenite::Error::Http(answer)) if answer.status() == 401 => {
                    Err(NotConnected::Unauthorized)
                }
                Err(_) => Err(NotConnected::Failed),
            }
        };
        timeout(DEADLINE, attempt).await.unwrap_or(Err(NotConnected::Failed))
    }

    /// Sends one request; false if the connection has ended.
    pub async fn send(&mut self, request: &Value) -> bool {
        let sending = self.socket.send(Message::text(request.to_string()));
        matches!(timeout(DEADLINE, sending).await, Ok(Ok(())))
    }

    pub async fn ping(&mut self) -> bool {
        matches!(timeout(DEADLINE, self.socket.send(Message::Ping("?".into()))).await, Ok(Ok(())))
    }

    /// Sends a close frame and waits a moment for the answer.
    pub async fn close(mut self) {
        let closing = async {
            if self.socket.close(None).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        timeout(Duration::from_secs(1), closing).await.unwrap_or_default();
    }

    /// The next frame. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Frame {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => parse(&text, self.user).unwrap_or_else(|| {
                panic!("a frame that is not in the protocol: {}", text.as_str());
            }),
            Some(Ok(Message::Close(frame))) => {
                let code = frame.as_ref().map_or(1005, |frame| frame.code.into());
                let retry_after = frame.and_then(|frame| {
                    let told = frame.reason.strip_prefix("retry_after_ms=")?;
                    told.split(';').next()?.parse().ok().map(Duration::from_millis)
                });
                Frame::Closed { code, retry_after }
            }
            Some(Ok(_)) => Frame::Other,
            Some(Err(_)) | None => Frame::Closed { code: 1006, retry_after: None },
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    message_type: &'a str,
    #[serde(borrow)]
    message_body: &'a RawValue,
    id: Option<String>,
}

#[derive(Deserialize)]
struct Gap<'a> {
    room: Option<&'a str>,
    reason: &'a str,
    epoch: &'a str,
    next_seq: u64,
}

fn parse(text: &str, user: u16) -> Option<Frame> {
    let envelope: Envelope<'_> = serde_json::from_str(text).ok()?;
    let body = envelope.message_body.get();
    Some(match envelope.message_type {
        name @ ("GroupChat" | "PrivateChat" | "Edit" | "Retract" | "React" | "Tombstone") => {
            let entry: EntryBody<'_> = serde_json::from_str(body).ok()?;
            let at: At<'_> = serde_json::from_str(body).ok()?;
            let topic = match entry.room {
                Some(room) => Topic::Room(room_number(room)?),
                None => Topic::Inbox(user),
            };
            let kind = entry.kind(name)?;
            let shown = match name {
                "GroupChat" | "PrivateChat" => {
                    let message: ShownMessage<'_> = serde_json::from_str(body).ok()?;
                    message.is_changed().then(|| message.shown())
                }
                _ => None,
            };
            Frame::Chat {
                topic,
                at: Place { epoch: epoch(at.epoch)?, seq: at.seq },
                message_id: at.message_id,
                sender: user_number(entry.sender_username).unwrap_or(u16::MAX),
                id: entry.publish_id(kind),
                kind,
                shown,
            }
        }
        "Ack" => Frame::Ack { id: envelope.id?, body: serde_json::from_str(body).ok()? },
        "Error" => {
            let body: Value = serde_json::from_str(body).ok()?;
            Frame::Error {
                id: envelope.id,
                code: body["code"].as_str()?.to_owned(),
                outcome: body["outcome"].as_str().map(str::to_owned),
                retry_after: body["retry_after_ms"].as_u64().map(Duration::from_millis),
            }
        }
        "Gap" => {
            let gap: Gap<'_> = serde_json::from_str(body).ok()?;
            let topic = match gap.room {
                Some(room) => Topic::Room(room_number(room)?),
                None => Topic::Inbox(user),
            };
            let next = Place { epoch: epoch(gap.epoch)?, seq: gap.next_seq };
            Frame::Gap { topic, reason: reason(gap.reason)?, next }
        }
        "Room" | "Moderation" => {
            let at: At<'_> = serde_json::from_str(body).ok()?;
            Frame::Rights { at: Place { epoch: epoch(at.epoch)?, seq: at.seq }, message_id: at.message_id }
        }
        "Removed" => Frame::Removed,
        "Enter" | "Leave" | "Typing" | "Read" => Frame::Other,
        _ => return None,
    })
}

pub fn epoch(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

fn reason(text: &str) -> Option<Reason> {
    Some(match text {
        "trimmed" => Reason::Trimmed,
        "epoch" => Reason::Epoch,
        "rollback" => Reason::Rollback,
        "too_many" => Reason::TooMany,
        _ => return None,
    })
}

/// The position in an `Ack`.
pub fn position(body: &Value) -> Option<Position> {
    let message_id = match body["message_id"].as_str()? {
        "" => Uuid::nil(),
        id => id.parse().ok()?,
    };
    Some(Position { epoch: epoch(body["epoch"].as_str()?)?, seq: body["seq"].as_u64()?, message_id })
}

/// The verdict on the client's position in the `Ack` of an `Enter` or `Auth`.
pub fn verdict(body: &Value) -> Option<Verdict> {
    if body["recovered"].as_bool()? {
        return Some(Verdict::Recovered);
    }
    Some(Verdict::Not { reason: reason(body["reason"].as_str()?)?, next_seq: body["next_seq"].as_u64()? })
}

pub fn since(position: Position) -> Value {
    let message_id =
        if position.message_id.is_nil() { String::new() } else { position.message_id.to_string() };
    json!({ "epoch": format!("{:016x}", position.epoch), "seq": position.seq, "message_id": message_id })
}

pub fn request(message_type: &str, id: &str, body: &Value) -> Value {
    json!({ "message_type": message_type, "id": id, "message_body": body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::content;

    #[test]
    fn chat_message_is_parsed_to_position_sender_and_id() {
        let id = Uuid::from_u128(1);
        let text = json!({ "message_type": "GroupChat", "message_body": {
            "sender_username": "user-003", "room": "room-07", "content": content(id, 3), "message_id": Uuid::from_u128(2),
            "client_id": id, "sent_at": 1, "epoch": "00000000000000ff", "seq": 9 } });
        match parse(&text.to_string(), 0) {
            Some(Frame::Chat {
                topic: Topic::Room(7),
                at,
                sender: 3,
                id: Some(got),
                kind: Kind::Message,
                ..
            }) => {
                assert_eq!((at, got), (Place { epoch: 255, seq: 9 }, id));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn position_survives_encoding_and_decoding() {
        for position in [
            Position { epoch: 1, seq: 0, message_id: Uuid::nil() },
            Position { epoch: u64::MAX, seq: 5, message_id: Uuid::from_u128(3) },
        ] {
            assert_eq!(super::position(&since(position)), Some(position));
        }
    }
}
