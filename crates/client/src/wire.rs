//! The protocol as a client sees it. Owns how requests are spelled and what becomes of a frame; does not decide when
//! either happens. Called by the model.

use std::collections::{HashSet, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use chatnode_protocol::{RoomName, UserName};

/// The largest frame that a node takes; it closes the connection above.
pub(crate) const MAX_FRAME_BYTES: usize = 131_072;

/// With whom one talks. Shown as `#room` or `@user`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// All who are in a room.
    Room(RoomName),
    /// One user, in private.
    User(UserName),
}

impl Target {
    /// The body of a request about it.
    pub(crate) fn body(&self) -> Value {
        match self {
            Self::Room(room) => json!({ "room": room }),
            Self::User(user) => json!({ "target_username": user }),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(room) => write!(f, "#{room}"),
            Self::User(user) => write!(f, "@{user}"),
        }
    }
}

/// A position in a log: given back as it came, never read into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Which log.
    pub epoch: String,
    /// How many messages the log had had.
    pub seq: u64,
    /// The message at `seq`.
    pub message_id: String,
}

/// A chat message.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Message {
    #[serde(rename = "sender_username")]
    pub(crate) from: UserName,
    #[serde(rename = "target_username", default)]
    to: Option<UserName>,
    #[serde(default)]
    room: Option<RoomName>,
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) client_id: Option<String>,
    pub(crate) sent_at: u64,
    #[serde(flatten)]
    pub(crate) place: Place,
}

impl Message {
    /// The conversation that it belongs to, as this user sees it.
    pub(crate) fn conversation(&self, me: &UserName) -> Option<Target> {
        match (&self.room, &self.to) {
            (Some(room), _) => Some(Target::Room(room.clone())),
            (None, Some(to)) if self.from == *me => Some(Target::User(to.clone())),
            (None, Some(_)) => Some(Target::User(self.from.clone())),
            (None, None) => None,
        }
    }
}

/// The body of an `Error`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Fault {
    pub(crate) code: String,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) retry_after_ms: Option<u64>,
    #[serde(default)]
    outcome: Option<String>,
}

impl Fault {
    /// What a node would say to a frame that it would not even read.
    pub(crate) fn too_long() -> Self {
        let (code, message) = ("message_too_large".into(), "it is too long".into());
        Self { code, message, retry_after_ms: None, outcome: None }
    }

    /// Whether the same request may well succeed later.
    pub(crate) fn passes(&self) -> bool {
        matches!(self.code.as_str(), "unavailable" | "internal" | "rate_limited")
    }

    /// Whether the request may have been carried out all the same.
    pub(crate) fn is_unknown(&self) -> bool {
        match self.outcome.as_deref() {
            Some(outcome) => outcome == "unknown",
            None => self.code == "internal",
        }
    }
}

/// What the node says.
#[derive(Debug)]
pub(crate) enum Frame {
    Ack {
        id: String,
        body: Value,
    },
    Error {
        id: Option<String>,
        fault: Fault,
    },
    Message(Message),
    Presence {
        room: RoomName,
        user: UserName,
        present: bool,
    },
    Gap {
        room: Option<RoomName>,
        reason: String,
    },
    /// Somebody writes, to a room or to us.
    Typing {
        room: Option<RoomName>,
        user: UserName,
    },
    /// Somebody has read a private conversation as far as this one: the person at the other end, or we on another device.
    Read {
        user: UserName,
        target: UserName,
        message_id: String,
    },
    /// We have read a room as far as this, on another device.
    RoomRead {
        room: RoomName,
        epoch: String,
        seq: u64,
    },
}

impl Frame {
    /// None for a frame that a client need not understand.
    pub(crate) fn read(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Envelope {
            message_type: String,
            #[serde(default)]
            message_body: Value,
            #[serde(default)]
            id: Option<String>,
        }
        #[derive(Deserialize)]
        struct Presence {
            room: RoomName,
            sender_username: UserName,
        }
        #[derive(Deserialize)]
        struct Gap {
            #[serde(default)]
            room: Option<RoomName>,
            reason: String,
        }
        #[derive(Deserialize)]
        struct Typing {
            #[serde(default)]
            room: Option<RoomName>,
            sender_username: UserName,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Read {
            Private { sender_username: UserName, target_username: UserName, message_id: String },
            Room { room: RoomName, epoch: String, seq: u64 },
        }
        let Envelope { message_type, message_body: body, id } = serde_json::from_str(text).ok()?;
        Some(match message_type.as_str() {
            "Ack" => Self::Ack { id: id?, body },
            "Error" => Self::Error { id, fault: serde_json::from_value(body).ok()? },
            "GroupChat" | "PrivateChat" => Self::Message(serde_json::from_value(body).ok()?),
            "Enter" | "Leave" => {
                let Presence { room, sender_username: user } = serde_json::from_value(body).ok()?;
                Self::Presence { room, user, present: message_type == "Enter" }
            }
            "Gap" => {
                let Gap { room, reason } = serde_json::from_value(body).ok()?;
                Self::Gap { room, reason }
            }
            "Typing" => {
                let Typing { room, sender_username: user } = serde_json::from_value(body).ok()?;
                Self::Typing { room, user }
            }
            "Read" => match serde_json::from_value(body).ok()? {
                Read::Private { sender_username: user, target_username: target, message_id } => {
                    Self::Read { user, target, message_id }
                }
                Read::Room { room, epoch, seq } => Self::RoomRead { room, epoch, seq },
            },
            _ => return None,
        })
    }
}

/// A request as it goes over the wire.
pub(crate) fn request(kind: &str, sender: &UserName, mut body: Value, id: &str) -> String {
    body["sender_username"] = json!(sender);
    json!({ "message_type": kind, "message_body": body, "id": id }).to_string()
}

/// A request that wants no answer.
pub(crate) fn tell(kind: &str, sender: &UserName, mut body: Value) -> String {
    body["sender_username"] = json!(sender);
    json!({ "message_type": kind, "message_body": body }).to_string()
}

/// The last few thousand ids: more than a node sends again at a time.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    const MOST: usize = 4_096;

    /// False if it had been there; the oldest is forgotten for it otherwise.
    pub(crate) fn insert(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_other_kinds_and_broken_ones_are_passed_over() {
        for text in [
            "",
            "[]",
            r#"{"message_type":"Typing","message_body":{"room":"b"}}"#,
            r#"{"message_type":"Read","message_body":{"sender_username":"a","message_id":"b","seq":1}}"#,
            r#"{"message_type":"Later","message_body":{"sender_username":"a","room":"b"}}"#,
            r#"{"message_type":"GroupChat","message_body":{"sender_username":"a\u001b"}}"#,
            r#"{"message_type":"Ack","message_body":{}}"#,
            r#"{"message_type":"GroupChat","message_body":{"sender_username":"a","room":"b","content":"c",
                "sent_at":-1,"epoch":"e","seq":1,"message_id":"m"}}"#,
        ] {
            assert!(Frame::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_was_seen_is_bounded() {
        let mut seen = Seen::default();
        for id in 0..=Seen::MOST {
            assert!(seen.insert(&id.to_string()));
        }
        assert!(!seen.contains("0") && seen.contains("1"));
        assert!(!seen.insert("1"));
        assert_eq!((seen.ids.len(), seen.order.len()), (Seen::MOST, Seen::MOST));
    }
}
