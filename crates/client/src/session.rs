//! The model and its connection, side by side. Owns carrying what happens from one to the other; shows nothing. Called
//! by the line mode and the terminal.

use std::time::{Duration, Instant};

use crate::address::Address;
use crate::conversation::Line;
use crate::link::{Event, Link};
use crate::model::{Effect, Model};
use crate::wire::Target;

/// A chat under way.
pub struct Session {
    /// What is known of the chat.
    pub model: Model,
    link: Link,
    was_connected: bool,
}

/// What is to be shown.
#[derive(Debug)]
pub enum News {
    /// A line of a conversation, or of none.
    Line(Option<Target>, Line),
    /// The connection stands.
    Connected,
    /// The connection is gone, and for how long.
    Lost(String, Duration),
    /// It makes no sense to go on.
    Stopped(String),
}

impl Session {
    /// Connects to this address once [`Session::next`] is awaited.
    pub fn new(model: Model, address: Address) -> Self {
        Self { model, link: Link::new(address), was_connected: false }
    }

    /// Whether a connection ever stood.
    pub fn was_connected(&self) -> bool {
        self.was_connected
    }

    /// Carries out what the model wants; the news of it. None once there is nothing left to do.
    pub fn settle(&mut self) -> Option<News> {
        while let Some(effect) = self.model.next_effect() {
            match effect {
                Effect::Send(frame) => self.link.send(frame),
                Effect::Show(target, line) => return Some(News::Line(target, line)),
                Effect::Stop(why) => return Some(News::Stopped(why)),
                Effect::Restart(wait) => {
                    let event = self.link.restart(wait);
                    return self.happened(event);
                }
            }
        }
        None
    }

    /// Waits until something happens, on the connection or because it is time. Cancel safe. [`Session::settle`] comes
    /// after it.
    pub async fn next(&mut self) -> Option<News> {
        let now = Instant::now();
        // Who was away for a while may have missed a moment.
        self.model.tick(now);
        if self.model.has_effects() {
            return None;
        }
        // With nothing to wait for, a moment far away does no harm.
        let wake = self.model.wake(now).unwrap_or(now + Duration::from_secs(3_600));
        tokio::select! {
            // What has arrived comes before the time that has passed meanwhile.
            biased;
            event = self.link.next() => self.happened(event),
            // The next call does what is due.
            () = tokio::time::sleep_until(wake.into()) => None,
        }
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.link.close().await;
    }

    fn happened(&mut self, event: Event) -> Option<News> {
        match event {
            Event::Opened => {
                self.was_connected = true;
                self.model.opened();
                Some(News::Connected)
            }
            Event::Frame(text) => {
                let was_live = self.model.is_live();
                self.model.receive(&text, Instant::now());
                if !was_live && self.model.is_live() {
                    self.link.settled();
                }
                None
            }
            Event::Lost { why, until } => {
                self.model.lost(&why, until.into());
                Some(News::Lost(why, until.saturating_duration_since(tokio::time::Instant::now())))
            }
            Event::Refused(why) => Some(News::Stopped(why)),
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
    async fn a_moment_that_passed_while_nobody_asked_is_not_missed() {
        let before = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        let mut chat = Model::new(UserName::parse("ann").unwrap(), 0);
        chat.opened();
        let at = json!({ "epoch": "p", "seq": 0, "message_id": "", "dedupe_ms": 300_000 });
        let auth = sent(&mut chat);
        let ack = json!({ "message_type": "Ack", "message_body": at, "id": auth["id"] });
        chat.receive(&ack.to_string(), before);
        chat.say_to(Target::User(UserName::parse("bob").unwrap()), "hello".into(), before);
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
