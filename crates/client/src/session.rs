//! The model and its connection, side by side. Owns carrying what happens from one to the other; shows nothing. Driven by the
//! connection task, and by the terminal client.

use std::time::{Duration, Instant};

use chatnode_protocol::{Ack, ErrorBody, RequestId, RoomName, Topic};

use crate::address::{Address, BearerToken};
use crate::change::ChangeReceipt;
use crate::event::Event;
use crate::link::{Happened, Link};
use crate::model::{Effect, Line, Model};
use crate::reason::{ClosedReason, LostReason};
use crate::sending::Receipt;

/// A model with a connection: for programs that show a chat and need all of its state. Others use
/// [`Client`](crate::Client).
pub struct Session {
    /// What is known of the chat.
    pub model: Model,
    link: Link,
    was_connected: bool,
}

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum News {
    /// There is a new line, in a conversation if it belongs to one.
    Line(Option<Topic>, Line),
    /// Something happened that is no line of a conversation.
    Event(Event),
    /// A message of this client is stored.
    Stored(RequestId, Receipt),
    /// A change of this client is stored.
    Changed(RequestId, ChangeReceipt),
    /// The client is in a room.
    Joined(RoomName),
    /// The answer to a request of the program.
    Answer(RequestId, Result<Ack, ErrorBody>),
    /// The client is connected and signed in.
    Connected,
    /// The connection is lost; the next attempt starts after this time.
    Lost(LostReason, Duration),
    /// The client can't go on.
    Stopped(ClosedReason),
}

impl Session {
    /// Connects to this address once [`Session::next`] is awaited.
    pub fn new(model: Model, address: Address) -> Self {
        Self { model, link: Link::new(address), was_connected: false }
    }

    /// Whether there ever was a connection.
    pub fn was_connected(&self) -> bool {
        self.was_connected
    }

    /// Shows this token at the next handshakes.
    pub(crate) fn set_token(&mut self, token: BearerToken) {
        self.link.set_token(token);
    }

    /// Carries out what the model wants, and returns the first news of it. `None` once there is nothing left to do.
    pub fn settle(&mut self) -> Option<News> {
        while let Some(effect) = self.model.next_effect() {
            return Some(match effect {
                Effect::Send(frame) => {
                    self.link.send(frame);
                    continue;
                }
                Effect::Show(topic, line) => News::Line(topic, line),
                // The caller has come back for more: it has the line before this.
                Effect::HandedOn(position) => {
                    self.model.handed_on(position, Instant::now());
                    continue;
                }
                Effect::Report(event) => News::Event(event),
                Effect::Stored(id, receipt) => News::Stored(id, receipt),
                Effect::Changed(id, receipt) => News::Changed(id, receipt),
                Effect::Joined(room) => News::Joined(room),
                Effect::Answer(id, answer) => News::Answer(id, answer),
                Effect::Stop(reason) => News::Stopped(reason),
                Effect::Restart(error) => {
                    let lost = self.link.restart(error);
                    return self.happened(lost);
                }
            });
        }
        None
    }

    /// Waits until something happens, on the connection or because it is time. Call [`Session::settle`] after it.
    ///
    /// Cancel safe: nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<News> {
        let now = Instant::now();
        // The caller may have been away for a while.
        self.model.tick(now);
        if self.model.has_effects() {
            return None;
        }
        // Without anything to wait for, a moment far away does no harm.
        let wake = self.model.wake(now).unwrap_or(now + Duration::from_secs(3_600));
        tokio::select! {
            // What has arrived comes before the time that has passed meanwhile.
            biased;
            happened = self.link.next() => self.happened(happened),
            // The next call does what is due.
            () = tokio::time::sleep_until(wake.into()) => None,
        }
    }

    /// Keeps the connection open without reading, for ever: for programs that can take no news now. Cancel safe.
    pub async fn speak(&mut self) {
        self.link.speak().await;
    }

    /// Closes the connection, so that others see at once that the user is gone.
    pub async fn close(mut self) {
        if let Some(frame) = self.model.take_received() {
            self.link.send(frame);
        }
        self.link.close().await;
    }

    fn happened(&mut self, happened: Happened) -> Option<News> {
        match happened {
            Happened::Opened => {
                self.was_connected = true;
                self.model.opened();
                None
            }
            Happened::Frame(text) => {
                let was_live = self.model.is_live();
                self.model.receive(&text, Instant::now());
                if was_live || !self.model.is_live() {
                    return None;
                }
                self.link.settled();
                self.link.set_idle_timeout(self.model.idle_timeout());
                Some(News::Connected)
            }
            Happened::Lost { reason, until } => {
                self.model.lost(reason.clone(), until.into());
                Some(News::Lost(reason, until.saturating_duration_since(tokio::time::Instant::now())))
            }
            Happened::Refused(reason) => Some(News::Stopped(reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use chatnode_protocol::UserName;

    fn sent(chat: &mut Model) -> Value {
        match chat.next_effect() {
            Some(Effect::Send(frame)) => serde_json::from_str(&frame).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_session_catches_up_with_moments_that_passed() {
        let before = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        let mut chat = Model::new(UserName::parse("ann").unwrap(), 0);
        chat.opened();
        let at = json!({ "epoch": "0000000000000001", "seq": 0, "message_id": "", "dedupe_ms": 300_000, "read": {} });
        let auth = sent(&mut chat);
        let ack = json!({ "message_type": "Ack", "message_body": at, "id": auth["id"] });
        chat.receive(&ack.to_string(), before);
        chat.begin(Vec::new(), UserName::parse("bob").ok());
        chat.send("hello", before);
        let first = sent(&mut chat);
        let fault = json!({ "code": "unavailable", "message": "wait", "retry_after_ms": 300 });
        let error = json!({ "message_type": "Error", "message_body": fault, "id": first["id"] });
        chat.receive(&error.to_string(), before);
        while chat.next_effect().is_some() {}
        let mut session = Session::new(chat, Address::parse("ws://127.0.0.1:9/").unwrap());
        assert!(session.next().await.is_none());
        assert_eq!(sent(&mut session.model)["id"], first["id"]);
    }
}
